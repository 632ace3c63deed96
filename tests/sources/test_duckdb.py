"""What is DuckDB's own: its types, its lock, its memory limit, and rowids that a write moves."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import Any

import duckdb
import pytest

from import_platform.core.rejected import RejectedRow
from import_platform.core.table import Granularity, TimePartition
from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.duckdb import DuckdbSource
from import_platform.sources.protocol import TokenExpired
from tests.sources.contract import info_of, request, rows_of

FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
TYPES = {
    "TINYINT": [(-128, -128), (127, 127)],
    "UTINYINT": [(255, 255)],
    "USMALLINT": [(65535, 65535)],
    "UINTEGER": [(2**32 - 1, 2**32 - 1)],
    "UBIGINT": [(2**64 - 1, Decimal(2**64 - 1))],
    "BIGINT": [(-(2**63), -(2**63))],
    "HUGEINT": [(-(10**37), Decimal(-(10**37)))],
    "DECIMAL(38,10)": [("9999999999999999999999999999.9999999999",) * 2],
    "DECIMAL(4,1)": [("-999.9",) * 2],
    "FLOAT": [("inf", float("inf")), (1.5, 1.5)],
    "DOUBLE": [("-inf", float("-inf")), (5e-324, 5e-324)],
    "VARCHAR": [("x\0ÿ🚀", "x\0ÿ🚀"), ("", "")],
    "BLOB": [(b"\0\xff", b"\0\xff")],
    "DATE": [("infinity", date(9999, 12, 31)), ("-infinity", date(1, 1, 1)), ("1582-10-05", date(1582, 10, 5))],
    "TIMESTAMP": [("infinity", LAST), ("-infinity", FIRST), ("1969-12-31 23:59:59.999999",) * 2],
    "TIMESTAMPTZ": [("2024-01-01 00:00:00+02", datetime(2023, 12, 31, 22, tzinfo=UTC)), ("infinity", LAST)],
    "TIMESTAMP_NS": [("2024-01-01 00:00:00.123456789", datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC))],
    "TIMESTAMP_S": [("2024-01-01 00:00:01", datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC))],
    "TIME": [("12:34:56.789", "12:34:56.789")],
    "INTERVAL": [("1 year 2 days", "1 year 2 days")],
    "UUID": [("123e4567-e89b-12d3-a456-426655440000",) * 2],
    "ENUM('z', 'a')": [("z", "z")],
    "INTEGER[]": [("[1, NULL, 3]", "[1,null,3]")],
    "STRUCT(a INTEGER, b VARCHAR)": [("{'a': 1, 'b': 'x'}", '{"a":1,"b":"x"}')],
    "MAP(VARCHAR, INTEGER)": [("{k=1}", '{"k":1}')],
    "BIT": [("0101", "0101")],
    "BOOLEAN": [(True, True)],
}


class File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = DuckdbSource({"path": str(path)})

    def execute(self, sql: str, rows: list[Any] | None = None) -> None:
        with duckdb.connect(str(self.path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for row in [()] if rows is None else rows:
                connection.execute(sql, list(row))

    def rows(self, table: str, **changes: Any) -> tuple[list[dict[str, Any]], list[RejectedRow]]:
        pages = list(self.source.read(request(info_of(self.source, table), **changes)))
        return [row for page in pages for row in page.batch.to_pylist()], [r for page in pages for r in page.rejected]


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "it's a file.duckdb")


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_comes_with_its_odd_values(file: File, kind: str) -> None:
    cases = [*TYPES[kind], (None, None)]
    file.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {kind})")
    file.execute(f"INSERT INTO t VALUES (?, CAST(? AS {kind}))", [(n, value) for n, (value, _) in enumerate(cases)])
    found, rejected = file.rows("t")
    assert rejected == []
    expected = [
        Decimal(v) if kind.startswith("DECIMAL") and v else instant(v) if kind == "TIMESTAMP" else v for _, v in cases
    ]
    assert [row["v"] for row in found] == expected


def instant(value: Any) -> Any:
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value


def test_nan_is_kept_and_a_number_without_a_decimal_is_rejected(file: File) -> None:
    file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x DOUBLE, h HUGEINT)")
    file.execute("INSERT INTO t VALUES (1, 'nan', 1), (2, 1, 170141183460469231731687303715884105727)")
    found, rejected = file.rows("t")
    assert [isnan(row["x"]) for row in found] == [True]
    assert [(row.key, row.column) for row in rejected] == [({"id": "2"}, "h")]


def test_rows_of_eight_megabytes_come_within_a_limit_of_a_few(file: File) -> None:
    file.execute(
        "CREATE TABLE t AS SELECT i::INTEGER AS id, repeat(md5(i::VARCHAR), 250000) AS body FROM range(40) r(i)"
    )
    sizes = {"page_bytes": 16 << 20, "row_bytes_max": 64 << 20}
    pages = list(file.source.read(request(info_of(file.source, "t"), **sizes)))
    assert [row[0] for row in rows_of(pages)] == list(range(40))
    assert max(page.batch.nbytes for page in pages) < 32 << 20


MILLION = "SELECT {key} AS word, i::INTEGER AS n, repeat('x', 100) AS filler FROM range(1000000) r(i)"


@pytest.mark.parametrize(
    ("key", "phase"),
    [("printf('%09d', i // 3)", "row"), ("md5(i::VARCHAR)", "place")],
    ids=["in its order", "in no order of it"],
)
def test_a_million_rows_go_by_a_text_key_without_index(file: File, key: str, phase: str) -> None:
    """What is sorted does not fit into the session's 64 MB: it goes to a folder that is gone afterwards."""
    file.execute(f"CREATE TABLE t AS {MILLION.format(key=key)}")
    read = request(info_of(file.source, "t"), primary_key=("word",), page_bytes=8 << 20)
    seen, count, half = None, 0, None
    for page in file.source.read(read):
        words = page.batch.column("word")
        count += page.batch.num_rows
        if phase == "row":
            assert seen is None or words[0].as_py() >= seen
            seen = words[len(words) - 1].as_py()
        half = page.token if half is None and count > 700_000 else half
        assert page.token is not None
        assert page.token["phase"] == phase
    assert count == 1_000_000
    rest = {row[1] for row in rows_of(file.source.read(replace(read, after=half)))}
    assert 0 < len(rest) < 300_000


def test_what_a_session_writes_only_its_owner_may_read_and_nothing_is_left(
    file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    file.execute("CREATE TABLE t AS SELECT md5(i::VARCHAR) AS word FROM range(400000) r(i)")
    pages = file.source.read(request(info_of(file.source, "t"), primary_key=("word",), page_bytes=1 << 20))
    next(pages)
    [folder] = (tmp_path / "scratch").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sum(path.stat().st_size for path in folder.rglob("*")) > 1 << 20
    pages.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_row_that_cannot_even_be_measured_is_named(file: File) -> None:
    file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body VARCHAR)")
    file.execute("INSERT INTO t SELECT i, repeat('x', CASE i WHEN 2 THEN 120000000 ELSE 10 END) FROM range(5) r(i)")
    found, rejected = file.rows("t", row_bytes_max=1 << 20)
    assert [row["id"] for row in found] == [0, 1, 3, 4]
    assert [(row.key, row.row) for row in rejected] == [({"id": "2"}, None)]


def test_tables_of_1600_columns_are_read(file: File) -> None:
    file.execute(f"CREATE TABLE t AS SELECT {', '.join(f'i + {n} AS c{n}' for n in range(1600))} FROM range(50) r(i)")
    found, rejected = file.rows("t", primary_key=("c0",), page_bytes=1 << 20)
    assert (len(found), rejected) == (50, [])
    assert found[3]["c1599"] == 1602


def test_keys_without_order_on_disk_come_in_order_and_go_on(file: File) -> None:
    file.execute("CREATE TABLE t AS SELECT hash(i) % 1000003 AS k, i AS n FROM range(9000) r(i)")
    read = request(info_of(file.source, "t"), primary_key=("k",), page_bytes=8192)
    pages = list(file.source.read(read))
    rows = rows_of(pages)
    assert len(rows) == 9000
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    half = len(pages) // 2
    assert rows_of(file.source.read(replace(read, after=pages[half].token))) == rows_of(pages[half + 1 :])


def test_a_place_in_a_file_that_was_written_to_is_gone(file: File) -> None:
    file.execute("CREATE TABLE t AS SELECT i FROM range(500) r(i)")
    read = request(info_of(file.source, "t"))
    first = next(file.source.read(read))
    file.execute("DELETE FROM t WHERE i < 5")
    with pytest.raises(TokenExpired):
        list(file.source.read(replace(read, after=first.token)))


def test_a_place_by_key_outlives_a_write(file: File) -> None:
    file.execute("CREATE TABLE t (i INTEGER PRIMARY KEY)")
    file.execute("INSERT INTO t SELECT i FROM range(500) r(i)")
    read = request(info_of(file.source, "t"))
    first = next(file.source.read(read))
    file.execute("DELETE FROM t WHERE i < 5")
    rest = rows_of(file.source.read(replace(read, after=first.token)))
    assert [row[0] for row in rest] == list(range(first.batch.num_rows, 500))


def test_views_and_other_schemas_are_found_by_name(file: File) -> None:
    file.execute("CREATE SCHEMA s")
    file.execute("CREATE TABLE s.t (i INTEGER)")
    file.execute("CREATE TABLE t (i INTEGER)")
    file.execute("INSERT INTO t VALUES (1), (2)")
    file.execute("CREATE VIEW v AS SELECT i * 2 AS twice FROM t")
    assert [info.name_in_lake for info in file.source.discover()] == ["t"]
    assert sorted(row["twice"] for row in file.rows("v")[0]) == [2, 4]
    both = DuckdbSource({"path": str(file.path), "schemas": ["main", "s"]})
    assert [info.name_in_lake for info in both.discover()] == ["s__t", "t"]
    assert [info.name_in_lake for info in both.discover(["s__t"])] == ["s__t"]


def test_a_file_that_another_process_writes_to_is_tried_again_later(file: File) -> None:
    file.execute("CREATE TABLE t (i INTEGER)")
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(file.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(SourceUnavailable, match="writing to the DuckDB file"):
            file.source.check()
        writer.communicate("")
    assert file.source.check().startswith("DuckDB v")


def test_what_is_no_duckdb_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no database" * 1000)
    with pytest.raises(SourceRejected, match="cannot be opened"):
        DuckdbSource({"path": str(tmp_path / "x")}).check()
    with pytest.raises(ConfigError, match="no such DuckDB file"):
        DuckdbSource({"path": str(tmp_path / "y")}).check()


def test_a_condition_narrows_every_read_and_count(file: File) -> None:
    file.execute("CREATE TABLE t AS SELECT i, DATE '2024-01-01' + i::INTEGER AS day FROM range(100) r(i)")
    info = replace(info_of(file.source, "t"), where="i < 10 -- few")
    assert len(rows_of(file.source.read(request(info)))) == 10
    assert file.source.row_count(info, timeout_seconds=60) == 10
    partition = TimePartition("day", Granularity.DAY)
    assert len(file.source.base_keys(info, partition, limit=99, timeout_seconds=9) or ()) == 10
    ceiling = file.source.ceiling(info, "i")
    assert ceiling is not None
    assert ceiling.value == "9"

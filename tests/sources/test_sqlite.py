"""What only SQLite does: values of any type in any column, files that are missing, locked or no database."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.protocol import CursorWindow
from import_platform.sources.sqlite import SqliteSource
from import_platform.sources.sqlite.types import declared_type, instant_micros, to_array
from tests.sources.contract import info_of, request, rows_of

TIMESTAMP = pa.timestamp("us", "UTC")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def execute(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)


def numbers(last: int) -> str:
    return f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {last})"


def opened(path: Path) -> SqliteSource:
    return SqliteSource({"kind": "sqlite", "path": str(path)})


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("INTEGER", pa.int64()),
        ("UNSIGNED BIG INT", pa.int64()),
        ("VARCHAR(20)", pa.string()),
        ("TEXT", pa.string()),
        ("", pa.string()),
        ("JSON", pa.string()),
        ("uuid", pa.string()),
        ("BLOB", pa.binary()),
        ("VARBINARY(9)", pa.binary()),
        ("DOUBLE PRECISION", pa.float64()),
        ("NUMERIC", pa.float64()),
        ("DECIMAL(10,2)", pa.float64()),
        ("BOOLEAN", pa.bool_()),
        ("DATE", pa.date32()),
        ("datetime", TIMESTAMP),
        ("TIMESTAMP(6)", TIMESTAMP),
        ("DATETIMEX", pa.float64()),
    ],
)
def test_the_declaration_decides_the_type(declared: str, expected: pa.DataType) -> None:
    assert declared_type(declared) == expected


@pytest.mark.parametrize(
    ("declared", "fitting", "misfits"),
    [
        ("INT", {7: 7, "8": 8, 2.0: 2, None: None}, [1.5, "x", b"y"]),
        ("TEXT", {"a": "a", 5: "5", None: None}, [b"y"]),
        ("", {"a": "a", 5: "5", 1.5: "1.5"}, [b"y"]),
        ("BLOB", {b"y": b"y", "é": "é".encode()}, [7]),
        ("REAL", {1.5: 1.5, 7: 7.0}, ["x", b"y"]),
        ("NUMERIC", {2: 2.0, 0.1: 0.1, "3.5": 3.5}, [2**53 + 1, "9" * 30 + "x"]),
        ("BOOLEAN", {0: False, 1: True}, [2, "true"]),
        (
            "DATE",
            {"2024-02-29": date(2024, 2, 29), None: None},
            ["2024-02-30", "29.02.2024", 19782, "2024-02-29 10:00"],
        ),
        (
            "DATETIME",
            {
                "2024-02-29 10:00:00.123456": datetime(2024, 2, 29, 10, 0, 0, 123456, UTC),
                "2024-02-29T10:00:00+02:00": datetime(2024, 2, 29, 8, tzinfo=UTC),
                "2024-02-29": datetime(2024, 2, 29, tzinfo=UTC),
                "1969-12-31 23:59:59.999999": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
            },
            ["soon", 1709200800, "24:00"],
        ),
    ],
)
def test_a_value_fits_its_column_or_is_a_rejected_row(
    path: Path, declared: str, fitting: dict[Any, Any], misfits: list[Any]
) -> None:
    execute(path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})")
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO t VALUES (?, ?)", enumerate(fitting))
    source = opened(path)
    info = info_of(source, "t")  # discovered before the odd values came
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO t VALUES (?, ?)", enumerate(misfits, start=100))
    pages = list(source.read(request(info)))
    assert [row[1] for row in rows_of(pages)] == list(fitting.values())
    rejected = [row for page in pages for row in page.rejected]
    assert [row.key for row in rejected] == [{"id": str(100 + n)} for n in range(len(misfits))]
    assert {row.column for row in rejected} == {"v"}
    assert all(json.loads(row.row or "")["v"] for row in rejected)


@pytest.mark.parametrize(
    ("values", "expected"), [([1709200800, 5], "int64"), (["soon", "2024-01-01"], "string"), ([1.5, 2], "string")]
)
def test_a_date_column_that_holds_no_dates_is_what_it_holds(path: Path, values: list[Any], expected: str) -> None:
    execute(path, "CREATE TABLE t (v DATETIME)")
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
    assert str(info_of(opened(path), "t").columns[0].type) == expected


def test_text_that_is_not_utf8_is_a_rejected_row(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        "INSERT INTO t VALUES (1, 'good'), (2, CAST(x'ff41' AS TEXT))",
        "CREATE TABLE b (v BLOB)",
        "INSERT INTO b VALUES (CAST(x'ff41' AS TEXT))",
    )
    source = opened(path)
    pages = list(source.read(request(info_of(source, "t"))))
    assert rows_of(pages) == [(1, "good")]
    assert [row.key for page in pages for row in page.rejected] == [{"id": "2"}]
    assert rows_of(source.read(request(info_of(source, "b")))) == [(b"\xffA",)]


@pytest.mark.parametrize(
    ("ddl", "key", "nullable"),
    [
        ("id INTEGER PRIMARY KEY, a", ("id",), {"a"}),
        ("a TEXT, b TEXT, PRIMARY KEY (b, a)", ("b", "a"), {"a", "b"}),
        ("a TEXT PRIMARY KEY) WITHOUT ROWID --", ("a",), set()),
        ("a INT NOT NULL UNIQUE, b", ("a",), {"b"}),
        ("a INT UNIQUE, b", (), {"a", "b"}),
    ],
)
def test_the_key_is_the_primary_key_or_a_never_null_unique_index(
    path: Path, ddl: str, key: tuple[str, ...], nullable: set[str]
) -> None:
    execute(path, f"CREATE TABLE t ({ddl}\n)" if "--" not in ddl else f"CREATE TABLE t ({ddl}")
    info = info_of(opened(path), "t")
    assert info.primary_key == key
    assert {column.name for column in info.columns if column.nullable} == nullable


def test_a_table_without_rowid_and_one_that_hides_the_rowid_are_read_in_pages(path: Path) -> None:
    execute(
        path, "CREATE TABLE w (k TEXT PRIMARY KEY, n INT) WITHOUT ROWID", "CREATE TABLE h (rowid TEXT, _rowid_ TEXT)"
    )
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO w VALUES (?, ?)", [(f"k{n:03}", n) for n in range(100)])
        connection.executemany("INSERT INTO h VALUES ('same', ?)", [(f"{n}",) for n in range(100)])
    source = opened(path)
    for table, key in (("w", ("k",)), ("w", ()), ("w", ("n",)), ("h", ()), ("h", ("rowid",))):
        pages = list(source.read(request(info_of(source, table), primary_key=key, page_bytes=100)))
        assert len(pages) > 3
        assert len(set(rows_of(pages))) == 100
        assert len(
            rows_of(source.read(request(info_of(source, table), primary_key=key, after=pages[2].token)))
        ) == 100 - len(rows_of(pages[:3]))


def test_views_are_found_by_name_and_end_with_one_token(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE t (n INT, body BLOB)",
        "CREATE VIEW v AS SELECT n, body FROM t",
        f"INSERT INTO t {numbers(100)} SELECT n, 'x' FROM c",
        "INSERT INTO t VALUES (101, zeroblob(5000))",
    )
    source = opened(path)
    assert [info.name for info in source.discover()] == ["t"]
    pages = list(source.read(request(info_of(source, "v"), row_bytes_max=4000)))
    assert len(rows_of(pages)) == 100
    assert [page.token for page in pages] == [None] * (len(pages) - 1) + [{"done": True}]
    assert [row.column for page in pages for row in page.rejected] == ["body"]


def test_a_window_compares_instants_and_not_their_spelling(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP)",
        "INSERT INTO t VALUES (1, '2024-01-01 10:00'), (2, '2024-01-01T10:00:00.000001Z'),"
        " (3, '2024-01-01 13:00:00+02:00'), (4, '2024-01-01T10:00:00')",
    )
    source = opened(path)
    info = info_of(source, "t")
    window = CursorWindow("at", after="2024-01-01T10:00:00.000000Z", upto=None, inclusive=False)
    assert [row[0] for row in rows_of(source.read(request(info, window=window)))] == [2, 3]
    found = source.ceiling(info, "at")
    assert found is not None
    assert (found.value, found.settled) == ("2024-01-01T11:00:00.000000Z", False)


def test_a_read_sees_one_moment_while_a_writer_goes_on(path: Path) -> None:
    execute(
        path,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        f"INSERT INTO t {numbers(200)} SELECT n, 'old' FROM c",
    )
    source = opened(path)
    pages = source.read(request(info_of(source, "t")))
    next(pages)
    execute(path, "UPDATE t SET v = 'new'", "DELETE FROM t WHERE id > 100")
    assert {row[1] for row in rows_of(pages)} == {"old"}


def test_a_missing_file_is_not_created(path: Path) -> None:
    with pytest.raises(ConfigError, match="no such SQLite file"):
        opened(path).check()
    assert not path.exists()


def test_a_file_that_is_no_database_is_said(path: Path) -> None:
    path.write_text("id,name\n1,x\n" * 100)
    with pytest.raises(SourceRejected, match="could not be read"):
        opened(path).discover()


def test_the_file_cannot_be_written_to(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    before = path.read_bytes()
    source = opened(path)
    with pytest.raises(SourceRejected), source._open() as connection:
        connection.execute("DROP TABLE t")
    assert path.read_bytes() == before


def test_a_count_that_takes_too_long_is_unavailable(path: Path) -> None:
    execute(path, "CREATE VIEW v AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c")
    from import_platform.core.table import ColumnInfo, TableInfo

    info = TableInfo("", "v", (ColumnInfo("n", pa.int64(), "INT"),))
    with pytest.raises(SourceUnavailable, match="time limit"):
        opened(path).row_count(info, timeout_seconds=0.2)


@given(
    st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9999, 12, 30)),
    st.sampled_from([" ", "T"]),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds", "minutes"]),
    st.sampled_from(["", "Z", "+05:30", "-11:00"]),
)
def test_one_value_and_a_column_of_them_are_read_alike(
    instant: datetime, separator: str, precision: str, zone: str
) -> None:
    text = instant.isoformat(sep=separator, timespec=precision) + zone
    array, bad = to_array([text], TIMESTAMP)
    assert array.cast(pa.int64()).to_pylist() == [instant_micros(text)]
    assert bad == ([] if array[0].is_valid else [0])

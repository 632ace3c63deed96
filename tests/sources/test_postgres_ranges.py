"""Ranges of keys, read side by side, each going on from its own place."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from import_platform.core.cursor import encode
from import_platform.errors import SourceUnavailable
from import_platform.sources.postgres import PostgresSource, ranges
from import_platform.sources.protocol import CursorWindow, Page, TokenExpired
from tests.conftest import Database
from tests.sources.contract import info_of, request, rows_of

KEYS = {
    "bigint": "i",
    "text": "md5(i::text)",
    'text COLLATE "C"': "chr(65 + i % 50) || i",
    "uuid": "md5(i::text)::uuid",
    "date": "'2020-01-01'::date + i",
    "numeric(20,3)": "i / 7.0",
    "timestamptz": "'2020-01-01'::timestamptz + i * interval '1 minute'",
}


@pytest.fixture(autouse=True)
def small_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_WORTH_BYTES", 0)


def filled(database: Database, kind: str = "bigint", value: str = "i", rows: int = 3000) -> PostgresSource:
    database.execute(
        f"CREATE TABLE t (k {kind}, n int, filler text DEFAULT repeat('x', 40), PRIMARY KEY (k, n))",
        f"INSERT INTO t SELECT {value}, i FROM generate_series(1, {rows}) i",
        "ALTER TABLE t SET (autovacuum_enabled = off)",
        "ANALYZE t",
    )
    return PostgresSource({"dsn": database.dsn, "readers": 3})


def places(page: Page) -> list[dict[str, object]]:
    assert page.token is not None
    return list(page.token["ranges"])


@pytest.mark.parametrize("kind", KEYS)
def test_every_row_of_any_key_is_read_once_and_goes_on_from_any_token(postgres: Database, kind: str) -> None:
    source = filled(postgres, kind, KEYS[kind])
    read = request(info_of(source, "t"), page_bytes=2000)
    pages = list(source.read(read))
    rows = rows_of(pages)
    assert sorted(row[1] for row in rows) == list(range(1, 3001))
    assert len(places(pages[-1])) == 12
    for position in (0, len(pages) // 2, len(pages) - 2):
        rest = rows_of(source.read(replace(read, after=pages[position].token)))
        assert sorted(map(repr, rest)) == sorted(map(repr, rows_of(pages[position + 1 :])))


def test_a_read_goes_on_with_another_number_of_readers(postgres: Database) -> None:
    source = filled(postgres)
    read = request(info_of(source, "t"), page_bytes=2000)
    pages = list(source.read(read))
    alone = PostgresSource({"dsn": postgres.dsn})
    rest = rows_of(alone.read(replace(read, after=pages[3].token)))
    assert {row[1] for row in rest} == {row[1] for row in rows_of(pages[4:])}


def test_all_readers_see_one_moment(postgres: Database) -> None:
    source = filled(postgres)
    pages = source.read(request(info_of(source, "t"), page_bytes=2000))
    first = next(pages)
    postgres.execute("UPDATE t SET filler = 'late'", "INSERT INTO t SELECT i, i FROM generate_series(3001, 4000) i")
    rows = rows_of([first, *pages])
    assert (len(rows), {row[2] for row in rows}) == (3000, {"x" * 40})


def test_a_window_applies_in_every_range(postgres: Database) -> None:
    source = filled(postgres)
    info = info_of(source, "t")
    upto = encode(100, info.columns[1].type)
    rows = rows_of(source.read(request(info, window=CursorWindow("n", None, upto))))
    assert sorted(row[1] for row in rows) == list(range(1, 101))


def test_a_table_without_a_key_is_read_by_ranges_of_its_blocks(postgres: Database) -> None:
    source = filled(postgres)
    postgres.execute("ALTER TABLE t DROP CONSTRAINT t_pkey", "DELETE FROM t WHERE n % 7 = 0", "UPDATE t SET k = -k")
    read = request(info_of(source, "t"), page_bytes=2000)
    pages = list(source.read(read))
    expected = sorted(n for n in range(1, 3001) if n % 7)
    assert sorted(row[1] for row in rows_of(pages)) == expected
    for position in (0, len(pages) // 2, len(pages) - 2):
        rest = rows_of(source.read(replace(read, after=pages[position].token)))
        assert sorted(map(repr, rest)) == sorted(map(repr, rows_of(pages[position + 1 :])))
    postgres.execute("VACUUM FULL t")
    with pytest.raises(TokenExpired):
        list(source.read(replace(read, after=pages[0].token)))


@pytest.mark.parametrize("setting", ["view", "wide", "not analyzed"])
def test_one_statement_where_ranges_do_not_help(postgres: Database, setting: str) -> None:
    source = filled(postgres)
    if setting == "wide":
        postgres.execute("INSERT INTO t SELECT 0, 0, string_agg(md5(i::text), '') FROM generate_series(1, 9000) i")
    if setting == "not analyzed":
        postgres.execute("CREATE TABLE other (k bigint PRIMARY KEY, n int, filler text)")
        postgres.execute(
            "ALTER TABLE t RENAME TO gone", "ALTER TABLE other RENAME TO t", "INSERT INTO t VALUES (1, 1, '')"
        )
    if setting == "view":
        postgres.execute("ALTER TABLE t RENAME TO below", "CREATE VIEW t AS SELECT * FROM below")
    key = ("k", "n") if setting == "wide" else ("k",)
    page = next(iter(source.read(request(info_of(source, "t"), primary_key=key))))
    assert "ranges" not in (page.token or {})


def test_an_error_of_one_reader_ends_the_read(postgres: Database) -> None:
    source = filled(postgres, rows=60_000)
    pages = source.read(request(info_of(source, "t"), page_bytes=2000))
    next(pages)
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'import_platform' AND datname = current_database()"
    )
    with pytest.raises(SourceUnavailable):
        list(pages)


def test_closing_early_leaves_no_thread(postgres: Database) -> None:
    source = filled(postgres, rows=20_000)
    pages = source.read(request(info_of(source, "t"), page_bytes=2000))
    next(pages)
    pages.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("range-reader")] == []

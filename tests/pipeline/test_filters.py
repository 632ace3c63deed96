"""Columns, rows and masks of a declaration: what is left out or masked is nowhere in the lake."""

import sqlite3
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.table import ColumnChoice, DeclaredTable, Mask, SyncMode
from import_platform.errors import ConfigError, SourceRejected
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import backfill_table, sync_table
from import_platform.sources.registry import open_source
from tests.pipeline.synced_table import PAGE_BY_PAGE, ROOMY, rows

SECRET = "s3cret-value"


def with_secret(ids, *, day=0):
    return rows(ids, day=day).append_column("email", pa.array([f"{SECRET}-{i}" for i in ids]))


def holds(lake, needle):
    paths = [entry.path for entry in lake.store.entries("")]
    return [path for path in paths if needle.encode() in _content(path, lake.store.get(path))]


def _content(path, stored):
    if path.endswith(".parquet"):
        return pl.read_parquet(stored).write_json().encode()
    if path.endswith(".arrow"):
        return pl.read_ipc(stored).write_json().encode()
    return stored


@pytest.mark.parametrize(
    "choice",
    [
        ColumnChoice(mask={"email": Mask.HASH}),
        ColumnChoice(mask={"email": Mask.REDACT}),
        ColumnChoice(exclude=("email",)),
    ],
)
def test_neither_the_lake_nor_what_a_killed_sync_staged_holds_a_masked_value(synced, choice):
    table = synced(
        with_secret(range(300)),
        budget=PAGE_BY_PAGE,
        fail_after=2,
        mode=SyncMode.FULL_REFRESH,
        declared={"choice": choice},
    )
    with pytest.raises(ConnectionError):
        table.sync()
    assert holds(table.lake, "x1")
    assert holds(table.lake, SECRET) == []
    table.source.fail_after = None
    table.sync()
    assert table.raw_frame().height == 300
    assert holds(table.lake, SECRET) == []


def test_a_pass_that_began_without_the_mask_is_read_again(synced):
    table = synced(with_secret(range(300)), budget=PAGE_BY_PAGE, fail_after=2, mode=SyncMode.FULL_REFRESH)
    with pytest.raises(ConnectionError):
        table.sync()
    assert holds(table.lake, SECRET)
    table.source.fail_after = None
    table.declared = {"choice": ColumnChoice(mask={"email": Mask.HASH})}
    assert not table.sync().resumed
    assert holds(table.lake, SECRET) == []


def test_an_unchanged_table_is_swapped_when_a_mask_is_new(synced):
    table = synced(with_secret(range(10)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    table.declared = {"choice": ColumnChoice(mask={"email": Mask.REDACT})}
    table.sync()
    assert set(table.raw_frame()["email"]) == {"[redacted]"}


def test_columns_that_differ_by_case_are_both_stored_and_merged(synced):
    both = rows(range(5)).append_column("Text", pa.array(["upper"] * 5))
    table = synced(both)
    table.sync()
    again = rows(range(3, 7), day=1).append_column("Text", pa.array(["again"] * 4))
    table.sync(again)
    frame = table.raw_frame().sort("id")
    assert frame["Text"].to_list() == ["upper"] * 3 + ["again"] * 4
    assert frame["text__2"].to_list() == [f"x{i}" for i in range(7)]


def test_a_new_column_that_differs_by_case_never_takes_the_name_of_an_old_one(synced):
    table = synced(rows(range(5)))
    table.sync()
    table.sync(rows(range(5), day=1).append_column("Text", pa.array(["upper"] * 5)))
    frame = table.raw_frame().sort("id")
    assert frame["text"].to_list() == [f"x{i}" for i in range(5)]
    assert frame["Text__2"].to_list() == ["upper"] * 5


def test_a_source_without_sql_refuses_where(synced):
    with pytest.raises(ConfigError, match="takes no where"):
        synced(rows(range(3)), declared={"where": "id > 1"}).sync()


@pytest.fixture(params=["postgres", "sqlite"])
def shop(request, tmp_path):
    """A connector whose table `t` has 100 rows, half of them in NL; and a way to change it."""
    statements = [
        "CREATE TABLE t (id int PRIMARY KEY, updated_at timestamp NOT NULL, country text, secret text)",
        "INSERT INTO t SELECT n, '2025-01-01 00:00:00', CASE n % 2 WHEN 0 THEN 'NL' ELSE 'DE' END, 'x' FROM numbers",
    ]
    if request.param == "postgres":
        postgres = request.getfixturevalue("postgres")
        postgres.execute("CREATE TABLE numbers AS SELECT generate_series(1, 100)::int AS n", *statements)
        source, execute = open_source("s", {"kind": "postgres", "dsn": postgres.dsn}), postgres.execute
    else:
        path = tmp_path / "shop.db"
        connection = sqlite3.connect(path, isolation_level=None)
        execute = connection.execute
        execute("CREATE TABLE numbers (n int)")
        connection.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(1, 101)])
        for statement in statements:
            execute(statement)
        source = open_source("s", {"kind": "sqlite", "path": str(path)})
    yield source, execute
    source.close()


def context(source, lake, where, **declared):
    declared = {"sync": SyncMode.INCREMENTAL, "cursor": "updated_at", "primary_key": ("id",)} | declared
    return TableContext("s", DeclaredTable("t", where=where, **declared), source, lake, ROOMY)


@pytest.mark.parametrize(
    "options", [{}, {"sync": SyncMode.FULL_REFRESH, "cursor": None, "primary_key": ()}], ids=["by key", "keyless"]
)
def test_only_rows_that_meet_the_condition_are_read(shop, tmp_path, options):
    source, execute = shop
    lake = Lake(str(tmp_path / "lake"))
    made = context(source, lake, "country = 'NL' -- the Dutch", choice=ColumnChoice(exclude=("secret",)), **options)
    assert sync_table(made).rows_read == 50
    execute("INSERT INTO t VALUES (201, '2025-02-01 00:00:00', 'DE', 'x')")
    execute("INSERT INTO t VALUES (202, '2025-02-01 00:00:00', 'NL', 'x')")
    sync_table(made)
    frame = pl.read_delta(lake.table_uri("s", "t"))
    assert (frame.height, set(frame["country"]), "secret" in frame.columns) == (51, {"NL"}, False)
    backfill_table(made, "all")
    assert pl.read_delta(lake.table_uri("s", "t")).height == 51


def test_counts_meet_the_condition_too(shop):
    source, _ = shop
    [info] = source.discover(["t"])
    either = replace(info, where="country = 'NL' OR id < 11")
    assert source.row_count(either, timeout_seconds=60) == 55


def test_a_condition_that_the_source_does_not_understand_is_its_refusal(shop, tmp_path):
    source, _ = shop
    with pytest.raises(SourceRejected):
        sync_table(context(source, Lake(str(tmp_path / "lake")), "nation = 'NL'"))

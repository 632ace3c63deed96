"""Columns change their type at the source: the lake follows in place, and every reader reads all of it."""

import itertools
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from import_platform.core.lattice import join, widened
from import_platform.core.table import SchemaPolicy, SyncMode
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.pipeline.widen import widen_columns
from tests.pipeline.lake_table import files_in_log, files_on_disk, in_lake
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, SyncedTable, rows
from tests.s3_server import new_bucket, s3_server

INSTANT = pa.timestamp("us", "UTC")
VALUES = {
    pa.int16(): 7,
    pa.int32(): 2**31 - 1,
    pa.int64(): 2**53 - 1,
    pa.decimal128(10, 2): Decimal("1.25"),
    pa.decimal128(20, 4): Decimal("12345.6789"),
    pa.float32(): 1.5,
    pa.float64(): 0.1,
    pa.bool_(): True,
    pa.date32(): date(2025, 1, 2),
    INSTANT: datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    pa.string(): "text",
    pa.binary(): b"\xff",
}
PAIRS = [(a, b) for a, b in itertools.product(VALUES, VALUES) if a != b]


def typed(ids, dtype, *, day=0, values=None):
    values = [VALUES[dtype]] * len(ids) if values is None else values
    return rows(ids, day=day).select(["id", "created", "updated"]).append_column("x", pa.array(values, dtype))


def every_reader(table):
    """id -> x of the table as each reader sees it."""
    found = {}
    found["polars"] = pl.read_delta(table.uri).sort("id").select("id", "x").to_arrow()
    found["deltalake"] = DeltaTable(table.uri).to_pyarrow_table().sort_by("id").select(["id", "x"])
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    folder = next(iter(find_spec("duckdb_extension_delta").submodule_search_locations))
    connection.execute(f"LOAD '{next(Path(folder).rglob('*.duckdb_extension'))}'")
    connection.execute("SET TimeZone = 'UTC'")
    query = f"SELECT id, x FROM delta_scan('{table.uri}') ORDER BY id"
    found["duckdb"] = connection.execute(query).to_arrow_table()
    return {name: list(zip(*(c.to_pylist() for c in read.columns), strict=True)) for name, read in found.items()}


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=str)
def test_every_pair_of_types_meets_in_place_and_every_reader_sees_all_values(synced, old, new):
    table = synced(typed([1, 2], old, values=[VALUES[old], None]), settled=True)
    table.sync()
    table.sync(pa.concat_tables([typed([3], new, day=1)]))
    meeting = join(old, new)
    want = [widened(pa.array([VALUES[t]], t), meeting)[0].as_py() for t in (old, new)]
    expected = [(1, want[0]), (2, None), (3, want[1])]
    for reader, found in every_reader(table).items():
        assert found == expected, reader
    assert table.log.snapshot().schema.field("x").type == meeting


@pytest.mark.parametrize("mode", list(SyncMode))
def test_every_mode_follows_a_new_type(synced, mode):
    table = synced(typed(range(5), pa.int32()), mode=mode, settled=True)
    table.sync()
    table.sync(
        typed(range(8), pa.string(), day=1) if mode is not SyncMode.APPEND else typed(range(5, 8), pa.string(), day=1)
    )
    assert table.raw_frame().sort("id")["x"].dtype == pl.String
    assert table.raw_frame().height == 8
    table.sync(typed(range(8), pa.string(), day=2), full_refresh=True)
    assert table.matches()


def test_a_swap_widens_with_its_own_commit_and_rewrites_nothing_else(synced):
    table = synced(typed(range(5), pa.int64()), mode=SyncMode.FULL_REFRESH)
    table.sync()
    report = table.sync(typed(range(5), pa.string()))
    assert table.version == 1
    assert (report.rows_deleted, report.rows_inserted) == (5, 5)
    assert table.matches()


def test_a_change_that_readers_take_rewrites_no_file(synced):
    table = synced(typed(range(5), pa.int16()), settled=True)
    table.sync()
    before = files_in_log(table)
    table.sync(typed([400], pa.int64(), day=400))
    assert before < files_in_log(table)


def test_only_files_with_the_column_are_rewritten(synced):
    table = synced(rows(range(5)).select(["id", "created", "updated"]), settled=True)
    table.sync()
    old = files_in_log(table)
    table.sync(typed([1000], pa.int64(), day=50))
    with_column = files_in_log(table) - old
    table.sync(typed([2000], pa.string(), day=99))
    assert old < files_in_log(table)
    assert with_column.isdisjoint(files_in_log(table))
    assert table.raw_frame().sort("id")["x"].to_list() == [None] * 5 + [str(2**53 - 1), "text"]


def test_narrower_values_are_stored_in_the_wider_type_for_good(synced):
    table = synced(typed(range(3), pa.string()), settled=True)
    table.sync()
    table.sync(typed([5], pa.int64(), day=1))
    assert table.raw_frame().sort("id")["x"].to_list()[-1] == str(2**53 - 1)


def test_a_widening_that_loses_its_race_widens_the_newer_version_and_leaves_no_file_behind(synced):
    table = synced(typed(range(5), pa.int64()), settled=True)
    table.sync()
    opened = in_lake(table)
    late = table.log.commit_schema
    raced = iter([lambda: table.sync(typed(range(5, 9), pa.int64(), day=1))])
    commit = opened.log.commit_schema

    def after_a_rival(*arguments):
        for rival in itertools.islice(raced, 1):
            rival()
        commit(*arguments)

    opened.log.commit_schema = after_a_rival
    widen_columns(opened, [pa.field("x", pa.string())], budget=table.budget, watch=table.context().watch)
    assert late is not None
    assert table.raw_frame()["x"].to_list() == [str(2**53 - 1)] * 9
    assert files_in_log(table) <= files_on_disk(table)


@pytest.mark.parametrize("mode", list(SyncMode))
def test_a_key_that_changes_its_kind_is_refused_and_the_lake_keeps_its_version(synced, mode):
    table = synced(rows(range(3)), mode=mode)
    table.sync()
    text = rows(range(3), day=1)
    with pytest.raises(ConfigError, match="identifies or places rows"):
        table.sync(text.set_column(0, "id", text["id"].cast(pa.string())))
    assert table.version == 0


def test_a_key_widens_within_its_kind_and_still_finds_its_rows(synced):
    narrow = rows(range(50))
    table = synced(narrow.set_column(0, "id", narrow["id"].cast(pa.int32())))
    table.sync()
    report = table.sync(rows(range(60), day=1))
    assert (report.rows_updated, report.rows_inserted) == (50, 10)
    assert table.matches()


@pytest.mark.parametrize(
    "changed", [typed(range(3), pa.string(), day=1), rows(range(3), day=1)], ids=["type", "column"]
)
def test_a_frozen_table_stops_with_a_sentence_and_goes_on_once_it_may_evolve(synced, changed):
    table = synced(typed(range(3), pa.int64()), settled=True)
    table.sync()
    table.policy = SchemaPolicy.FREEZE
    with pytest.raises(ConfigError, match="frozen"):
        table.sync(changed)
    assert table.version == 0
    table.policy = SchemaPolicy.EVOLVE
    table.sync()
    assert table.raw_frame().height == 3


def test_a_discarding_table_keeps_its_columns_and_sets_misfits_aside(synced):
    table = synced(typed(range(3), pa.int64()), settled=True, policy=SchemaPolicy.DISCARD)
    table.sync()
    late = typed(range(3, 6), pa.string(), day=1, values=["17", "many", None])
    report = table.sync(late.append_column("y", pa.array([1, 2, 3])))
    assert report.rows_rejected == 1
    frame = table.raw_frame().sort("id")
    assert frame.columns == ["id", "created", "updated", "x", "_partition"]
    assert frame.filter(pl.col("id") > 2).select("id", "x").rows() == [(3, 17), (5, None)]
    ledger = pl.read_delta(f"{table.lake.uri}/_ops/rejected_rows")
    assert ledger.select("key", "column", "reason").rows() == [('{"id": "4"}', "x", "the value does not fit bigint")]
    assert '"x": "many"' in ledger["row"][0]


def test_a_sync_that_died_before_the_lake_widened_goes_on_and_widens_what_it_staged(synced):
    """Chunks staged in the old type are stored in the new one."""
    table = synced(
        typed(range(300), pa.int64()), page_rows=100, budget=PAGE_BY_PAGE, fail_after=2, mode=SyncMode.FULL_REFRESH
    )
    with pytest.raises(ConnectionError):
        table.sync()
    table.source.fail_after = None
    table.sync()
    table.sync(typed(range(300), pa.string(), day=1))
    assert table.matches()


def test_a_backfill_follows_a_new_type_too(synced):
    table = synced(typed(range(1500), pa.int64()), settled=True)
    table.sync()
    table.sync(typed(range(1500), pa.string()))
    table.source.rows = typed([i for i in range(1500) if i != 3], pa.string())
    report = table.backfill("2025-01")
    assert report.rows_deleted - report.rows_inserted == 1
    frame = table.raw_frame().sort("id")
    assert frame["x"].dtype == pl.String
    january = frame.filter(pl.col("_partition") == "2025-01")
    assert set(january["x"]) == {"text"}
    assert set(frame.filter(pl.col("_partition") != "2025-01")["x"]) == {str(2**53 - 1)}
    assert frame.height == 1499


def test_a_lake_on_an_object_store_widens_too():
    with s3_server() as environ:
        lake = Lake(new_bucket(environ), env=environ)
        table = SyncedTable(lake, ListSource(typed(range(50), pa.int64()), settled=True))
        table.sync()
        table.sync(typed(range(50, 60), pa.string(), day=1))
        assert table.raw_frame().sort("id")["x"].to_list() == [str(2**53 - 1)] * 50 + ["text"] * 10

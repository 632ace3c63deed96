"""The lake equals the source after a comparison, whatever was missing, extra or different."""

import random
import sqlite3

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.rejected import RejectedRow
from import_platform.core.report import Status
from import_platform.core.table import ColumnInfo, DeclaredTable, HashPartition, SyncMode, TableInfo
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.edit import TableMoved
from import_platform.pipeline.reconcile import reconcile
from import_platform.pipeline.sync import sync_table
from import_platform.sources.protocol import Page
from import_platform.sources.registry import open_source
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import ROOMY, STREAMED, SyncedTable, replaced, rows, without


class NotNull(ListSource):
    """Says that its key is never null, so that ranges of it can be asked for."""

    def discover(self, names=None):
        return [
            TableInfo(
                "",
                info.name,
                (ColumnInfo("id", pa.int64(), "int8", nullable=False), *info.columns[1:]),
                info.primary_key,
            )
            for info in super().discover(names)
        ]


def found(report):
    return report.rows_missing, report.rows_extra, report.rows_differing


def drifted(table, count=3000):
    """The source loses 3 rows, changes 4 without moving their cursor, and gains 2, so that syncs see nothing of it."""
    table.sync()
    changed = without(table.source.rows, [7, 1500, count - 1])
    changed = replaced(changed, rows([3, 4, 1000, 2000], text="changed"))
    table.source.rows = pa.concat_tables([changed, rows([count + 5, -4], day=-1)])


@pytest.mark.parametrize("budget", [ROOMY, STREAMED], ids=["roomy", "tiny"])
@pytest.mark.parametrize("source", [ListSource, NotNull], ids=["by hash", "by range"])
@pytest.mark.parametrize("partition", [HashPartition(2), None], ids=["hash", "chosen"])
def test_every_difference_is_found_and_repaired_in_one_commit(lake, source, budget, partition):
    table = SyncedTable(
        lake, source(rows(range(3000)), settled=True, page_rows=500), partition=partition, budget=budget
    )
    drifted(table)
    version = table.version
    looked = reconcile(table.context(), repair=False)
    assert (found(looked), looked.status, table.version) == ((2, 3, 4), Status.UNCHANGED, version)
    report = reconcile(table.context())
    assert found(report) == (2, 3, 4)
    assert (report.rows_inserted, report.rows_deleted, report.rows_updated, report.status) == (2, 3, 4, Status.DONE)
    assert table.version == version + 1
    assert table.matches()
    assert found(reconcile(table.context())) == (0, 0, 0)
    assert table.version == version + 1


def test_only_ranges_that_differ_are_read_again(lake):
    table = SyncedTable(
        lake, NotNull(rows(range(600_000)), settled=True, page_rows=100_000), partition=HashPartition(0)
    )
    table.sync()
    table.source.rows = replaced(table.source.rows, rows([300_000], text="changed"))
    table.source.reads.clear()
    report = reconcile(table.context())
    assert (found(report), report.ranges_differing) == ((0, 0, 1), 1)
    whole, part = table.source.reads
    assert whole.range is None
    low, high = int(part.range.lower), int(part.range.upper)
    assert 300_000 - 2000 < low <= 300_000 < high < 300_000 + 2000


def test_a_row_that_the_lake_holds_twice_is_there_once_afterwards(synced):
    table = synced(rows(range(100)), partition=HashPartition(0))
    table.sync()
    table.raw_frame().filter(pl.col("id") == 5).write_delta(
        table.uri,
        mode="append",
        storage_options=table.lake.store.storage_options,
        delta_write_options={"partition_by": "_partition"},
    )
    assert table.raw_frame().height == 101
    report = reconcile(table.context())
    assert found(report) == (0, 0, 1)
    assert table.matches()


def test_a_row_that_the_source_has_and_cannot_give_keeps_its_last_version(synced):
    class Wide(ListSource):
        def read(self, request):
            for page in super().read(request):
                kept = page.batch.filter(pa.compute.not_equal(page.batch.column("id"), 5))
                yield Page(kept, page.token, (RejectedRow({"id": "5"}, "text", "too wide", None),))

    table = synced(rows(range(50)), settled=True)
    table.sync()
    table.source = Wide(without(table.source.rows, [6]))
    report = reconcile(table.context())
    assert (found(report), report.rows_rejected) == ((0, 1, 0), 1)
    assert sorted(table.raw_frame()["id"]) == [i for i in range(50) if i != 6]


def test_the_cursor_stays_and_syncs_go_on(synced):
    table = synced(rows(range(100)), settled=True)
    drifted(table, 100)
    before = table.log.snapshot().transaction
    reconcile(table.context())
    assert table.log.snapshot().transaction == before
    table.sync(replaced(table.source.rows, rows([50, 200], day=3)))
    assert table.matches()


def test_a_sync_that_commits_while_rows_are_compared_makes_it_compare_again(synced):
    table = synced(rows(range(300)), settled=True)
    table.sync()
    table.source.rows = without(table.source.rows, [1])
    newer = rows([5], day=9)

    def sync_once(page):
        table.source.on_page = None
        table.source.rows = replaced(table.source.rows, newer)
        table.sync()

    table.source.on_page = sync_once
    report = reconcile(table.context())
    assert found(report) == (0, 1, 0)
    assert table.matches()


def test_a_table_that_is_never_quiet_is_left_alone(synced):
    table = synced(rows(range(300)), settled=True)
    table.sync()
    table.source.rows = without(table.source.rows, [1])
    days = iter(range(1, 100))

    def sync_again(page):
        hook, table.source.on_page = table.source.on_page, None
        table.source.rows = replaced(table.source.rows, rows([5], day=next(days)))
        table.sync()
        table.source.on_page = hook

    table.source.on_page = sync_again
    with pytest.raises(TableMoved):
        reconcile(table.context())
    assert 1 in table.raw_frame()["id"].to_list()


def test_a_stop_changes_nothing(synced):
    table = synced(rows(range(300)))
    drifted(table, 300)
    version = table.version
    with pytest.raises(Interrupted):
        reconcile(table.context(stop=lambda: True))
    assert table.version == version
    assert table.lake.store.folders(f"{table.lake.staging_path('s', 't')}/attempts") == []


def test_what_cannot_be_compared_is_refused_with_a_way_out(synced):
    table = synced(rows(range(3)))
    with pytest.raises(ConfigError, match="never synced"):
        reconcile(table.context())
    table.sync()
    table.source.rows = table.source.rows.append_column("new", pa.array([1, 2, 3]))
    with pytest.raises(ConfigError, match="columns changed") as refused:
        reconcile(table.context())
    assert "sync" in refused.value.remedy


def test_a_table_without_a_key_is_refused(synced):
    table = synced(rows(range(3)), mode=SyncMode.APPEND, primary_key=(), partition=None)
    table.sync()
    with pytest.raises(ConfigError, match="by a primary key only"):
        reconcile(table.context())


COLUMNS = "id {key} NOT NULL PRIMARY KEY, updated_at timestamp NOT NULL, n numeric(10,2), note text"


@pytest.fixture(params=["postgres", "sqlite"])
def database(request, tmp_path):
    """A connector, and a function that runs statements on its database."""
    if request.param == "postgres":
        postgres = request.getfixturevalue("postgres")
        source, execute = open_source("s", {"kind": "postgres", "dsn": postgres.dsn}), postgres.execute
    else:
        connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
        source = open_source("s", {"kind": "sqlite", "path": str(tmp_path / "shop.db")})
        execute = connection.execute
    yield source, execute
    source.close()


@pytest.mark.parametrize("key", ["int", "text", "timestamp"])
def test_databases_are_followed_row_by_row(database, tmp_path, key):
    source, execute = database
    name = {
        "int": str,
        "text": "'k{}'".format,
        "timestamp": lambda i: f"'2025-01-01 {i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}'",
    }[key]
    execute(f"CREATE TABLE t ({COLUMNS.format(key=key)})")
    values = ", ".join(f"({name(i)}, '2025-01-01 00:00:00', {i}.25, 'note {i}')" for i in range(3000))
    execute(f"INSERT INTO t VALUES {values}")
    lake = Lake(str(tmp_path / "lake"))
    context = TableContext("s", DeclaredTable("t", SyncMode.INCREMENTAL, "updated_at", ("id",)), source, lake, ROOMY)
    sync_table(context)
    rng = random.Random(5)
    changed, gone = rng.sample(range(3000), 7), {name(i) for i in rng.sample(range(3000), 5)}
    for i in changed:
        execute(f"UPDATE t SET note = NULL, n = n + 1 WHERE id = {name(i)}")
    for value in gone:
        execute(f"DELETE FROM t WHERE id = {value}")
    execute(f"INSERT INTO t VALUES ({name(5000)}, '2024-01-01 00:00:00', NULL, 'late')")
    report = reconcile(context)
    still = {name(i) for i in changed} - gone
    assert found(report) == (1, 5, len(still))
    assert found(reconcile(context, repair=False)) == (0, 0, 0)
    assert pl.read_delta(lake.table_uri("s", "t")).height == 2996

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from import_platform.core.identity import PROPERTY, identity_from_json
from import_platform.core.table import (
    UNPARTITIONED,
    Granularity,
    HashPartition,
    NumberPartition,
    SyncMode,
    TimePartition,
)
from import_platform.errors import CommitConflict, ConfigError
from import_platform.pipeline import relayout as relayout_module
from import_platform.pipeline.convert import convert, plan_conversion
from tests.pipeline.lake_table import commits_after, files_in_log, files_on_disk, in_lake, split, version_rows
from tests.pipeline.synced_table import MONTHLY, ROOMY, replaced, rows

PARTITIONS = [UNPARTITIONED, MONTHLY, NumberPartition("id", 100), HashPartition(2)]
NAMES = ["none", "month", "number", "hash"]


def converted(table, partition, limit_bytes=10**9, opened=None):
    return convert(opened or in_lake(table), partition, limit_bytes=limit_bytes, budget=ROOMY)


@pytest.mark.parametrize("after", PARTITIONS, ids=NAMES)
@pytest.mark.parametrize("before", PARTITIONS, ids=NAMES)
def test_any_partition_becomes_any_other_in_one_commit_with_the_same_rows(synced, before, after):
    table = synced(rows(range(1000)), partition=before)
    table.sync()
    report = converted(table, after)
    if before == after:
        assert table.version == 0
        return
    assert (table.version, report.rows_read) == (1, 1000)
    assert version_rows(table, 0).equals(version_rows(table, 1))
    assert in_lake(table).identity.partition == after
    table.partition = after
    table.sync(replaced(table.source.rows, rows([5, 999, 1000], day=1, text="y")))
    assert table.matches(), "the next sync goes on under the new partition"


def test_leaves_over_the_limit_are_split_on_the_way(synced):
    table = synced(rows(range(2000)), partition=UNPARTITIONED)
    table.sync()
    size = in_lake(table).snapshot.size_bytes
    plan = plan_conversion(in_lake(table), MONTHLY, limit_bytes=size // 3)
    converted(table, MONTHLY, limit_bytes=size // 3)
    assert set(table.leaves()) == set(plan.targets)
    assert "2025-01" not in table.leaves()
    assert "2025-03-01" in table.leaves() or "2025-03" in table.leaves()
    assert table.matches()


def test_other_readers_see_the_new_layout(synced):
    table = synced(rows(range(1000)), partition=UNPARTITIONED)
    table.sync()
    converted(table, MONTHLY)
    delta = DeltaTable(table.uri)
    assert delta.to_pyarrow_table(filters=[("_partition", "=", "2025-02")]).num_rows == 256
    assert delta.metadata().partition_columns == ["_partition"]
    scanned = duckdb.from_arrow(pl.read_delta(table.uri).to_arrow()).aggregate("count(*)").fetchone()
    assert scanned == (1000,)
    assert delta.history(1)[0]["operation"] == "REPARTITION"


def test_the_log_goes_on_and_is_checkpointed_after_it(synced, monkeypatch):
    table = synced(rows(range(300)), partition=UNPARTITIONED)
    table.sync()
    converted(table, MONTHLY)
    table.partition = MONTHLY
    for day in range(1, 24):
        table.sync(replaced(table.source.rows, rows([day], day=day)))
    assert table.matches()
    assert in_lake(table).identity.partition == MONTHLY
    assert DeltaTable(table.uri).version() == 24


def test_a_sync_in_between_is_neither_lost_nor_doubled(synced):
    table = synced(rows(range(1000)), partition=UNPARTITIONED)
    table.sync()
    changed = replaced(table.source.rows, rows([5, 1000], day=1, text="y"))
    opened = commits_after_identity(in_lake(table), lambda: table.sync(changed))
    converted(table, MONTHLY, opened=opened)
    assert table.matches()
    assert set(table.leaves()) == {"2025-01", "2025-02"}


def commits_after_identity(opened, rival):
    commit, waiting = opened.log.commit_identity, [rival]

    def late(base, what, *, identity):
        if waiting:
            waiting.pop()()
        commit(base, what, identity=identity)

    opened.log.commit_identity = late
    return opened


def test_a_sync_that_was_under_way_is_refused_and_the_table_is_whole(synced):
    """The sync planned its leaves under the old partition; its commit must not follow the conversion."""
    table = synced(rows(range(1000)), partition=UNPARTITIONED)
    table.sync()
    table.source.on_page = lambda page: converted(table, MONTHLY)
    with pytest.raises(ConfigError, match="partitioned otherwise"):
        table.sync(replaced(table.source.rows, rows([5, 1000], day=1, text="y")))
    table.source.on_page = None
    assert set(table.leaves()) == {"2025-01", "2025-02"}
    table.partition = MONTHLY
    table.sync()
    assert table.matches()


def test_a_split_that_was_under_way_finds_nothing_left_to_split(synced):
    table = synced(rows(range(1000)), partition=UNPARTITIONED)
    table.sync()
    opened = commits_after(in_lake(table), [lambda: converted(table, MONTHLY)])
    assert split(opened, "all", limit_bytes=1000).files_added == 0
    assert table.matches()
    assert set(table.leaves()) == {"2025-01", "2025-02"}


def test_two_conversions_at_once_end_as_one(synced, monkeypatch):
    monkeypatch.setattr(relayout_module, "BACKOFF_SECONDS", 0.0)
    table = synced(rows(range(1000)), partition=UNPARTITIONED)
    table.sync()
    opened = commits_after_identity(in_lake(table), lambda: converted(table, NumberPartition("id", 100)))
    with pytest.raises(CommitConflict):
        converted(table, MONTHLY, opened=opened)
    assert in_lake(table).identity.partition == NumberPartition("id", 100)
    assert len(table.leaves()) == 10
    assert table.matches()


def test_a_column_that_is_not_there_or_does_not_suit_is_refused(synced):
    table = synced(rows(range(10)), partition=UNPARTITIONED)
    table.sync()
    with pytest.raises(ConfigError, match="no such column"):
        converted(table, TimePartition("born", Granularity.DAY))
    with pytest.raises(ConfigError, match="cannot partition"):
        converted(table, NumberPartition("created", 10))
    assert table.version == 0


def test_an_empty_and_a_keyless_table_are_converted_too(synced):
    empty = synced(rows([]), partition=UNPARTITIONED)
    empty.sync()
    converted(empty, MONTHLY)
    assert in_lake(empty).identity.partition == MONTHLY
    keyless = synced(rows(range(100)), name="k", mode=SyncMode.FULL_REFRESH, partition=UNPARTITIONED, primary_key=())
    keyless.sync()
    converted(keyless, NumberPartition("id", 10))
    assert len(keyless.leaves()) == 10
    assert identity_from_json(DeltaTable(keyless.uri).metadata().configuration[PROPERTY]).primary_key == ()
    assert keyless.matches()
    assert files_in_log(keyless) <= files_on_disk(keyless)

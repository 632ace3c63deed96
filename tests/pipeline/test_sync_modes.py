import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.core.table import HashPartition, NumberPartition, SyncMode
from tests.pipeline.synced_table import MONTHLY, STREAMED, replaced, rows, without

PARTITIONS = [None, MONTHLY, NumberPartition("id", 100), HashPartition(2)]


@pytest.mark.parametrize("partition", PARTITIONS, ids=["chosen", "month", "number", "hash"])
@pytest.mark.parametrize("mode", list(SyncMode))
def test_a_first_sync_makes_the_lake_equal_the_source(synced, mode, partition):
    table = synced(rows(range(1000)), mode=mode, partition=partition)
    report = table.sync()
    assert table.matches()
    assert (report.status, report.rows_read, report.rows_inserted, report.delta_version) == (Status.DONE, 1000, 1000, 0)


@pytest.mark.parametrize("partition", PARTITIONS, ids=["chosen", "month", "number", "hash"])
def test_an_incremental_sync_reads_and_writes_what_changed(synced, partition):
    table = synced(rows(range(2000)), partition=partition)
    table.sync()
    report = table.sync(replaced(table.source.rows, rows([3, 900, 2000, 2001], day=1, text="y")))
    assert table.matches()
    assert report.rows_read == 5, "the four, and the row that shares the last cursor value"
    assert (report.rows_updated, report.rows_inserted, report.rows_deleted) == (2, 2, 0)
    assert report.delta_version == 1, "one commit, however many partitions"


def test_an_incremental_sync_keeps_rows_deleted_at_the_source_until_a_full_refresh(synced):
    table = synced(rows(range(300)))
    table.sync()
    table.sync(without(table.source.rows, range(10)))
    assert table.lake_frame().height == 300
    table.sync(full_refresh=True)
    assert table.matches()


def test_a_full_refresh_replaces_updates_inserts_and_deletes_in_one_commit(synced):
    table = synced(rows(range(1000)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    report = table.sync(without(replaced(table.source.rows, rows([5, 1000], day=9, text="z")), range(100, 200)))
    assert table.matches()
    assert table.version == 1
    assert report.files_removed > 0


def test_a_full_refresh_that_finds_an_empty_source_empties_the_table(synced):
    table = synced(rows(range(100)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    table.sync(rows([]))
    assert table.lake_frame().is_empty()
    table.sync(rows([1]))
    assert table.matches()


@pytest.mark.parametrize("mode", list(SyncMode))
def test_an_empty_table_becomes_an_empty_delta_table_once(synced, mode):
    table = synced(rows([]), mode=mode)
    table.sync()
    assert table.version == 0
    assert table.lake_frame().is_empty()
    assert table.lake_frame().schema == table.source_frame().schema
    assert table.sync().status is Status.UNCHANGED
    assert table.version == 0, "an empty sync makes no commit"
    table.sync(rows(range(10)))
    assert table.matches()


def test_a_row_whose_partition_column_changed_leaves_no_copy_in_its_old_leaf(synced):
    table = synced(rows(range(2000)))
    table.sync()
    moved = rows([1500], day=1).set_column(1, "created", rows([1]).column("created"))
    report = table.sync(replaced(table.source.rows, moved))
    assert table.matches()
    assert report.partitions_touched == 2


def test_a_row_that_moves_into_a_new_leaf_leaves_no_copy_either(synced):
    table = synced(rows(range(50)))
    table.sync()
    moved = rows([7], day=1).set_column(1, "created", rows([9000]).column("created"))
    table.sync(replaced(table.source.rows, moved))
    assert table.matches()
    assert table.leaves() == {"2025-01": 49, "2026-01": 1}


def test_append_adds_only_what_lies_past_the_cursor(synced):
    table = synced(rows(range(100)), mode=SyncMode.APPEND)
    table.sync()
    report = table.sync(rows(range(130)))
    assert table.matches()
    assert (report.rows_inserted, report.files_removed) == (30, 0)


def test_append_works_without_any_key(synced):
    table = synced(rows(range(100)), mode=SyncMode.APPEND, primary_key=(), partition=HashPartition(1))
    table.source.primary_key = ()
    table.sync()
    table.sync(rows(range(130)))
    assert table.matches()


def test_a_keyless_full_refresh_keeps_rows_that_are_alike(synced):
    twice = rows([1, 1, 2])
    table = synced(twice, mode=SyncMode.FULL_REFRESH, partition=HashPartition(1), primary_key=())
    table.source.primary_key = ()
    table.sync()
    assert table.matches()
    table.sync(rows([1, 1, 1]))
    assert table.matches()


@pytest.mark.parametrize("mode", list(SyncMode))
def test_a_sync_with_nothing_new_makes_no_commit(synced, mode):
    table = synced(rows(range(500)), mode=mode)
    table.sync()
    report = table.sync()
    assert (report.status, report.files_added, table.version) == (Status.UNCHANGED, 0, 0)
    assert table.matches()


def test_a_full_refresh_swaps_when_one_value_changed_and_when_it_is_asked_for(synced):
    table = synced(rows(range(500)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    changed = pa.concat_tables([rows(range(499)), rows([499], text="y")])
    assert table.sync(changed).status is Status.DONE
    assert table.matches()
    assert table.sync(full_refresh=True).status is Status.DONE
    assert table.sync().status is Status.UNCHANGED
    assert table.sync(rows(range(499))).status is Status.DONE
    assert table.matches()


@pytest.mark.parametrize("mode", list(SyncMode))
def test_rows_larger_than_their_share_of_memory_are_streamed_to_the_same_result(synced, mode):
    table = synced(rows(range(3000)), mode=mode, budget=STREAMED)
    table.sync()
    assert table.matches()
    changed = rows(range(3000, 3500), day=1, text="y")
    if mode is not SyncMode.APPEND:
        changed = rows(range(1500, 3500), day=1, text="y")
    table.sync(replaced(table.source.rows, changed))
    assert table.matches()


def test_frequent_small_syncs_do_not_pile_up_files(synced):
    table = synced(rows([0]), partition=HashPartition(0))
    table.sync()
    for i in range(1, 25):
        table.sync(replaced(table.source.rows, rows([i], day=i)))
    assert table.matches()
    snapshot = table.log.snapshot()
    assert snapshot is not None
    assert snapshot.files.height <= 5
    assert snapshot.version == 24, "past a log checkpoint, with the transaction number still there"


def test_the_staging_folder_is_empty_after_a_finished_sync(synced):
    table = synced(rows(range(100)))
    table.sync()
    assert table.staging.attempts() == []
    assert [e.path for e in table.lake.store.entries("_staging") if "/attempts/" in e.path] == []


def test_a_full_refresh_notices_the_smallest_change(synced):
    table = synced(rows(range(300)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    first = table.source.rows
    swapped = rows([0, 1]).set_column(3, "text", rows([1, 0]).column("text"))
    renamed = first.rename_columns(["id", "created", "updated", "text2"])
    for change in (replaced(first, rows([7], text="y")), replaced(first, swapped), first, rows(range(299)), first):
        version = table.version
        assert table.sync(change).status is Status.DONE
        assert table.version == version + 1
        assert table.matches()
    table.sync(renamed)
    assert table.raw_frame()["text2"].null_count() == 0


def test_a_full_refresh_of_what_is_there_in_another_order_changes_nothing(synced):
    table = synced(rows(range(300)), mode=SyncMode.FULL_REFRESH, budget=STREAMED)
    table.source.primary_key = ()
    table.sync()
    assert table.sync(rows(range(299, -1, -1))).status is Status.UNCHANGED
    assert table.version == 0


def test_a_full_refresh_after_a_backfill_does_not_take_the_lake_for_unchanged(synced):
    table = synced(rows(range(1600)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    first = table.source.rows
    table.source.rows = replaced(first, rows([800], text="y"))
    table.backfill("2025-02")
    table.sync(first)
    assert table.matches()

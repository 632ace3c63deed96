"""Splits inside a flush: what a merge would push past the limit is taken apart in the merge's own commit."""

import pyarrow as pa
import pytest

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.layout import base_of
from import_platform.core.table import UNPARTITIONED, NumberPartition, SyncMode
from import_platform.io.delta import Commit, DeltaLog
from tests.pipeline.lake_table import files_in_log, files_on_disk, in_lake, split
from tests.pipeline.synced_table import MONTHLY, replaced, rows, without


class Streaming(MemoryBudget):
    """Source rows never fit, so they are streamed, and a split writes four leaves per pass; chunks are whole."""

    merge_bytes = 30_000  # type: ignore[assignment]


STREAMED = Streaming(8192 * MIB, 200 * MIB)


@pytest.fixture(params=["held", "streamed"])
def synced_with_limit(synced, request):
    """Makes a table whose leaves are split at a number of rows, as far as average rows can tell."""

    def make(source_rows, *, limit_bytes, **options):
        if request.param == "streamed":
            options["budget"] = STREAMED
        return synced(source_rows, extra={"partition_max_bytes": limit_bytes}, **options)

    return make


def load(table):
    """The first sync, before there is a limit: nothing tells yet how well these rows compress."""
    limit_bytes = table.extra["partition_max_bytes"]
    table.extra["partition_max_bytes"] = None
    table.sync()
    table.extra["partition_max_bytes"] = limit_bytes


def size_of(synced, source_rows, **options):
    """Bytes at rest of these rows, to choose limits by."""
    table = synced(source_rows, name="measured", **options)
    table.sync()
    return in_lake(table).snapshot.size_bytes


@pytest.mark.parametrize(
    "partition", [UNPARTITIONED, MONTHLY, NumberPartition("id", 10_000)], ids=["none", "month", "n"]
)
def test_a_sync_that_pushes_a_leaf_past_the_limit_writes_its_children_at_once(synced_with_limit, synced, partition):
    limit_bytes = size_of(synced, rows(range(600)), partition=partition)
    table = synced_with_limit(rows(range(500)), limit_bytes=limit_bytes, partition=partition)
    load(table)
    [leaf] = table.leaves()
    report = table.sync(rows(range(1200)))
    assert table.version == 1, "one commit"
    assert leaf not in table.leaves()
    assert table.matches()
    assert report.rows_inserted == 700
    assert (report.rows_updated, report.rows_deleted) == (0, 0)


def test_rows_that_are_replaced_do_not_count_twice(synced_with_limit, synced):
    limit_bytes = int(1.5 * size_of(synced, rows(range(500))))
    table = synced_with_limit(rows(range(500)), limit_bytes=limit_bytes)
    load(table)
    table.sync(rows(range(500), day=1, text="y"))
    assert list(table.leaves()) == ["2025-01"], "it is as large as before"
    assert table.matches()


def test_updates_deletes_and_moves_survive_a_split_in_the_same_flush(synced_with_limit, synced):
    limit_bytes = size_of(synced, rows(range(600)), partition=UNPARTITIONED)
    table = synced_with_limit(rows(range(500)), limit_bytes=limit_bytes, partition=UNPARTITIONED)
    load(table)
    changed = replaced(rows(range(1500)), rows([3, 77, 499, 1400], day=1, text="y"))
    report = table.sync(changed)
    assert report.rows_updated == 3
    assert table.matches()
    assert all(base_of(leaf) == "all" and leaf != "all" for leaf in table.leaves())


@pytest.mark.parametrize("mode", [SyncMode.FULL_REFRESH, SyncMode.APPEND])
def test_first_loads_and_swaps_never_write_a_leaf_that_is_too_large(synced_with_limit, mode):
    source = rows(range(3000), text="x" * 50)
    table = synced_with_limit(source, limit_bytes=source.nbytes // 3 // 3, partition=UNPARTITIONED, mode=mode)
    table.sync()
    assert len(table.leaves()) >= 4
    assert table.version == 0
    assert table.matches()
    if mode is SyncMode.FULL_REFRESH:
        table.sync(without(source, range(1000)))
        assert table.matches()


def test_a_leaf_of_one_key_is_left_whole(synced_with_limit, synced):
    same = pa.table({"text": pa.array(["same"] * 500)})
    table = synced_with_limit(same, limit_bytes=10, mode=SyncMode.FULL_REFRESH, partition=UNPARTITIONED, primary_key=())
    table.sync()
    assert table.leaves() == {"all": 500}


def test_a_leaf_that_is_too_large_already_is_left_to_the_sensor(synced_with_limit, synced):
    table = synced_with_limit(rows(range(500)), limit_bytes=None)
    table.sync()
    table.extra["partition_max_bytes"] = 100
    table.sync(rows(range(510)))
    assert list(table.leaves()) == ["2025-01"]
    assert table.matches()


@pytest.mark.parametrize("rival", ["split", "add a leaf"])
def test_a_lost_race_is_planned_again_and_what_was_written_in_vain_is_deleted(
    synced_with_limit, synced, monkeypatch, rival
):
    limit_bytes = size_of(synced, rows(range(600)))
    table = synced_with_limit(rows(range(500)), limit_bytes=limit_bytes)
    load(table)
    commit, begun = DeltaLog.commit, []

    def late(self, base, what):
        if not begun:
            begun.append(what)
            opened = in_lake(table)
            if rival == "split":
                split(opened, "2025-01", limit_bytes=2000)
            else:
                opened.log.commit(opened.snapshot, Commit([], []))
        commit(self, base, what)

    monkeypatch.setattr(DeltaLog, "commit", late)
    table.sync(rows(range(740)))
    assert "2025-01" not in table.leaves()
    assert table.matches()
    written = {file.path for file in begun[0].adds}
    assert files_in_log(table) <= files_on_disk(table)
    assert not (files_on_disk(table) - files_in_log(table)) & written

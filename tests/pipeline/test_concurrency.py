"""Other writers between our plan and our commit: every change of both is there exactly once."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType

from import_platform.core.table import HashPartition, SyncMode
from import_platform.errors import CommitConflict, CommitOutcomeUnknown, Overtaken
from import_platform.io.delta import DeltaLog
from import_platform.pipeline.sync import sync_table
from tests.pipeline.synced_table import ROOMY, STREAMED, SyncedTable, replaced, rows, without


def between(monkeypatch, work, *, times=1, name="commit"):
    """Runs `work` just before each of our next commits."""
    original, left = getattr(DeltaLog, name), [times]

    def wrapped(self, *args, **kwargs):
        if left[0]:
            left[0] -= 1
            work()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(DeltaLog, name, wrapped)
    return left


@pytest.fixture(params=[ROOMY, STREAMED], ids=["held", "streamed"])
def table(synced, request):
    table = synced(rows(range(1600)), budget=request.param)
    table.sync()
    table.sync(replaced(table.source.rows, rows(range(1500, 1650), day=1)))  # a second file in a leaf, for compactions
    return table


def changed(table):
    return replaced(table.source.rows, rows([3, 800, 1640, 1700], day=5, text="ours"))


def foreign(table):
    return DeltaTable(table.uri, storage_options=table.lake.store.storage_options)


def foreign_rows(ids, text):
    frame = pl.DataFrame(pl.from_arrow(rows(ids, text=text)))
    return frame.with_columns(_partition=pl.col("created").dt.strftime("%Y-%m")).to_arrow()


def test_a_foreign_compaction_doubles_nothing(table, monkeypatch):
    left = between(monkeypatch, lambda: foreign(table).optimize.compact(), times=2)
    table.sync(changed(table))
    assert left == [0]
    assert table.matches()


def test_a_foreign_append_is_seen_and_kept(table, monkeypatch):
    """Of the appended rows one has a key of ours: ours replaces it, as it would had it come a moment earlier."""
    added = foreign_rows([1640, 3000], "theirs")
    between(monkeypatch, lambda: write_deltalake(table.uri, added, mode="append"))
    want = changed(table)
    table.sync(want)
    table.source.rows = replaced(want, rows([3000], text="theirs"))
    assert table.matches()


def test_a_foreign_append_of_our_key_into_another_leaf_is_found(table, monkeypatch):
    stray = foreign_rows([1640], "theirs").set_column(4, "_partition", pa.array(["2025-01"]))
    between(monkeypatch, lambda: write_deltalake(table.uri, stray, mode="append"))
    table.sync(changed(table))
    assert table.matches()


def test_a_foreign_deletion_stays_deleted(table, monkeypatch):
    between(monkeypatch, lambda: foreign(table).delete("id = 810"))
    want = changed(table)
    table.sync(want)
    table.source.rows = without(want, [810])
    assert table.matches()


def test_a_column_that_somebody_adds_meanwhile_is_kept_and_null(table, monkeypatch):
    between(monkeypatch, lambda: foreign(table).alter.add_columns([Field("theirs", PrimitiveType("long"))]))
    table.sync(changed(table))
    lake = table.raw_frame()
    assert lake["theirs"].null_count() == lake.height
    assert lake.drop("_partition", "theirs").sort("id").equals(table.source_frame().sort("id"))


def test_our_new_column_and_a_foreign_append_do_not_lose_each_other(table, monkeypatch):
    added = foreign_rows([3000], "theirs")
    between(monkeypatch, lambda: write_deltalake(table.uri, added, mode="append"), name="add_columns")
    want = changed(table)
    want = want.append_column("new", pa.array(range(want.num_rows), pa.int64()))
    table.sync(want)
    lake = table.raw_frame()
    assert lake.height == want.num_rows + 1
    assert lake.filter(pl.col("id") == 800)["new"].to_list() == [
        want.column("new")[want.column("id").to_pylist().index(800)].as_py()
    ]


def test_a_backfill_of_another_range_is_kept(table, monkeypatch):
    want = without(replaced(changed(table), rows([10], text="quiet")), [20])

    def backfill():
        monkeypatch.undo()
        table.backfill("2025-01")

    between(monkeypatch, backfill)
    table.sync(want)
    assert table.matches()


def test_a_backfill_of_the_same_range_is_kept(table, monkeypatch):
    want = without(replaced(changed(table), rows([900], text="quiet")), [910])

    def backfill():
        monkeypatch.undo()
        table.backfill("2025-02")

    between(monkeypatch, backfill)
    table.sync(want)
    assert table.matches()


def test_another_sync_that_finishes_first_stands_and_ours_is_discarded(table, monkeypatch):
    source_rows = changed(table)

    def other():
        monkeypatch.undo()
        twin = SyncedTable(table.lake, table.source, budget=table.budget)
        for attempt in twin.staging.attempts():
            twin.staging.discard(attempt.id)  # as after seven days; otherwise it would go on with ours
        twin.sync()

    between(monkeypatch, other)
    with pytest.raises(Overtaken) as overtaken:
        table.sync(source_rows)
    assert overtaken.value.retryable
    monkeypatch.undo()
    assert table.matches()
    version = table.version
    table.sync()
    assert table.matches()
    assert table.version == version


@pytest.mark.parametrize("mode", list(SyncMode))
def test_an_attempt_that_another_process_finished_is_not_flushed_again(synced, monkeypatch, mode):
    """An append would double its rows: the other process went on with our attempt and committed it to its end."""
    table = synced(rows(range(100)), mode=mode, partition=HashPartition(1))
    table.sync()

    def other():
        monkeypatch.undo()
        table.sync()

    between(monkeypatch, other)
    with pytest.raises(Overtaken):
        table.sync(rows(range(150)) if mode is SyncMode.APPEND else replaced(table.source.rows, rows([3, 120], day=4)))
    monkeypatch.undo()
    assert table.matches()
    table.sync()
    assert table.matches()


def test_of_two_processes_that_create_a_table_one_wins(synced, monkeypatch):
    table = synced(rows(range(100)))

    def other():
        monkeypatch.undo()
        table.sync(full_refresh=True)

    between(monkeypatch, other, name="create")
    with pytest.raises(Overtaken):
        table.sync()
    assert table.matches()
    assert table.version == 0


def test_writers_that_never_let_us_through_end_in_a_retryable_error_and_the_rows_stay_staged(table, monkeypatch):
    monkeypatch.setattr("import_platform.pipeline.flush.TRIES", 3)
    monkeypatch.setattr("import_platform.pipeline.flush.BACKOFF_SECONDS", 0.001)
    between(monkeypatch, lambda: foreign(table).alter.set_table_properties({"delta.appendOnly": "false"}), times=99)
    with pytest.raises(CommitConflict):
        table.sync(changed(table))
    monkeypatch.undo()
    report = table.sync()
    assert (report.resumed, report.rows_read) == (True, 0)
    assert table.matches()


def test_a_lost_acknowledgement_is_noticed_and_nothing_is_written_twice(table, monkeypatch):
    original = DeltaLog.commit

    def lost(self, base, commit):
        original(self, base, commit)
        monkeypatch.undo()
        raise CommitOutcomeUnknown("the commit was not acknowledged")

    monkeypatch.setattr(DeltaLog, "commit", lost)
    report = table.sync(changed(table))
    assert table.matches()
    assert (report.rows_inserted, report.rows_updated, report.rows_deleted) == (1, 3, 0), "and it is reported once"


def test_a_lost_acknowledgement_that_looks_like_a_conflict_is_noticed_too(table, monkeypatch):
    """S3 may retry our own put after a lost answer and then say that somebody else created the object."""
    original = DeltaLog.commit

    def lost(self, base, commit):
        original(self, base, commit)
        monkeypatch.undo()
        raise CommitConflict("another writer committed first")

    monkeypatch.setattr(DeltaLog, "commit", lost)
    report = table.sync(changed(table))
    assert table.matches()
    assert (report.rows_inserted, report.rows_updated, report.rows_deleted) == (1, 3, 0), "and it is reported once"


def test_a_commit_whose_fate_was_unknown_and_that_never_landed_is_made_again(table, monkeypatch):
    def never(self, base, commit):
        monkeypatch.undo()
        raise CommitOutcomeUnknown("the commit was not acknowledged")

    monkeypatch.setattr(DeltaLog, "commit", never)
    table.sync(changed(table))
    assert table.matches()


def test_files_of_a_lost_round_are_deleted(table, monkeypatch):
    between(monkeypatch, lambda: foreign(table).delete("id = 810"))
    want = changed(table)
    table.sync(want)
    known = {action["path"] for version in range(table.version + 1) for action in _adds(table, version)}
    there = {
        e.path for e in table.lake.store.entries("s/t") if e.path.endswith(".parquet") and "_delta_log" not in e.path
    }
    assert there == {f"s/t/{path}" for path in known}


def _adds(table, version):
    import json

    log = table.lake.store.get(f"s/t/_delta_log/{version:020d}.json")
    return [entry["add"] for entry in map(json.loads, log.splitlines()) if "add" in entry]


def test_only_what_changed_is_written_again_after_a_conflict(table, monkeypatch):
    """A commit elsewhere in the table costs a new look, not a new merge."""
    written = []
    from import_platform.io.parquet import LeafWriter

    close = LeafWriter.close
    monkeypatch.setattr(LeafWriter, "close", lambda self: written.append(1) or close(self))
    context = table.context()
    table.source.rows = changed(table)
    added = foreign_rows([3000], "theirs")
    between(monkeypatch, lambda: write_deltalake(table.uri, added, mode="append"))
    sync_table(context)
    first = len(written)
    written.clear()
    monkeypatch.undo()
    assert first <= 2 * 6, first

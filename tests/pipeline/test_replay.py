"""Rejected rows come back once they fit, never over a newer version, and never twice."""

import pyarrow as pa
import pytest

from import_platform.core.rejected import RejectedRow
from import_platform.core.report import Status
from import_platform.core.table import SchemaPolicy, SyncMode
from import_platform.errors import ConfigError
from import_platform.io.ledger import count_rejected, latest_rejected, record_rejected
from import_platform.pipeline.edit import TableMoved
from import_platform.pipeline.replay import replay_rejected
from tests.pipeline.synced_table import rows

TEXT = pa.string()


def typed(ids, values, dtype=TEXT, *, day=0):
    return rows(ids, day=day).select(["id", "created", "updated"]).append_column("x", pa.array(values, dtype))


def rejecting(synced, **options):
    """A table with ids 0..4 and the rejected rows 5 (`many`) and 1 (`several`, an update)."""
    table = synced(typed(range(5), range(5), pa.int64()), settled=True, policy=SchemaPolicy.DISCARD, **options)
    table.sync()
    table.sync(typed([5, 1, 6], ["many", "several", "6"], day=1))
    assert count_rejected(table.lake, "s", "t") == 2
    return table


def x_by_id(table):
    return dict(table.raw_frame().select("id", "x").iter_rows())


def test_rows_that_still_do_not_fit_stay(synced):
    table = rejecting(synced)
    report = replay_rejected(table.context())
    assert (report.status, report.rows_read, report.rows_rejected) == (Status.UNCHANGED, 2, 2)
    assert count_rejected(table.lake, "s", "t") == 2


def test_rows_come_back_once_the_column_is_wide_enough(synced):
    table = rejecting(synced)
    table.policy = SchemaPolicy.EVOLVE
    table.sync(typed([7], ["seven"], day=2))
    report = replay_rejected(table.context())
    assert (report.rows_inserted, report.rows_updated, report.rows_rejected) == (1, 1, 0)
    assert x_by_id(table) == {0: "0", 1: "several", 2: "2", 3: "3", 4: "4", 5: "many", 6: "6", 7: "seven"}
    assert count_rejected(table.lake, "s", "t") == 0
    again = replay_rejected(table.context())
    assert (again.status, again.rows_read) == (Status.UNCHANGED, 0)


def test_a_newer_version_in_the_lake_stays(synced):
    table = rejecting(synced)
    table.policy = SchemaPolicy.EVOLVE
    table.sync(typed([1, 5], ["newer", "newest"], day=3))
    version = table.version
    report = replay_rejected(table.context())
    assert (report.status, report.rows_rejected) == (Status.DONE, 0)
    assert table.version == version
    assert (x_by_id(table)[1], x_by_id(table)[5]) == ("newer", "newest")
    assert count_rejected(table.lake, "s", "t") == 0


def test_of_two_rejected_versions_the_newer_one_comes_back(synced):
    table = rejecting(synced)
    table.sync(typed([5], ["much"], day=2))
    table.policy = SchemaPolicy.EVOLVE
    table.sync(typed([7], ["seven"], day=3))
    replay_rejected(table.context())
    assert x_by_id(table)[5] == "much"


def test_the_cursor_does_not_move_and_the_next_sync_goes_on(synced):
    table = rejecting(synced)
    table.policy = SchemaPolicy.EVOLVE
    table.sync(typed([7], ["seven"], day=2))
    before = table.log.snapshot().transaction
    replay_rejected(table.context())
    assert table.log.snapshot().transaction == before
    table.sync(typed([8], ["eight"], day=4))
    assert x_by_id(table)[8] == "eight"


def test_rows_that_were_cut_or_never_fetched_stay_in_the_ledger(synced):
    table = synced(rows(range(3)))
    table.sync()
    long = '{"id": "9", "text": "' + "x" * (1 << 16) + '… (70000 characters)"}'
    unread = [RejectedRow({"id": "8"}, "text", "wide", None), RejectedRow({"id": "9"}, "text", "odd", long)]
    record_rejected(table.lake, "s", "t", "attempt", [(1, unread)])
    report = replay_rejected(table.context())
    assert report.rows_rejected == 2
    assert table.raw_frame().height == 3


def test_other_tables_and_their_rejected_rows_are_left_alone(synced):
    table = rejecting(synced)
    other = [RejectedRow({"id": "5"}, "x", "odd", '{"id": "5"}')]
    record_rejected(table.lake, "s", "it's", "attempt", [(1, other)])
    table.policy = SchemaPolicy.EVOLVE
    table.sync(typed([7], ["seven"], day=2))
    replay_rejected(table.context())
    assert latest_rejected(table.lake, "s", None, limit=10)["table"].to_list() == ["it's"]


def keyless(synced, values, *, settled=True):
    """An append table without a key that took numbers only; `values` are those of its rows after the first three."""
    table = synced(
        typed(range(3), range(3), pa.int64()),
        mode=SyncMode.APPEND,
        primary_key=(),
        partition=None,
        policy=SchemaPolicy.DISCARD,
        settled=settled,
    )
    table.source.primary_key = ()
    table.sync()
    table.sync(pa.concat_tables([typed(range(3), ["0", "1", "2"]), typed([3] * len(values), values, day=1)]))
    return table


def widened(table):
    """Wide enough for text, by a row that comes later."""
    table.policy = SchemaPolicy.EVOLVE
    table.sync(pa.concat_tables([table.source.rows, typed([7], ["seven"], day=9)]))


def appended(table):
    return sorted(table.raw_frame()["x"])


def test_rows_without_a_key_are_added_once_each_copy(synced):
    table = keyless(synced, ["many", "3", "many", "few"])
    widened(table)
    report = replay_rejected(table.context())
    assert (report.rows_inserted, report.rows_updated, report.rows_deleted) == (3, 0, 0)
    assert appended(table) == ["0", "1", "2", "3", "few", "many", "many", "seven"]
    assert count_rejected(table.lake, "s", "t") == 0


def test_rows_without_a_key_are_not_added_again_by_a_replay_that_died_before_the_ledger_forgot_them(
    synced, monkeypatch
):
    table = keyless(synced, ["many", "many"])
    widened(table)
    with monkeypatch.context() as patch:
        patch.setattr("import_platform.pipeline.replay.forget_rejected", lambda *_: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):  # noqa: PT011
            replay_rejected(table.context())
    assert appended(table).count("many") == 2
    version = table.version
    replay_rejected(table.context())
    assert (table.version, appended(table).count("many")) == (version, 2)
    assert count_rejected(table.lake, "s", "t") == 0


def test_a_row_that_several_passes_rejected_comes_back_once(synced):
    """At a cursor value that is not settled every pass reads it again."""
    table = keyless(synced, ["many", "many"], settled=False)
    table.sync(pa.concat_tables([table.source.rows, typed([3], ["4"], day=1)]))
    assert count_rejected(table.lake, "s", "t") == 4
    widened(table)
    assert appended(table).count("many") == 2, "the pass after the widening read them once more"
    replay_rejected(table.context())
    assert appended(table) == ["0", "1", "2", "4", "many", "many", "seven"]
    assert count_rejected(table.lake, "s", "t") == 0


def test_rows_without_a_key_are_judged_anew_when_the_table_moved_meanwhile(synced, monkeypatch):
    table = keyless(synced, ["many"])
    widened(table)
    from import_platform.pipeline import replay

    put = replay.Edit.put

    def overtaken(edit, batch):
        monkeypatch.setattr(replay.Edit, "put", put)
        replay_rejected(table.context())
        put(edit, batch)

    monkeypatch.setattr(replay.Edit, "put", overtaken)
    with pytest.raises(TableMoved):
        replay_rejected(table.context())
    assert appended(table).count("many") == 1


def test_a_keyless_table_that_is_swapped_whole_is_told_what_brings_its_rows(synced):
    table = synced(rows(range(3)), mode=SyncMode.FULL_REFRESH, primary_key=(), partition=None)
    table.source.primary_key = ()
    table.sync()
    with pytest.raises(ConfigError, match="with its next full refresh"):
        replay_rejected(table.context())


def test_nothing_staged_is_left_behind(synced):
    table = rejecting(synced)
    table.policy = SchemaPolicy.EVOLVE
    table.sync(typed([7], ["seven"], day=2))
    replay_rejected(table.context())
    assert table.lake.store.folders(f"{table.lake.staging_path('s', 't')}/attempts") == []
    assert table.raw_frame().height == 8

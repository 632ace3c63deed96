"""Rejected rows are open until their key, their file or the whole table was read once more, and only then no longer."""

import json

import pyarrow as pa
import pytest

from import_platform.core.rejected import RejectedRow
from import_platform.core.report import Status
from import_platform.core.table import SchemaPolicy, SyncMode
from import_platform.errors import StoreUnavailable
from import_platform.io.ledger import count_rejected, latest_rejected, record_rejected
from import_platform.pipeline import settle as settle_module
from import_platform.pipeline import sync as sync_module
from import_platform.pipeline.replay import replay_rejected
from tests.pipeline.synced_table import rows

TEXT = pa.string()


def typed(ids, values, dtype=TEXT, *, day=0):
    return rows(ids, day=day).select(["id", "created", "updated"]).append_column("x", pa.array(values, dtype))


@pytest.fixture
def rejecting(synced):
    """A table with the ids 0..4 and 6, and two rejected rows: 5, and 1, an update."""
    table = synced(typed(range(5), range(5), pa.int64()), settled=True, policy=SchemaPolicy.DISCARD)
    table.sync()
    table.sync(typed([5, 1, 6], ["many", "several", "6"], day=1))
    assert open_ids(table) == ["1", "5"]
    return table


def open_ids(table):
    return sorted(json.loads(key)["id"] for key in latest_rejected(table.lake, "s", "t", limit=99)["key"])


def how(table):
    found = latest_rejected(table.lake, "s", "t", limit=99, resolved=True)
    return {(json.loads(key)["id"], told) for key, told in found.select("key", "how").iter_rows()}


def test_a_row_whose_key_is_imported_later_is_open_no_more_and_not_lost(rejecting):
    rejecting.sync(typed([5, 7], ["5", "7"], day=2))
    assert open_ids(rejecting) == ["1"]
    assert how(rejecting) == {("5", "a row of its key was imported since"), ("1", None)}
    assert count_rejected(rejecting.lake, "s", "t", resolved=True) == 1


def test_other_keys_resolve_nothing(rejecting):
    rejecting.sync(typed([7, 8], ["7", "8"], day=2))
    assert open_ids(rejecting) == ["1", "5"]


def test_a_row_that_is_rejected_again_is_open_once(rejecting):
    rejecting.sync(typed([5], ["much"], day=2))
    assert open_ids(rejecting) == ["1", "5"]
    assert ("5", "a row of its key was rejected again since") in how(rejecting)


def test_a_full_refresh_resolves_what_it_does_not_reject_anew(rejecting):
    rejecting.sync(typed([0, 5], ["0", "many"], day=2), full_refresh=True)
    assert open_ids(rejecting) == ["5"]
    assert count_rejected(rejecting.lake, "s", "t", resolved=True) == 2


def test_an_unchanged_full_refresh_keeps_what_it_rejects_again_and_resolves_what_it_does_not(synced):
    table = synced(
        typed(range(3), range(3), pa.int64()),
        policy=SchemaPolicy.DISCARD,
        mode=SyncMode.FULL_REFRESH,
        primary_key=("id",),
    )
    table.sync()
    table.sync(typed([0, 1, 2, 3], ["0", "1", "2", "odd"]))
    for _ in range(2):
        table.sync()
        assert open_ids(table) == ["3"]
    table.sync(typed([0, 1, 2], ["0", "1", "2"]))
    assert open_ids(table) == []


def test_a_rejection_from_after_the_pass_began_stays(rejecting):
    def late(*args):
        record_rejected(rejecting.lake, "s", "t", "another", [(1, [RejectedRow({"id": "8"}, "x", "odd", None)])])
        return settle(*args)

    settle = sync_module.settle_rejected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_module, "settle_rejected", late)
        rejecting.sync(typed([8], ["8"], day=2))
    assert open_ids(rejecting) == ["1", "5", "8"]


def test_a_sync_that_is_killed_behind_its_commit_resolves_with_the_next_one(rejecting):
    def killed(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_module, "settle_rejected", killed)
        with pytest.raises(KeyboardInterrupt):
            rejecting.sync(typed([5], ["5"], day=2))
    assert open_ids(rejecting) == ["1", "5"]
    rejecting.sync()
    assert open_ids(rejecting) == ["1"]


def test_a_ledger_that_cannot_be_read_fails_no_sync(rejecting, monkeypatch):
    def unreadable(*_, **__):
        raise StoreUnavailable("the ledger of rejected rows cannot be read")

    monkeypatch.setattr(settle_module, "open_rejected", unreadable)
    assert rejecting.sync(typed([5], ["5"], day=2)).status is Status.DONE
    assert open_ids(rejecting) == ["1", "5"]


def test_a_resolved_row_is_never_replayed(rejecting):
    rejecting.sync(typed([0, 6], ["0", "6"], day=2), full_refresh=True)  # 1 and 5 are gone at the source
    rejecting.policy = SchemaPolicy.EVOLVE
    rejecting.sync(typed([7], ["seven"], day=3))
    replay_rejected(rejecting.context())
    assert sorted(rejecting.raw_frame()["id"]) == [0, 6, 7]
    assert count_rejected(rejecting.lake, "s", "t") == 0

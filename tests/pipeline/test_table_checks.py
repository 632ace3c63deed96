"""What the checks are told of a sync, without Dagster."""

from __future__ import annotations

import pytest

from import_platform.core.budget import MIB
from import_platform.core.check_state import check_state_from_json
from import_platform.core.report import Status
from import_platform.errors import SourceUnavailable
from import_platform.io.grants import Grants
from import_platform.pipeline import table_checks
from import_platform.pipeline.sync import backfill_table, sync_table
from import_platform.pipeline.table_checks import KEY_IS_UNIQUE, ROWS_MATCH_SOURCE, Wanted, find
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, rows

BOTH = Wanted(frozenset({KEY_IS_UNIQUE, ROWS_MATCH_SOURCE}))


class Silent(ListSource):
    """A source that is too slow for its time limit."""

    def row_count(self, table, *, timeout_seconds):
        raise SourceUnavailable("it took too long", remedy="Wait.")


KEYS = Wanted(frozenset({KEY_IS_UNIQUE}))
STATE = "_staging/s/t/checks/state.json"


def test_a_sync_is_looked_at_and_remembered(synced):
    table = synced(rows(range(300)), settled=True)
    table.source = ListSource(table.source.rows, settled=True)
    context = table.context()
    found = find(context, sync_table(context), BOTH, troubled=None)
    assert (found.keys.rows, found.counted.source_rows, found.counted.lake_rows) == (300, 300, 300)
    assert (found.as_of, found.lag_seconds, bool(found.drift)) == (context.notes.begun_at, 0.0, False)
    state = check_state_from_json(table.lake.store.get(STATE))
    assert (state.version, state.columns["id"], state.complete_at) == (0, "int64", found.as_of)
    again = find(context, sync_table(context), BOTH, troubled=None)
    assert again.keys.rows == 0, "nothing was committed since"
    assert again.counted == found.counted, "counted less than ten minutes ago"


def test_a_backfill_makes_a_table_no_fresher(synced):
    table = synced(rows(range(300)))
    context = table.context()
    first = find(context, sync_table(context), KEYS, troubled=None)
    found = find(context, backfill_table(context, "2025-01"), KEYS, troubled=None)
    assert (found.as_of, found.lag_seconds) == (first.as_of, None)


def test_a_sync_that_stopped_half_way_says_how_far_it_is_behind(synced):
    table = synced(rows(range(300)), budget=PAGE_BY_PAGE)
    table.sync()
    table.source.rows = rows(range(400), day=100)
    context = table.context(max_run_seconds=0.0)
    report = sync_table(context)
    assert report.status is Status.CHECKPOINTED
    found = find(context, report, BOTH, troubled=None)
    assert found.lag_seconds == 100 * 86400 + 100
    assert found.counted is None, "a table that is being read is not compared"


def test_a_source_that_does_not_count_in_time_is_asked_again_later(synced):
    table = synced(rows(range(300)))
    table.source = Silent(table.source.rows)
    context = table.context()
    found = find(context, sync_table(context), BOTH, troubled=None)
    assert (found.keys.rows, found.counted.source_rows) == (300, None)


def test_a_look_that_fails_is_told_and_fails_no_sync(synced, monkeypatch):
    said = []

    class Notes:
        def note(self, table, text):
            said.append(text)

        def progress(self, *args, **kwargs): ...

    def broken(self, *args, **kwargs):
        raise ValueError("canary-5ecret")

    monkeypatch.setattr(table_checks.KeyCheck, "run", broken)
    table = synced(rows(range(10)))
    context = table.context(observer=Notes())
    assert find(context, sync_table(context), BOTH, troubled=None).keys is None
    assert "its checks could not be made: ValueError" in said


def test_keys_wait_for_their_share_of_the_memory(synced, tmp_path):
    table = synced(rows(range(300)))
    grants = Grants(tmp_path / "memory", 512 * MIB)
    context = table.context(grants=grants)
    report = sync_table(context)
    found = find(context, report, KEYS, troubled=None)
    assert found.keys.rows == 300
    grants.take(512 * MIB, stop=lambda: False).give_back()


@pytest.mark.parametrize(("left_bytes", "looked"), [(16 * MIB, True), (4 * MIB, False)])
def test_the_keys_of_a_small_table_do_not_wait_for_a_neighbours_flush(synced, tmp_path, left_bytes, looked):
    """Who would have to wait is stopped, and looks at nothing."""
    table = synced(rows(range(300)))
    report = sync_table(table.context())
    grants = Grants(tmp_path / "memory", 512 * MIB)
    grants.take(512 * MIB - left_bytes, stop=lambda: False)
    found = find(table.context(grants=grants, stop=lambda: True), report, KEYS, troubled=None)
    assert (found.keys is not None) is looked

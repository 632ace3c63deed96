from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.core.table import HashPartition, SyncMode
from import_platform.errors import Overtaken, RetryableError
from import_platform.pipeline.sync import RESUME_WITHIN
from tests.pipeline.synced_table import PAGE_BY_PAGE, STREAMED, replaced, rows

MODES = list(SyncMode)


@pytest.fixture(params=MODES)
def table(synced, request):
    return synced(rows(range(1000)), mode=request.param, budget=PAGE_BY_PAGE)


def die_after(table, pages):
    table.source.fail_after = table.source.pages + pages
    with pytest.raises(ConnectionError):
        table.sync()
    table.source.fail_after = None


def test_a_sync_that_died_reads_only_what_it_had_not_staged(table):
    die_after(table, 7)
    report = table.sync()
    assert table.matches()
    assert (report.resumed, report.rows_read) == (True, 300)


def test_a_sync_may_die_as_often_as_it_likes(table):
    read = 0
    for _ in range(9):
        die_after(table, 1)
    report = table.sync()
    assert report.rows_read + read == 100
    assert table.matches()


def test_a_later_sync_resumes_as_well_as_the_first(table):
    table.sync()
    if table.mode is SyncMode.APPEND:
        table.source.rows = pa.concat_tables([table.source.rows, rows(range(1000, 1600), day=1)])
    else:
        table.source.rows = replaced(table.source.rows, rows(range(500, 1100), day=1, text="y"))
    die_after(table, 4)
    report = table.sync()
    assert table.matches()
    assert report.resumed
    assert report.rows_read <= 700


def test_what_a_failing_source_gave_before_is_staged(synced):
    table = synced(rows(range(1000)))
    die_after(table, 7)
    assert table.sync().rows_read == 300


def test_pages_without_a_token_are_read_again_and_not_doubled(table):
    table.source.token_every = 3
    die_after(table, 8)
    report = table.sync()
    assert table.matches()
    assert report.rows_read == 400, "pages 7 and 8 came after the last token"


def test_a_stop_ends_at_a_checkpoint_and_the_next_sync_goes_on(table):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 4

    report = table.sync(stop=stop)
    assert report.status is Status.CHECKPOINTED
    assert report.rows_read == 500
    report = table.sync()
    assert (report.resumed, report.rows_read) == (True, 500)
    assert table.matches()


def test_a_time_limit_ends_at_a_checkpoint_and_every_run_gets_further(table):
    reports = [table.sync(max_run_seconds=0) for _ in range(10)]
    assert [r.status for r in reports] == [Status.CHECKPOINTED] * 10
    assert all(r.rows_read == 100 for r in reports)
    assert table.sync().status is not Status.CHECKPOINTED
    assert table.matches()


def test_an_incremental_sync_shows_its_parts_and_a_swap_or_an_append_does_not(table):
    table.sync(max_run_seconds=0)
    assert table.version == (0 if table.mode is SyncMode.INCREMENTAL else -1)


def test_more_chunks_than_a_flush_takes_are_flushed_on_the_way(synced, monkeypatch):
    monkeypatch.setattr("import_platform.pipeline.sync.FLUSH_CHUNKS", 3)
    table = synced(rows(range(1000)), budget=PAGE_BY_PAGE)
    table.sync()
    assert table.version == 3
    assert table.matches()
    die_after_rows = replaced(table.source.rows, rows(range(1000), day=1, text="y"))
    table.source.rows = die_after_rows
    die_after(table, 5)
    report = table.sync()
    assert report.rows_read == 500
    assert table.matches()


def test_an_attempt_too_old_to_resume_starts_over(table):
    die_after(table, 7)
    [attempt] = table.staging.attempts()
    manifest = attempt.to_json().replace(
        attempt.started_at.isoformat().encode(), (datetime.now(UTC) - RESUME_WITHIN - timedelta(1)).isoformat().encode()
    )
    table.lake.store.put(f"{table.lake.staging_path('s', 't')}/attempts/{attempt.id}/manifest.json", manifest)
    report = table.sync()
    assert (report.resumed, report.rows_read) == (False, 1000)
    assert table.matches()


def test_a_full_refresh_does_not_go_on_with_an_incremental_pass(synced):
    table = synced(rows(range(1000)), budget=PAGE_BY_PAGE)
    die_after(table, 7)
    report = table.sync(full_refresh=True)
    assert (report.resumed, report.rows_read) == (False, 1000)
    assert table.matches()
    assert table.staging.attempts() == []


def test_a_token_that_the_source_no_longer_knows_starts_the_pass_over(table):
    die_after(table, 7)
    table.source.expired = True
    for _ in range(3):
        try:
            table.sync()
            break
        except RetryableError:
            continue
    assert table.matches()


def test_a_source_whose_columns_changed_under_an_unfinished_pass_starts_over(table):
    die_after(table, 7)
    texts = pa.array(range(1000), pa.int64())
    table.source.rows = table.source.rows.set_column(3, "text", texts).append_column("new", texts)
    table.sync()
    assert table.lake_frame().height == 1000
    assert table.lake_frame().equals(table.source_frame())


def test_an_attempt_that_another_sync_overtook_gives_up_and_changes_nothing(table):
    other = []

    def interfere(page):
        if page == 3 and not other:
            other.append(1)
            table.sync(full_refresh=True)  # discards what the outer sync staged, and commits

    table.source.on_page = interfere
    with pytest.raises(Overtaken):
        table.sync()
    table.source.on_page = None
    assert table.matches()
    table.sync()
    assert table.matches()


@pytest.mark.parametrize("budget", [PAGE_BY_PAGE, STREAMED])
def test_two_syncs_on_one_attempt_put_every_row_in_once(table, budget):
    """The second process takes over while the first is only slow; both reach the end."""
    table.budget = budget
    inner = []

    def interfere(page):
        if page == 5 and not inner:
            inner.append(1)
            table.sync()

    table.source.on_page = interfere
    try:
        table.sync()
    except RetryableError:
        pass
    assert inner
    table.source.on_page = None
    assert table.matches()
    table.sync()
    assert table.matches()


def test_two_processes_that_cut_their_chunks_differently_lose_no_row(synced):
    """The slow one stages chunk 2 of 100 rows just as the other, on the same attempt, stages a chunk 2 of 50 rows."""
    table = synced(rows(range(400)), mode=SyncMode.FULL_REFRESH, budget=PAGE_BY_PAGE, partition=HashPartition(0))
    inner = []

    def interfere(page):
        if page == 1 and not inner:
            inner.append(1)
            table.source.page_rows, kept = 50, table.source.page_rows
            table.sync(max_run_seconds=0)
            table.source.page_rows = kept

    table.source.on_page = interfere
    for _ in range(3):
        try:
            table.sync()
            break
        except RetryableError:
            table.source.on_page = None
    assert table.matches()


def test_a_chunk_that_does_not_follow_the_one_before_it_is_dropped(synced):
    """Left behind when one process drops chunks without a token while another, on the same attempt, stages on."""
    table = synced(rows(range(600)), mode=SyncMode.FULL_REFRESH, budget=PAGE_BY_PAGE, partition=HashPartition(0))
    table.source.token_every = 2
    die_after(table, 4)
    inner = []

    def interfere(page):
        # The outer process stages chunk 5 (no token) and then 6 (token). Between the two another one starts, drops 5 as
        # not whole, and stages a 5 of its own with fewer rows.
        if page == table.source.pages and len(inner) == 0 and len(table.staging.checkpoints(attempt.id)) == 5:
            inner.append(1)
            table.source.page_rows, table.source.token_every = 50, 1
            table.sync(max_run_seconds=0)
            table.source.page_rows, table.source.token_every = 100, 2

    [attempt] = table.staging.attempts()
    table.source.on_page = interfere
    for _ in range(4):
        try:
            table.sync()
            break
        except RetryableError:
            table.source.on_page = None
    assert inner
    assert table.matches()

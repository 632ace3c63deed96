from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.core.table import HashPartition, SyncMode
from import_platform.errors import ConfigError, Overtaken
from tests.pipeline.synced_table import EPOCH, PAGE_BY_PAGE, replaced, rows, without

US = pa.timestamp("us", "UTC")


def at(seconds, ids, text="x"):
    """Rows that all have the same cursor value."""
    return pa.table({
        "id": pa.array(ids, pa.int64()),
        "updated": pa.array([None if seconds is None else EPOCH + timedelta(seconds=seconds)] * len(ids), US),
        "text": pa.array([f"{text}{i}" for i in ids], pa.string()),
    })  # fmt: skip


@pytest.fixture(params=[SyncMode.INCREMENTAL, SyncMode.APPEND])
def table(synced, request):
    return synced(at(1, range(5)), mode=request.param, partition=HashPartition(1))


def test_a_settled_cursor_is_not_read_again(table):
    table.source.settled = True
    table.sync()
    before = len(table.source.reads)
    assert table.sync().status is Status.UNCHANGED
    assert len(table.source.reads) == before
    report = table.sync(pa.concat_tables([table.source.rows, at(2, [7])]))
    assert report.rows_read == 1
    assert table.matches()


def test_rows_that_appear_later_at_an_unsettled_cursor_value_are_found_once(table):
    table.sync()
    for late in (8, 9, 10):
        report = table.sync(pa.concat_tables([table.source.rows, at(1, [late])]))
        assert report.rows_inserted == 1
        assert report.rows_updated == 0, "rows at that value that are in the lake are not written again"
        assert table.matches()
    version = table.version
    for _ in range(3):
        assert table.sync().status is Status.UNCHANGED
    assert table.version == version


def test_a_row_changed_again_at_the_last_cursor_value_is_merged(synced):
    table = synced(at(1, range(5)), partition=HashPartition(1))
    table.sync()
    for text in ("y", "x", "y"):
        report = table.sync(replaced(table.source.rows, at(1, [3], text)))
        assert (report.rows_updated, report.rows_inserted) == (1, 0)
        assert table.matches()


def test_a_cursor_value_that_becomes_settled_is_noted_and_then_left_alone(table):
    table.sync()
    table.source.settled = True
    assert table.sync().files_added == 0
    reads = len(table.source.reads)
    table.sync()
    assert len(table.source.reads) == reads
    assert table.matches()


def test_more_rows_at_the_last_value_than_hashes_are_kept_never_double(table, monkeypatch):
    monkeypatch.setattr("import_platform.pipeline.extract.TAIL_ROWS", 3)
    monkeypatch.setattr("import_platform.pipeline.flush.TAIL_ROWS", 3)
    table.sync()
    table.sync()
    table.sync(pa.concat_tables([table.source.rows, at(1, [8])]))
    table.sync()
    assert table.matches()


def test_a_new_column_does_not_double_the_rows_at_the_last_value(table):
    table.sync()
    wider = table.source.rows.append_column("extra", pa.nulls(5, pa.int64()))
    table.sync(wider)
    more = pa.concat_tables([wider, at(2, [9]).append_column("extra", pa.array([1], pa.int64()))])
    table.sync(more)
    assert table.matches()


def test_a_source_whose_greatest_value_went_down_doubles_nothing(table):
    three = pa.concat_tables([at(1, [1]), at(2, [2]), at(3, [3])])
    table.sync(three)
    table.sync(without(three, [3]))
    kept = table.sync(pa.concat_tables([without(three, [3]), at(4, [4])]))
    assert kept.rows_inserted == 1
    assert sorted(table.lake_frame()["id"]) == [1, 2, 3, 4]
    table.sync()
    assert sorted(table.lake_frame()["id"]) == [1, 2, 3, 4]


def test_rows_past_the_ceiling_wait_for_the_next_sync(table):
    table.source.top = EPOCH + timedelta(seconds=1)
    table.source.settled = True
    table.sync(pa.concat_tables([at(1, range(5)), at(2, [7])]))
    assert table.lake_frame().height == 5
    table.source.top = None
    table.sync()
    assert table.matches()


def test_a_full_refresh_of_an_append_table_leaves_rows_past_the_ceiling_to_the_next_sync(table):
    table.source.top = EPOCH + timedelta(seconds=1)
    table.sync(pa.concat_tables([at(1, range(5)), at(2, [7])]), full_refresh=True)
    table.source.top = None
    table.sync()
    assert table.matches()


def test_rows_without_a_cursor_value_come_with_the_first_sync(table):
    table.sync(pa.concat_tables([at(1, range(5)), at(None, [8])]))
    assert table.matches()
    table.sync()
    assert table.matches()


def test_a_column_of_nulls_as_cursor_stays_at_the_first_sync(table):
    table.sync(at(None, range(5)))
    assert table.lake_frame().height == 5


CURSORS = {
    "int32": (pa.int32(), lambda i: i - 3),
    "int64": (pa.int64(), lambda i: (i - 3) * 10**17),
    "decimal": (pa.decimal128(20, 3), lambda i: Decimal(i) * 9 - Decimal("20.125")),
    "date": (pa.date32(), lambda i: date(1969, 12, 29) + timedelta(days=i)),
    "timestamp": (US, lambda i: EPOCH - timedelta(days=20090) + timedelta(days=i, microseconds=i)),
    "naive timestamp": (pa.timestamp("us"), lambda i: (EPOCH + timedelta(microseconds=i)).replace(tzinfo=None)),
    "text": (pa.string(), lambda i: f"v{i:04}"),
}


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("kind", list(CURSORS))
def test_a_cursor_of_any_ordered_type_moves_on(synced, kind, settled):
    dtype, make = CURSORS[kind]

    def upto(count):
        return pa.table(
            {"id": pa.array(range(count), pa.int64()), "c": pa.array([make(i) for i in range(count)], dtype)}
        )

    table = synced(upto(4), cursor="c", partition=HashPartition(0), settled=settled)
    table.sync()
    for count in (7, 12):
        report = table.sync(upto(count))
        assert table.matches()
        assert report.rows_read == (count - 4 if count == 7 else 5) + (not settled)
        assert report.rows_updated == 0
    assert pl.Series(table.lake_frame()["c"]).n_unique() == 12


def test_a_full_refresh_may_move_the_cursor_back(synced):
    table = synced(pa.concat_tables([at(1, [1]), at(9, [9])]), partition=HashPartition(0))
    assert table.sync().cursor_value == "2025-01-01T00:00:09.000000Z"
    assert table.sync(at(1, [1]), full_refresh=True).cursor_value == "2025-01-01T00:00:01.000000Z"
    table.sync(pa.concat_tables([at(1, [1]), at(5, [5])]))
    assert table.matches()


def test_the_cursor_does_not_move_while_a_pass_is_unfinished(synced):
    table = synced(rows(range(500)))
    table.sync()
    table.sync(rows(range(1000), day=1), max_run_seconds=0)
    state = table.staging.state(table.log.snapshot().transaction)
    assert state.cursor == "2025-01-01T00:08:19.000000Z"


def test_a_table_without_any_cursor_value_yet_doubles_nothing(table):
    table.sync(at(None, range(5)))
    table.sync()
    table.sync(pa.concat_tables([at(None, range(5)), at(1, [7])]))
    assert table.matches()
    table.sync(pa.concat_tables([at(None, range(5)), at(1, [7]), at(2, [8])]))
    assert table.matches()


def test_an_append_table_whose_state_was_deleted_is_not_read_from_the_beginning(synced):
    table = synced(at(1, range(5)), mode=SyncMode.APPEND, partition=HashPartition(1))
    table.sync()
    table.lake.store.remove_folder("_staging")
    with pytest.raises(ConfigError, match="full-refresh"):
        table.sync()
    assert table.matches()
    table.sync(full_refresh=True)
    table.sync(pa.concat_tables([table.source.rows, at(2, [8])]))
    assert table.matches()


def test_a_merged_table_whose_state_was_deleted_is_read_again(synced):
    table = synced(at(1, range(5)), partition=HashPartition(1))
    table.sync()
    table.lake.store.remove_folder("_staging")
    table.sync(pa.concat_tables([table.source.rows, at(2, [8])]))
    assert table.matches()


def test_a_swap_over_a_sync_that_ran_meanwhile_takes_back_nothing_of_what_that_brought(synced):
    """The full refresh has read the old versions; the cursor is already past the new ones."""
    table = synced(rows(range(500)), page_rows=50, budget=PAGE_BY_PAGE, settled=True)
    table.sync()
    pages = []

    def meanwhile(page):
        pages.append(page)
        if len(pages) == 4:
            table.sync(replaced(table.source.rows, rows([1, 499, 600], day=5, text="new")))

    table.source.on_page = meanwhile
    with pytest.raises(Overtaken):
        table.sync(full_refresh=True)
    table.source.on_page = None
    assert table.matches()
    table.sync(full_refresh=True)
    table.sync()
    assert table.matches()

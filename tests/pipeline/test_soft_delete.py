"""Rows that the source marks as deleted are not in the lake, whatever the mode."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from import_platform.core.deleted import marked
from import_platform.core.table import HashPartition, NumberPartition, SchemaPolicy, SyncMode
from tests.pipeline.synced_table import STREAMED, rows

WHEN = datetime(2025, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        (pa.array([True, False, None]), [True, False, False]),
        (pa.array([1, 0, None]), [True, False, False]),
        (pa.array([WHEN, None], pa.timestamp("us", "UTC")), [True, False]),
        (pa.array(["Y", " n ", "", None, "2025-01-01", "false", "0"]), [True, False, False, False, True, False, False]),
    ],
)
def test_what_marks_a_row_as_deleted(values, answer):
    assert marked(values).tolist() == answer


def with_marks(ids, deleted, *, day=0):
    marks = [WHEN if i in deleted else None for i in ids]
    return rows(ids, day=day).append_column("deleted_at", pa.array(marks, pa.timestamp("us", "UTC")))


def ids(table):
    return sorted(table.raw_frame()["id"].to_list())


@pytest.mark.parametrize("partition", [HashPartition(2), NumberPartition("id", 10)])
@pytest.mark.parametrize("options", [{}, {"budget": STREAMED}], ids=["held", "streamed"])
def test_a_row_marked_since_goes_away_and_comes_back_when_it_is_restored(synced, partition, options):
    table = synced(with_marks(range(50), {3}), partition=partition, declared={"deleted": "deleted_at"}, **options)
    table.sync()
    assert ids(table) == [i for i in range(50) if i != 3]
    report = table.sync(with_marks(range(52), {3, 7, 41, 51}, day=1))
    assert (report.rows_deleted, report.rows_inserted, report.rows_updated) == (2, 1, 47)
    assert ids(table) == [i for i in range(51) if i not in {3, 7, 41}]
    table.sync(with_marks([3, 7], set(), day=2))
    assert ids(table) == [i for i in range(51) if i != 41]


def test_a_key_that_comes_twice_in_one_pass_counts_as_its_last_version_says(synced):
    first, last = with_marks([1, 2], set()), with_marks([1], {1}, day=1)
    table = synced(pa.concat_tables([first, last]), declared={"deleted": "deleted_at"}, primary_key=("id",))
    table.sync()
    assert ids(table) == [2]


@pytest.mark.parametrize("mode", [SyncMode.FULL_REFRESH, SyncMode.APPEND])
def test_swaps_and_appends_leave_marked_rows_out(synced, mode):
    table = synced(with_marks(range(10), {1, 2}), mode=mode, declared={"deleted": "deleted_at"})
    table.sync()
    assert len(ids(table)) == 8
    table.sync(with_marks(range(10), {1}, day=1), full_refresh=True)
    assert len(ids(table)) == 9


def test_a_mark_column_that_the_lake_leaves_out_still_decides(synced):
    table = synced(rows(range(5)), policy=SchemaPolicy.DISCARD)
    table.sync()
    table.declared = {"deleted": "deleted_at"}
    table.sync(with_marks(range(5), {4}, day=1))
    assert ids(table) == [0, 1, 2, 3]
    assert "deleted_at" not in table.raw_frame().columns

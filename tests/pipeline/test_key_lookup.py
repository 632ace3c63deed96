"""How a flush finds the old versions of its rows."""

import uuid
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_platform.core.budget import GIB, KIB, MIB, MemoryBudget
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import EPOCH, SyncedTable, replaced

MONTHS = 12


def keyed(numbers, *, day=0, month=lambda number: number % MONTHS):
    return pa.table({
        "id": [str(uuid.UUID(int=(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)) for number in numbers],
        "created": pa.array([EPOCH + timedelta(days=31 * month(n)) for n in numbers], pa.timestamp("us", "UTC")),
        "updated": pa.array([EPOCH + timedelta(days=day, seconds=n) for n in numbers], pa.timestamp("us", "UTC")),
    })  # fmt: skip


class FewKeys(MemoryBudget):
    """Source rows are streamed, and their keys are taken in several passes."""

    chunk_bytes = 1  # type: ignore[assignment]
    merge_bytes = 96 * KIB  # type: ignore[assignment]


@pytest.fixture
def table(lake):
    return SyncedTable(lake, ListSource(keyed(range(1200)), primary_key=("id",)))


def test_random_keys_are_looked_for_in_filters_once_they_are_made(table):
    table.sync()
    march = [n for n in range(1200) if n % MONTHS == 2][:5]

    first = table.sync(replaced(table.source.rows, keyed(march, day=1)))
    again = table.sync(replaced(table.source.rows, keyed(march, day=2)))

    assert table.matches()
    assert (first.files_considered, first.files_probed, first.filter_bytes) == (MONTHS, MONTHS, 0)
    assert (again.files_considered, again.files_probed) == (MONTHS, 1)
    assert 0 < again.filter_bytes < 1000 * MONTHS


def test_a_row_that_moved_to_another_leaf_is_found_through_the_filter_of_its_old_file(table):
    table.sync()
    table.sync(replaced(table.source.rows, keyed([3], day=1)))  # makes the filters of the eleven other files

    moved = table.sync(replaced(table.source.rows, keyed([7], day=2, month=lambda _: 9)))

    assert table.matches()
    assert (moved.rows_updated, moved.files_removed, moved.files_probed) == (1, 1, 2)  # March has no filter yet


def test_an_update_goes_back_to_the_place_of_its_old_row(table):
    table.sync()
    before = table.paths()
    report = table.sync(replaced(table.source.rows, keyed([2, 14, 26], day=1)))
    assert table.matches()
    assert (report.files_added, report.files_removed, report.rows_updated, report.rows_inserted) == (1, 1, 3, 0)
    [path] = table.paths() - before
    with table.lake.store.open_input(f"s/{table.source.name}/{path}") as file:
        stored = pq.ParquetFile(file).read(["id"])
    assert stored["id"].to_pylist() == sorted(stored["id"].to_pylist())


@pytest.mark.parametrize("lake_has", [0, 4000])
def test_keys_that_outgrow_their_share_are_worked_through_in_passes(lake, lake_has):
    rows = keyed(range(8000), day=1)
    table = SyncedTable(lake, ListSource(keyed(range(lake_has or 1)), primary_key=("id",)))
    table.sync()
    table.budget = FewKeys(8 * GIB, 8 * GIB - 312 * MIB)
    twice = pa.concat_tables([rows, keyed(range(0, 8000, 3), day=3), keyed(range(0, 8000, 5), day=2)])
    table.primary_key = ("id",)

    report = table.sync(twice)

    assert report.rows_updated == (lake_has or 1)
    last = {row["id"]: row for row in sorted(twice.to_pylist(), key=lambda row: row["updated"])}
    assert {row["id"]: row for row in table.lake_frame().to_dicts()} == last
    assert table.lake_frame().height == len(last)


@pytest.mark.parametrize("known", [0, 10])
def test_rows_in_the_order_of_their_key_open_no_file_below_it_however_many_passes_they_take(lake, known):
    def ascending(numbers, *, day=0):
        rows = keyed(numbers, day=day)
        return rows.set_column(0, "id", pa.array([f"{number:032}" for number in numbers]))

    table = SyncedTable(lake, ListSource(ascending(range(4000)), primary_key=("id",)))
    table.sync()
    table.budget = FewKeys(8 * GIB, 8 * GIB - 312 * MIB)
    news = ascending([*range(4000 - known, 12000)], day=1)

    report = table.sync(news)

    assert (report.rows_inserted, report.rows_updated) == (8000, known)
    assert (report.files_probed > 0) == (known > 0)
    assert table.lake_frame()["id"].n_unique() == table.lake_frame().height == 12000

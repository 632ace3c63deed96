from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.column_range import ColumnRange
from import_platform.core.compare import RANGES, Ranges, Tally, bounds_of, can_cut, groups, runs

IDS = Ranges(("id",), pl.Series([10, 20]), pa.int64())


def batch(ids):
    return pa.record_batch({"id": pa.array(ids, pa.int64())})


def test_a_bound_is_the_least_key_of_the_next_range():
    assert IDS.places(batch([-5, 9, 10, 19, 20, 99])).tolist() == [0, 0, 1, 1, 2, 2]
    assert IDS.count == 3


def test_what_a_source_reads_covers_the_ranges_and_nothing_else():
    assert IDS.column_range([0]) == ColumnRange("id", None, "10")
    assert IDS.column_range([1]) == ColumnRange("id", "10", "20")
    assert IDS.column_range([1, 2]) == ColumnRange("id", "10", None)
    assert IDS.column_range([0, 1, 2]) is None


def test_instants_are_cut_like_numbers():
    start = datetime(2025, 1, 1, tzinfo=UTC)
    dtype = pa.timestamp("us", "UTC")
    ranges = Ranges(("at",), pl.Series([start + timedelta(days=1)], dtype=pl.Datetime("us", "UTC")), dtype)
    rows = pa.record_batch({"at": pa.array([start, start + timedelta(days=1)], dtype)})
    assert ranges.places(rows).tolist() == [0, 1]
    assert ranges.column_range([1]) == ColumnRange("at", "2025-01-02T00:00:00.000000Z", None)


def test_other_keys_are_cut_by_a_hash_that_does_not_depend_on_the_width_of_the_type():
    ranges = Ranges(("id",), None, pa.string())
    narrow = pa.record_batch({"id": pa.array([1, 2, 3], pa.int8())})
    assert ranges.places(narrow).tolist() == ranges.places(batch([1, 2, 3])).tolist()
    assert ranges.column_range([5]) is None
    assert len(set(ranges.places(batch(range(20_000))).tolist())) == RANGES


@pytest.mark.parametrize(
    ("dtype", "nullable", "answer"),
    [(pa.int32(), False, True), (pa.int32(), True, False), (pa.date32(), False, True), (pa.string(), False, False)],
)
def test_ranges_are_cut_where_a_database_finds_them(dtype, nullable, answer):
    assert can_cut(dtype, nullable=nullable) is answer


@pytest.mark.parametrize("count", [0, 1, 5, RANGES - 1, RANGES, 50_000])
def test_bounds_are_few_ascending_and_of_the_sample(count):
    found = bounds_of(pl.Series(range(count), dtype=pl.Int64))
    assert found.len() < RANGES
    assert found.is_sorted()
    assert found.n_unique() == found.len()
    assert count < RANGES or found.len() > RANGES // 2


def test_only_ranges_with_other_rows_differ():
    one, other = Tally.of(IDS), Tally.of(IDS)
    places = np.array([0, 1, 2, 2])
    one.add(places, np.array([1, 2, 2**64 - 1, 4], np.uint64))
    other.add(places[::-1], np.array([4, 2**64 - 1, 2, 1], np.uint64))
    assert one.differing(other) == []
    other.add(np.array([2]), np.array([0], np.uint64))
    one.add(np.array([1, 0]), np.array([7, 7], np.uint64))
    other.add(np.array([1, 0]), np.array([8, 7], np.uint64))
    assert one.differing(other) == [1, 2]


def test_groups_hold_no_more_rows_than_allowed_but_one_range_in_any_case():
    rows = np.array([5, 5, 5, 50, 5])
    assert list(groups([0, 1, 2, 3, 4], rows, rows_max=10)) == [[0, 1], [2], [3], [4]]
    assert list(groups([0, 2, 4], rows, rows_max=100)) == [[0, 2, 4]]
    assert list(groups([], rows, rows_max=10)) == []


def test_a_read_by_bounds_gives_neighbours_only():
    assert runs([0, 1, 4, 7, 8]) == [[0, 1], [4], [7, 8]]
    assert runs([]) == []

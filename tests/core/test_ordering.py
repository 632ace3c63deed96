"""The streaming check against a plain one over whole lists, however files are cut into batches."""

from __future__ import annotations

from itertools import groupby, pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.ordering import Extent, Grouping, OrderCheck, Place

values = st.one_of(st.none(), st.integers(0, 3))
rows = st.lists(st.tuples(values, values, st.integers(0, 50)), max_size=12)


def checked(files, columns=("a", "b"), *, batch_rows=3):
    check = OrderCheck(tuple(columns))
    for number, file in enumerate(files):
        check.begin(f"f{number}")
        table = pa.table({
            "a": pa.array([row[0] for row in file], pa.int64()),
            "b": pa.array([row[1] for row in file], pa.int64()),
            "text": pa.array(["x" * row[2] for row in file], pa.string()),
        })  # fmt: skip
        at = 0
        for batch in table.to_batches(max_chunksize=batch_rows):
            check.add(at, batch)
            at += batch.num_rows
    return check.found()


def rank(value, nulls_last):
    return (value is None) == nulls_last, value or 0


def descents(file, nulls_last, width=2):
    keys = [tuple(rank(value, nulls_last) for value in row[:width]) for row in file]
    return [at for at, (low, high) in enumerate(pairwise(keys), start=1) if high < low]


def size(row):
    return 8 + 8 + 4 + row[2]


@given(rows, st.integers(1, 5))
def test_violations_are_rows_below_the_one_before_with_nulls_at_the_end_that_fits_better(file, batch_rows):
    found = checked([file], batch_rows=batch_rows)
    by_end = {"first": descents(file, False), "last": descents(file, True)}
    best = min(by_end.values(), key=len)
    assert found.violations == len(best)
    assert found.is_sorted == (not best)
    if found.first is not None:
        assert found.first.row == by_end[found.nulls or "first"][0]
    assert (found.nulls is None) == all(value is not None for row in file for value in row[:2])


@given(st.lists(rows, min_size=1, max_size=4), st.integers(1, 5))
def test_groups_and_changes_are_those_of_the_whole_however_it_is_cut(files, batch_rows):
    found = checked(files, batch_rows=batch_rows)
    whole = [row for file in files for row in file]
    runs = [list(run) for _, run in groupby(whole, key=lambda row: row[0])]
    assert (found.rows, found.decoded_bytes) == (len(whole), sum(map(size, whole)))
    assert found.changes == max(len(runs) - 1, 0)
    assert (found.largest_group.bytes if found.largest_group else 0) == max(
        (sum(map(size, run)) for run in runs), default=0
    )
    of_files = [[list(run) for _, run in groupby(file, key=lambda row: row[0])] for file in files]
    assert found.merge_bytes == sum(max((sum(map(size, run)) for run in runs), default=0) for runs in of_files)
    assert [extent.bytes for extent in found.widest] == sorted(map(size, whole), reverse=True)[:5]


@given(st.lists(rows, min_size=1, max_size=4))
def test_what_follows_the_end_of_another_file_counts_apart(files):
    filled = [[(a or 0, b or 0, n) for a, b, n in file] for file in files if file]
    found = checked(filled)
    assert found.violations == sum(len(descents(file, False)) for file in filled)
    assert found.between_files == sum(b[0][:2] < a[-1][:2] for a, b in pairwise(filled))


@pytest.mark.parametrize(
    ("files", "grouping"),
    [
        ([[(1, 2, 0), (1, 1, 0), (2, 0, 0)]], Grouping.STREAM),
        ([[(1, 0, 0), (2, 0, 0)], [(2, 0, 0), (3, 0, 0)]], Grouping.STREAM),
        ([[(1, 0, 0), (2, 0, 0)], [(1, 0, 0), (3, 0, 0)]], Grouping.MERGE),
        ([[(2, 0, 0), (1, 0, 0)]], Grouping.SORT),
        ([], Grouping.STREAM),
    ],
)
def test_how_rows_are_grouped_follows_from_the_first_column_alone(files, grouping):
    assert checked(files).grouping is grouping


def test_the_memory_to_group_holds_the_largest_group_twice_and_a_batch_per_open_file():
    streamed = checked([[(1, 0, 100), (1, 0, 100), (2, 0, 0)]])
    assert streamed.largest_group == Extent(Place("f0", 0), 2, 240)
    assert streamed.group_bytes(1000) == 2 * 240 + 1000
    assert streamed.group_bytes(10) == 2 * 240 + 120, "no batch is smaller than the widest row"
    merged = checked([[(1, 0, 100), (2, 0, 0)], [(1, 0, 0)]])
    assert merged.group_bytes(1000) == 2 * (120 + 20) + 2 * 1000
    unsorted = checked([[(2, 0, 0), (1, 0, 0)]])
    assert unsorted.group_bytes(1000) == 2 * 40 + 1000


def test_dictionaries_are_compared_by_their_values_and_text_by_its_bytes():
    check = OrderCheck(("t",))
    check.begin("f")
    check.add(0, pa.record_batch({"t": pa.array(["b", "a", "é"]).dictionary_encode()}))
    assert (check.found().violations, check.found().first) == (1, Place("f", 1))


def test_nan_is_above_every_number():
    check = OrderCheck(("x",))
    check.begin("f")
    check.add(0, pa.record_batch({"x": pa.array([1.0, float("inf"), float("nan"), float("nan")])}))
    assert check.found().is_sorted

"""Grouping rows that come in order: the right groups however batches fall, and the place of every row out of order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.groups import GroupBy, OrderedGroups, OutOfOrder, shares_of
from import_platform.core.ordering import Place
from import_platform.errors import MemoryBudgetExceeded

BY_NAME = GroupBy(("name",), ("at",), ("at", "value"))
MEGABYTE = 1 << 20

ROWS = st.lists(st.tuples(st.text("abé", max_size=2), st.integers(0, 3), st.integers()), max_size=40).map(
    lambda rows: sorted([(n, a, v % 1000) for n, a, v in rows], key=lambda row: (row[0].encode(), row[1]))
)
SCHEMA = pa.schema([("name", pa.string()), ("at", pa.int64()), ("value", pa.int64())])


def batch(rows, *, coded: bool = False) -> pa.RecordBatch:
    names = pa.array([r[0] for r in rows], pa.string())
    arrays = [
        names.dictionary_encode() if coded else names,
        *(pa.array([r[i] for r in rows], pa.int64()) for i in (1, 2)),
    ]
    return pa.RecordBatch.from_arrays(arrays, names=["name", "at", "value"])


def grouped(grouping: GroupBy, batches, **options) -> Iterator[pa.RecordBatch]:
    groups = OrderedGroups(grouping, limit_bytes=options.pop("limit_bytes", MEGABYTE), **options)
    at = 0
    for each in batches:
        yield from groups.add(Place("f", at), each)
        at += each.num_rows
    yield from groups.end()


def rows_of(found) -> list[dict]:
    return [row for each in found for row in each.to_pylist()]


def right(rows) -> list[dict]:
    kept = [(name, list(some)) for name, some in groupby(rows, key=lambda row: row[0])]
    return [{"name": n, "at": [r[1] for r in some], "value": [r[2] for r in some]} for n, some in kept]


@given(ROWS, st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_every_row_lands_in_its_group_however_batches_fall(rows, cuts, coded):
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    batches = [batch(rows[low:high], coded=coded) for low, high in pairwise(bounds)]
    assert rows_of(grouped(BY_NAME, batches)) == right(rows)


@given(ROWS, st.integers(0, 40))
def test_rows_of_the_group_before_are_left_out(rows, cut):
    cut = min(cut, len(rows))
    if not cut:
        return
    before = batch(rows[cut - 1 : cut])
    found = rows_of(grouped(BY_NAME, [batch(rows[cut:])], after=before))
    assert found == [group for group in right(rows[cut:]) if group["name"] != rows[cut - 1][0]]


@given(ROWS, st.integers(0, 39), st.lists(st.integers(0, 40), max_size=3), st.booleans())
def test_a_row_out_of_order_is_an_error_with_its_place(rows, at, cuts, coded):
    """Two neighbours that are not alike are exchanged: the second of them is the first one out of order."""
    pairs = [i for i in range(len(rows) - 1) if rows[i][:2] != rows[i + 1][:2]]
    if not pairs:
        return
    at = pairs[at % len(pairs)]
    rows = [*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    with pytest.raises(OutOfOrder) as raised:
        list(grouped(BY_NAME, [batch(rows[low:high], coded=coded) for low, high in pairwise(bounds)]))
    assert raised.value.facts["row"] == at + 1
    assert raised.value.facts["file"] == "f"


def test_a_missing_value_has_no_place_in_the_order():
    rows = pa.RecordBatch.from_pydict({"name": ["a", "b", None], "at": [1, 2, 3], "value": [1, 2, 3]}, schema=SCHEMA)
    with pytest.raises(OutOfOrder, match="no value to be ordered by") as raised:
        list(grouped(BY_NAME, [rows]))
    assert raised.value.facts["row"] == 2
    assert raised.value.facts["column"] == "name"


def test_not_a_number_has_no_place_in_the_order():
    rows = pa.RecordBatch.from_pydict({"name": ["a", "a"], "at": [1.0, float("nan")], "value": [1, 2]})
    with pytest.raises(OutOfOrder):
        list(grouped(BY_NAME, [rows]))


def test_a_dictionary_that_holds_a_value_twice_splits_no_group():
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array(["a", "a", "b"]))
    rows = pa.RecordBatch.from_arrays([twice, pa.array([1, 2, 1]), pa.array([1, 2, 3])], names=["name", "at", "value"])
    assert [row["name"] for row in rows_of(grouped(BY_NAME, [rows]))] == ["a", "b"]
    down = pa.RecordBatch.from_arrays([twice, pa.array([2, 1, 1]), pa.array([1, 2, 3])], names=["name", "at", "value"])
    with pytest.raises(OutOfOrder):
        list(grouped(BY_NAME, [down]))


def test_keys_of_several_columns_and_no_order_within():
    rows = pa.RecordBatch.from_pydict({"a": [1, 1, 1, 2], "b": ["x", "x", "y", "a"], "v": [4, 3, 2, 1]})
    found = rows_of(grouped(GroupBy(("a", "b"), (), ("v",)), [rows.slice(0, 1), rows.slice(1)]))
    assert found == [{"a": 1, "b": "x", "v": [4, 3]}, {"a": 1, "b": "y", "v": [2]}, {"a": 2, "b": "a", "v": [1]}]
    with pytest.raises(OutOfOrder):
        list(grouped(GroupBy(("a", "b"), (), ("v",)), [rows.take(pa.array([2, 0, 3]))]))


def test_a_group_over_the_limit_is_an_error_with_its_place():
    rows = [("a", 0, 0), *(("b", i, i) for i in range(1000))]
    batches = [batch(rows[i : i + 100]) for i in range(0, 1001, 100)]
    with pytest.raises(MemoryBudgetExceeded) as raised:
        list(grouped(BY_NAME, batches, limit_bytes=8000))
    assert raised.value.facts["row"] == 1
    assert rows_of(grouped(BY_NAME, batches, limit_bytes=16_000)) == right(rows)


def test_a_few_open_rows_keep_no_large_batch_alive():
    rows = [("a", i, i) for i in range(100_000)] + [("b", 0, 0)]
    groups = OrderedGroups(BY_NAME, limit_bytes=1 << 30)
    before = pa.total_allocated_bytes()
    for given_out in groups.add(Place("f", 0), batch(rows)):
        del given_out
    assert pa.total_allocated_bytes() - before < 10_000
    assert rows_of(groups.end()) == [{"name": "b", "at": [0], "value": [0]}]


@given(st.lists(st.text(max_size=4), unique=True, max_size=50))
def test_shares_hold_every_key_once_and_always_the_same(names):
    groups = pa.RecordBatch.from_arrays([pa.array(names, pa.string()), pa.array([[1]] * len(names), pa.list_(pa.int64()))],
                                        names=["name", "v"])  # fmt: skip
    found = shares_of(groups, ["name"], {"train": 0.8, "test": 0.2})
    assert sorted(n for some in found.values() for n in some["name"].to_pylist()) == sorted(names)
    order = np.random.default_rng(1).permutation(len(names))
    again = shares_of(groups.take(pa.array(order)), ["name"], {"train": 0.8, "test": 0.2})
    for share in ("train", "test"):
        assert {*(found[share]["name"].to_pylist() if share in found else [])} == {
            *(again[share]["name"].to_pylist() if share in again else [])
        }


def test_shares_are_about_as_large_as_asked_and_may_leave_some_out():
    names = [f"host-{i}" for i in range(20_000)]
    groups = pa.RecordBatch.from_arrays([pa.array(names)], names=["name"])
    found = shares_of(groups, ["name"], {"train": 0.6, "test": 0.1})
    assert found["train"].num_rows / 20_000 == pytest.approx(0.6, abs=0.02)
    assert found["test"].num_rows / 20_000 == pytest.approx(0.1, abs=0.02)

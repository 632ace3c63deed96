from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.merge import (
    FOLD_DECODED_BYTES,
    FOLD_FILE_BYTES,
    FOLD_FILES,
    ROW,
    MergePlan,
    ascends,
    candidate_files,
    disjoint,
    keys_in_bounds,
    last_versions,
    plan_rewrites,
    put_back,
)
from import_platform.core.splice import Replaced

SMALL = st.one_of(st.none(), st.integers(0, 3))


def keyed(rows, columns=("a", "c")):
    schema = dict.fromkeys(columns, pl.Int64)
    return pl.DataFrame(rows, schema, orient="row").with_row_index(ROW)


@given(st.lists(st.tuples(SMALL, SMALL, SMALL)))
def test_of_each_key_the_greatest_cursor_then_the_last_arrival_remains(rows):
    kept = last_versions(keyed(rows, ("a", "b", "c")), ["a", "b"], "c")
    want = {}
    for row, (a, b, c) in enumerate(rows):
        rank = (-1 if c is None else c, row)
        want[a, b] = max(want.get((a, b), rank), rank)
    assert sorted(kept[ROW]) == sorted(row for _, row in want.values())


@given(st.lists(st.tuples(SMALL, SMALL)))
def test_without_a_cursor_the_last_arrival_remains(rows):
    kept = last_versions(keyed(rows), ["a"], None)
    assert sorted(kept[ROW]) == sorted({a: row for row, (a, _) in enumerate(rows)}.values())


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=6))
def test_keys_ascend_only_when_they_are_unique_and_sorted(values):
    frame = pl.DataFrame({"a": pl.Series(values, dtype=pl.Int64)})
    assert ascends(frame, ["a"]) == (None not in values and all(x < y for x, y in pairwise(values)))


def test_composite_keys_are_not_taken_for_sorted():
    assert not ascends(pl.DataFrame({"a": [1, 2], "b": [1, 2]}), ["a", "b"])
    assert ascends(pl.DataFrame({"a": [1], "b": [1]}), ["a", "b"])


def files(*bounds, dtype=pl.Int64, name="k"):
    return pl.DataFrame({
        "path": [f"f{i}" for i in range(len(bounds))],
        "leaf": [f"l{i % 2}" for i in range(len(bounds))],
        f"min.{name}": pl.Series([low for low, _ in bounds], dtype=dtype, strict=False),
        f"max.{name}": pl.Series([high for _, high in bounds], dtype=dtype, strict=False),
    })  # fmt: skip


BOUNDS = st.one_of(st.none(), st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted).map(tuple))


@given(st.lists(BOUNDS, max_size=8), st.lists(st.one_of(st.none(), st.integers(-2, 22)), min_size=1, max_size=8))
def test_no_file_that_can_hold_a_key_is_passed_over_and_none_that_cannot_is_opened(bounds, keys):
    frame = files(*(b or (None, None) for b in bounds))
    series = pl.Series("k", keys, pl.Int64).sort(nulls_last=False)
    found = candidate_files(frame, series, leaves=None)["path"].to_list()
    unknown = None in keys  # a NULL key is in no bounds
    want = [f"f{i}" for i, b in enumerate(bounds) if b is None or unknown or any(b[0] <= k <= b[1] for k in keys)]
    assert found == want


SPAN = st.tuples(st.integers(0, 30), st.integers(0, 4)).map(lambda span: (span[0], span[0] + span[1]))


@given(st.lists(SPAN, max_size=6), st.lists(SPAN, max_size=6))
def test_a_file_is_opened_exactly_where_a_span_of_keys_meets_its_bounds(bounds, spans):
    apart = disjoint(spans)
    starts, ends = (pl.Series("k", [span[side] for span in apart], pl.Int64) for side in (0, 1))
    found = candidate_files(files(*bounds), starts, leaves=None, upto=ends)["path"].to_list()
    assert found == [f"f{i}" for i, (a, b) in enumerate(bounds) if any(a <= high and low <= b for low, high in spans)]


@given(st.lists(SPAN))
def test_spans_that_meet_become_one(spans):
    apart = disjoint(spans)
    assert {n for low, high in apart for n in range(low, high + 1)} == {
        n for low, high in spans for n in range(low, high + 1)
    }
    assert all(one[1] < next_[0] for one, next_ in pairwise(apart))


@pytest.mark.parametrize(
    ("dtype", "low", "key", "high"),
    [
        (pl.String, "a", "b", "c"),
        (pl.String, "Z", "a", "ä"),
        (pl.Date, date(1960, 1, 1), date(1965, 1, 1), date(1970, 1, 1)),
        (pl.Datetime("us", "UTC"), datetime(1960, 1, 1, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC),
         datetime(2000, 1, 1, tzinfo=UTC)),
        (pl.Int32, -5, 0, 5),
    ],
)  # fmt: skip
def test_bounds_of_any_type_are_compared(dtype, low, key, high):
    frame = files((low, high), (high, high), dtype=dtype)
    assert candidate_files(frame, pl.Series("k", [key], dtype), leaves=None)["path"].to_list() == ["f0"]


def test_a_column_without_bounds_opens_every_file():
    frame = files((1, 2), name="other")
    assert candidate_files(frame, pl.Series("k", [9]), leaves=None).height == 1
    decimals = pl.Series("other", [Decimal("1.50")], pl.Decimal(10, 2))
    assert candidate_files(files((1, 2), name="other"), decimals, leaves=None).height == 1


def test_only_the_named_leaves_are_searched():
    frame = files((1, 9), (1, 9), (1, 9))
    assert candidate_files(frame, pl.Series("k", [5]), leaves=["l0"])["path"].to_list() == ["f0", "f2"]
    assert candidate_files(frame, pl.Series("k", [5]), leaves=[]).is_empty()


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(0, 9), st.integers(0, 9))
def test_keys_are_cut_to_a_files_bounds(keys, low, high):
    frame = pl.DataFrame({"k": pl.Series(sorted(keys), dtype=pl.Int64)})
    assert keys_in_bounds(frame, "k", low, max(low, high))["k"].to_list() == [
        k for k in sorted(keys) if low <= k <= max(low, high)
    ]


def test_keys_are_not_cut_where_a_null_may_hide_or_bounds_are_missing():
    frame = pl.DataFrame({"k": [None, 1, 5]})
    assert keys_in_bounds(frame, "k", 4, 9).height == 3
    assert keys_in_bounds(pl.DataFrame({"k": [1, 5]}), "k", None, 9).height == 2


def stored(*sizes, leaf="l"):
    return pl.DataFrame({
        "path": [f"f{i}" for i in range(len(sizes))], "leaf": [leaf] * len(sizes), "size_bytes": list(sizes),
        "rows": [10] * len(sizes),
    })  # fmt: skip


def at(*positions):
    return np.array(positions, dtype=np.int64)


def test_every_hit_file_is_rewritten_once_and_every_leaf_gets_its_rows_once():
    big = 5 * FOLD_FILE_BYTES
    plan = plan_rewrites(stored(big, big, big), {"f0": at(1), "f2": at(2, 3)}, [], ["l", "new"])
    assert sorted(path for rewrite in plan for path in rewrite.inputs) == ["f0", "f2"]
    assert sorted(rewrite.leaf for rewrite in plan if rewrite.incoming) == ["l", "new"]


def test_small_files_of_a_leaf_that_gets_rows_are_folded_in_once_there_are_enough():
    few = plan_rewrites(stored(*[10] * (FOLD_FILES - 1)), {}, [], ["l"])
    assert [dict(rewrite.inputs) for rewrite in few] == [{}]
    [fold] = plan_rewrites(stored(*[10] * FOLD_FILES), {"f1": at(7)}, [], ["l"])
    assert fold.incoming
    assert {path: list(positions) for path, positions in fold.inputs.items()} == {
        "f0": [],
        "f1": [7],
        "f2": [],
        "f3": [],
    }


def test_files_whose_rows_decode_to_much_are_not_folded_in():
    files = stored(*[10] * FOLD_FILES)
    [alone] = plan_rewrites(files, {}, [], ["l"], row_bytes=FOLD_DECODED_BYTES / 10)
    assert dict(alone.inputs) == {}
    [some] = plan_rewrites(files, {}, [], ["l"], row_bytes=FOLD_DECODED_BYTES / 25)
    assert list(some.inputs) == ["f0", "f1"]


def test_dropped_files_are_no_input_and_go_away():
    plan = plan_rewrites(stored(*[10] * 6), {}, ["f0", "f1", "f2"], ["l"])
    assert [dict(rewrite.inputs) for rewrite in plan] == [{}]
    whole = MergePlan(plan, ("f0", "f1", "f2"), 6, 0, 0, 0)
    assert whole.removes == ["f0", "f1", "f2"]


@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.integers(1, 2 * FOLD_FILE_BYTES), st.sampled_from(["keep", "hit", "drop"])), max_size=20),
    st.sets(st.sampled_from("xyz")),
)  # fmt: skip
def test_no_file_is_an_input_twice_and_no_hit_is_forgotten(case, incoming):
    frame = pl.DataFrame({
        "path": [f"f{i}" for i in range(len(case))], "leaf": [leaf for leaf, _, _ in case],
        "size_bytes": [size for _, size, _ in case], "rows": [10] * len(case),
    }, schema={"path": pl.String, "leaf": pl.String, "size_bytes": pl.Int64, "rows": pl.Int64})  # fmt: skip
    hits = {f"f{i}": at(i) for i, (_, _, fate) in enumerate(case) if fate == "hit"}
    dropped = [f"f{i}" for i, (_, _, fate) in enumerate(case) if fate == "drop"]
    plan = plan_rewrites(frame, hits, dropped, sorted(incoming))
    removes = MergePlan(plan, tuple(dropped), 0, 0, 0, 0).removes
    assert len(removes) == len(set(removes))
    assert set(hits) <= set(removes)
    leaf_of = dict(zip(frame["path"], frame["leaf"], strict=True))
    for rewrite in plan:
        for path, positions in rewrite.inputs.items():
            assert leaf_of[path] == rewrite.leaf
            assert list(positions) == list(hits.get(path, []))
    assert sorted(rewrite.leaf for rewrite in plan if rewrite.incoming) == sorted(incoming)


@given(data=st.data())
def test_a_row_goes_back_to_its_place_when_its_leaf_is_still_the_same(data):
    leaves = ["a", "b"]
    placed_in = data.draw(st.lists(st.sampled_from([*leaves, None]), min_size=1, max_size=12), label="leaf of each row")
    kept = sorted((leaf, row) for row, leaf in enumerate(placed_in) if leaf is not None)
    where = np.full(len(placed_in), -1, np.int64)
    where[[row for _, row in kept]] = range(len(kept))
    starts = {leaf: next(i for i, (name, _) in enumerate(kept) if name == leaf) for leaf in {name for name, _ in kept}}
    spans = {leaf: (start, sum(name == leaf for name, _ in kept)) for leaf, start in starts.items()}
    hits = {
        path: data.draw(st.lists(st.integers(0, len(placed_in) - 1), max_size=6), label=path) for path in ("f0", "f1")
    }
    leaf_of = {"f0": "a", "f1": "b"}
    found = {path: Replaced(np.arange(len(rows)), np.array(rows, np.int64)) for path, rows in hits.items()}

    back, left = put_back(found, leaf_of, spans, where)

    seen: set[int] = set()
    for path in sorted(hits):
        want = []
        for position, row in enumerate(hits[path]):
            if placed_in[row] == leaf_of[path] and row not in seen:
                seen.add(row)
                want.append((position, row))
        got = back.get(path)
        assert want == ([] if got is None else list(zip(got.positions.tolist(), got.rows.tolist(), strict=True)))
    assert [row for (_, row), free in zip(kept, left, strict=True) if free] == [r for _, r in kept if r not in seen]

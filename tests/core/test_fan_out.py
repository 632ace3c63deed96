"""Who gets which leaves of a shared flush, how much memory each needs, and what survives a commit in between."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.budget import GIB, MIB, MINIMUM_BYTES, MemoryBudget
from import_platform.core.fan_out import (
    FanOutPlan,
    Part,
    PartDone,
    Share,
    divided,
    intact,
    leaf_bytes,
    need_bytes,
    part_from_json,
    plan_from_json,
    within,
)
from import_platform.core.run_size import step_bytes, step_label

FILES = pl.DataFrame({"leaf": ["a", "a", "b", "c"], "size_bytes": [100, 300, 1600, 3200]})


@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(0, 1000), min_size=1), st.integers(1, 9))
def test_every_leaf_is_in_one_part_and_no_part_is_empty(work, steps):
    parts = divided(work, steps)
    assert sorted(leaf for part in parts for leaf in part) == sorted(work)
    assert all(parts)
    assert len(parts) <= steps


def test_the_heaviest_leaves_go_to_different_parts():
    assert divided({"a": 9, "b": 8, "c": 1, "d": 1}, 2) == [("a", "d"), ("b", "c")]


def test_a_leaf_counts_for_its_rows_and_the_files_they_can_touch():
    assert leaf_bytes(FILES, {"a": 1, "d": 5}, row_bytes=10, swaps=False) == {"a": 310, "d": 50, "b": 100, "c": 200}
    assert leaf_bytes(FILES, {"a": 9}, row_bytes=10, swaps=True) == {"a": 90, "b": 0, "c": 0}
    assert leaf_bytes(None, {"a": 9}, row_bytes=10, swaps=False) == {"a": 90}


def test_a_step_needs_room_for_its_rows_twice_and_two_workers():
    few = need_bytes(1, all_rows=1, row_bytes=10, remembered_bytes=24, worker_bytes=38 * MIB)
    assert few == (200 + 4 * 76) * MIB
    many = need_bytes(1_000_000, all_rows=2_000_000, row_bytes=100, remembered_bytes=24, worker_bytes=38 * MIB)
    assert many == 200 * MIB + 4 * 200_000_000
    assert need_bytes(0, all_rows=0, row_bytes=0, remembered_bytes=0, worker_bytes=0) == MINIMUM_BYTES


@pytest.mark.parametrize(("total", "expected"), [(GIB, 150 * MIB + 304 * MIB), (320 * MIB, 320 * MIB)])
def test_a_step_plans_with_what_it_was_promised_or_with_the_budget_where_that_is_less(total, expected):
    assert within(MemoryBudget(total, 150 * MIB), 504 * MIB) == MemoryBudget(expected, 150 * MIB)


def test_a_step_says_its_need_in_its_key():
    label = step_label(3, 504 * MIB - 1)
    assert label == "3_504M"
    assert step_bytes(f"shop__orders__part[{label}]") == 504 * MIB
    assert step_bytes("shop__orders_12M") is None


def test_documents_come_back_as_they_went():
    part = Part(1, ("a", "b"), 7, 9)
    plan = FanOutPlan(
        *("p", 4, "00", "{}", "u", None, True),
        swaps=False,
        chunks=("x",),
        counts={"a": 7},
        parts=(part,),
        limit_bytes=5,
    )
    assert plan_from_json(plan.to_json()) == plan
    done = PartDone(1, ({"path": "a/b.parquet", "rows": 1},), ("a/c.parquet",), 7, {"updated_rows": 1})
    assert part_from_json(done.to_json()) == done


def test_parts_stand_when_nobody_touched_their_leaves_and_their_rows_go_where_they_went():
    parts = (Part(1, ("a", "b"), 5, 0), Part(2, ("c",), 3, 0))
    counts = {"a": 5, "c": 3}
    assert intact(parts, set(), counts, counts) == {1, 2}
    assert intact(parts, {"b"}, counts, counts) == {2}
    assert intact(parts, {"z"}, counts, {"a": 5, "c": 2, "c1": 1}) == {1}


def test_a_share_is_its_leaves_or_all_others():
    leaves = pl.Series(["a", "b", "c"])
    assert Share(frozenset({"a"})).of(leaves).to_list() == [True, False, False]
    assert Share(frozenset({"a"}), others=True).of(leaves).to_list() == [False, True, True]

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from import_platform.core.check_state import CheckState, Counted, check_state_from_json, file_groups
from import_platform.core.drift import drift

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def files(*bounds, leaf="all"):
    rows = [
        {"path": f"f{i}", "leaf": leaf if isinstance(leaf, str) else leaf[i], "rows": 10, "min.k": low, "max.k": high}
        for i, (low, high) in enumerate(bounds)
    ]
    return pl.DataFrame(rows)


def groups(frame, *, by_leaf=False):
    return [sorted(group.paths) for group in file_groups(frame, "k", by_leaf=by_leaf)]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([(1, 5), (6, 9)], [["f0"], ["f1"]]),
        ([(1, 5), (5, 9)], [["f0", "f1"]]),
        ([(6, 9), (1, 5)], [["f1"], ["f0"]]),
        ([(1, 100), (2, 3), (50, 60), (101, 102)], [["f0", "f1", "f2"], ["f3"]]),
        ([("a", "f"), ("b", "c"), ("g", "z")], [["f0", "f1"], ["f2"]]),
        ([(1, 5), (None, None), (6, 9)], [["f0", "f1", "f2"]]),
    ],
)
def test_files_are_cut_where_no_key_can_be_on_both_sides(bounds, expected):
    assert groups(files(*bounds)) == expected


def test_leaves_of_a_hash_share_no_key():
    assert groups(files((1, 9), (1, 9), leaf=["h0", "h1"]), by_leaf=True) == [["f0"], ["f1"]]
    assert groups(files((1, 9), (1, 9), leaf=["h0", "h1"])) == [["f0", "f1"]]


def test_files_without_bounds_are_one_group_and_no_files_none():
    frame = files((1, 5), (6, 9)).drop("min.k", "max.k")
    assert groups(frame) == [["f0", "f1"]]
    assert groups(frame.clear()) == groups(frame.clear(), by_leaf=True) == []


def test_a_group_is_known_again_by_its_files_in_any_order():
    [one] = file_groups(files((1, 5), (2, 9)), "k", by_leaf=False)
    [other] = file_groups(files((1, 5), (2, 9)).reverse(), "k", by_leaf=False)
    [more] = file_groups(files((1, 5), (2, 9), (3, 4)), "k", by_leaf=False)
    assert one.fingerprint == other.fingerprint != more.fingerprint


def test_what_is_remembered_survives_being_stored():
    counted = Counted(NOW, 0.5, None, 7)
    state = CheckState(3, frozenset({"a", "b"}), {"x": NOW}, {"id": "int64"}, counted, NOW, 4)
    assert check_state_from_json(state.to_json()) == state
    assert check_state_from_json(CheckState().to_json()) == CheckState()


def test_counting_takes_a_hundredth_of_the_time():
    quick, slow = Counted(NOW, 0.1, 1, 1), Counted(NOW, 60, 1, 1)
    assert not quick.is_due(NOW + timedelta(minutes=9))
    assert quick.is_due(NOW + timedelta(minutes=10))
    assert not slow.is_due(NOW + timedelta(minutes=99))
    assert slow.is_due(NOW + timedelta(minutes=100))


def test_columns_drift_by_name_and_type():
    assert not drift({}, {"a": "int64"}), "nothing is known before the first sync"
    assert not drift({"a": "int64"}, {"a": "int64"})
    found = drift({"a": "int32", "b": "string"}, {"a": "int64", "c": "date32"})
    assert str(found) == "new: c date32; gone: b; changed: a int32 to int64"

"""Which partitions turn green after a sync, and which keys they get."""

from __future__ import annotations

import dagster as dg
import pytest

from import_platform.assets.metadata import leaves_by_base
from import_platform.assets.partitions import LOGGED_MAX, add_keys, bases_to_log
from import_platform.pipeline.inspect import LeafStatus


def _leaf(bytes_, rows=1):
    return LeafStatus(rows=rows, bytes=bytes_, files=1)


def test_new_partitions_come_first_and_then_those_that_changed_most():
    before = {"a": _leaf(10), "b": _leaf(10), "c": _leaf(10)}
    after = {"a": _leaf(11), "b": _leaf(90), "c": _leaf(10), "d": _leaf(1)}
    assert bases_to_log(before, after, {"a", "b", "c"}) == ["d", "b", "a"]


def test_an_unchanged_green_partition_gives_no_event():
    assert bases_to_log({"a": _leaf(10)}, {"a": _leaf(10)}, {"a"}) == []


def test_rows_decide_where_bytes_are_the_same():
    before = {"a": _leaf(10, 5), "b": _leaf(10, 5)}
    assert bases_to_log(before, {"a": _leaf(10, 6), "b": _leaf(10, 9)}, {"a", "b"}) == ["b", "a"]


def test_a_partition_of_an_earlier_sync_that_was_never_green_is_caught_up():
    same = {"a": _leaf(10), "b": _leaf(10)}
    assert bases_to_log(same, same, {"a"}) == ["b"]


def test_a_first_load_of_many_partitions_is_shown_fifty_at_a_time():
    after = {f"2025-{n:04}": _leaf(10) for n in range(120)}
    first = bases_to_log({}, after, set())
    second = bases_to_log(after, after, set(first))
    assert (len(first), len(second), set(first) & set(second)) == (LOGGED_MAX, LOGGED_MAX, set())


def test_hash_leaves_are_added_up_under_their_base():
    leaves = {"2025-01.h0": _leaf(10, 2), "2025-01.h1": _leaf(5, 1), "2025-02": _leaf(1)}
    assert leaves_by_base(leaves) == {"2025-01": LeafStatus(rows=3, bytes=15, files=2), "2025-02": _leaf(1)}


@pytest.mark.parametrize(("keys", "new"), [(["b", "a"], ["a", "b"]), (["a"], ["a"]), ([], [])])
def test_keys_are_added_once(keys, new):
    with dg.DagsterInstance.ephemeral() as instance:
        assert add_keys(instance, "shop", "orders", keys) == new
        assert add_keys(instance, "shop", "orders", keys) == []
        assert instance.get_dynamic_partitions("shop/orders") == new

"""The tree of leaf names: what is a name, what covers what, what a split makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from import_platform.core.layout import (
    ancestors,
    base_of,
    bits_of,
    check_prefix_free,
    children,
    coarsen,
    covers,
    overlaps,
    parent,
    sort_key,
    split_children,
    validate,
)
from import_platform.core.table import Granularity, HashPartition, NumberPartition, PartitionSpec, TimePartition
from import_platform.errors import ConfigError, InvariantBroken

seeded = settings(deadline=None, derandomize=True)
TIME = TimePartition("created_at", Granularity.MONTH)
NUMBER = NumberPartition("id", 1_000)
HASH = HashPartition(2)

_bits = st.text("01", max_size=6)
_times = st.datetimes().filter(lambda t: t.year >= 1000)
_time_bases = st.builds(lambda t, length: t.isoformat()[:length], _times, st.sampled_from([4, 7, 10, 13]))
_number_bases = st.builds(
    lambda exponent, value: f"n{10**exponent}_{value // 10**exponent}",
    st.integers(0, 18),
    st.integers(-(10**18), 10**18),
)
_cases = st.one_of(
    st.tuples(st.just(TIME), _time_bases, _bits),
    st.tuples(st.just(NUMBER), _number_bases, _bits),
    st.tuples(st.just(HASH), st.just("all"), _bits),
    st.tuples(st.sampled_from([TIME, NUMBER]), st.just("null"), _bits),
).map(lambda case: (case[0], f"{case[1]}.h{case[2]}" if case[2] else case[1]))


@pytest.mark.parametrize(
    ("partition", "leaf"),
    [
        (TIME, "2025"),
        (TIME, "2025-01"),
        (TIME, "2024-02-29"),
        (TIME, "2025-01-13T05"),
        (TIME, "null"),
        (TIME, "null.h0"),
        (TIME, "2025.h01"),
        (TIME, "9999-12-31T23"),
        (TIME, "1000"),
        (NUMBER, "n1_0"),
        (NUMBER, "n1000_-3"),
        (NUMBER, "n1000000000000000000_8"),
        (NUMBER, "n10_5.h1"),
        (NUMBER, "null"),
        (HASH, "all"),
        (HASH, "all.h" + "0" * 32),
    ],
)
def test_a_name_of_the_partition_is_valid(partition: PartitionSpec, leaf: str) -> None:
    validate(leaf, partition)


@pytest.mark.parametrize(
    ("partition", "leaf", "allowed"),
    [
        (TIME, "all", "2025-01-13T05"),
        (TIME, "n1_0", "2025-01-13T05"),
        (TIME, "", "null"),
        (TIME, "2025-13", "null"),
        (TIME, "2025-02-29", "null"),
        (TIME, "2025-01-13T24", "null"),
        (TIME, "0999", "null"),
        (TIME, "2025-1", "null"),
        (TIME, "2025.h", "null"),
        (TIME, "2025.h2", "null"),
        (TIME, "2025.h01x", "null"),
        (TIME, "2025\n", "null"),
        (TIME, "../2025", "null"),
        (TIME, "٢٠٢٥", "null"),
        (TIME, "2025.h0.h1", "null"),
        (NUMBER, "n2_0", "power of ten"),
        (NUMBER, "n10_-0", "power of ten"),
        (NUMBER, "n10_05", "power of ten"),
        (NUMBER, "n1000000000000000000_9", "power of ten"),
        (NUMBER, "n10000000000000000000_0", "power of ten"),
        (NUMBER, "n1_" + "9" * 5000, "power of ten"),
        (NUMBER, "2025", "power of ten"),
        (NUMBER, "all", "power of ten"),
        (HASH, "null", "all.h"),
        (HASH, "all.h" + "0" * 33, "all.h"),
        (HASH, "2025", "all.h"),
    ],
)
def test_another_name_is_refused_with_what_is_allowed(partition: PartitionSpec, leaf: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match="not a partition of this table") as refused:
        validate(leaf, partition)
    assert allowed in refused.value.remedy


@pytest.mark.parametrize(
    ("partition", "leaf", "above"),
    [
        (TIME, "2025-01-13T05.h01", ["2025-01-13T05.h0", "2025-01-13T05", "2025-01-13", "2025-01", "2025"]),
        (TIME, "null.h1", ["null"]),
        (TIME, "2025", []),
        (NUMBER, "n100000000000000000_-1", ["n1000000000000000000_-1"]),
        (NUMBER, "n1000000000000000000_3.h1", ["n1000000000000000000_3"]),
        (HASH, "all.h10", ["all.h1", "all"]),
    ],
)
def test_the_nodes_above_a_leaf_nearest_first(partition: PartitionSpec, leaf: str, above: list[str]) -> None:
    assert ancestors(leaf, partition) == above


def test_a_negative_number_leaf_lies_in_the_wider_leaf_below_zero() -> None:
    assert parent("n1_-1", NUMBER) == "n10_-1"
    assert parent("n10_-11", NUMBER) == "n100_-2"


@pytest.mark.parametrize(
    ("ancestor", "leaf", "expected"),
    [
        ("2025", "2025", True),
        ("2025", "2025-01.h0", True),
        ("2025-01.h0", "2025-01.h01", True),
        ("2025-01.h0", "2025-01.h1", False),
        ("2025-01.h0", "2025-01-13", False),
        ("2025-01", "2025", False),
        ("2025-01.h0", "2025-01", False),
        ("2025-1", "2025-11", False),
        ("null", "null.h0", True),
        ("null", "2025", False),
    ],
)
def test_covers(ancestor: str, leaf: str, expected: bool) -> None:
    assert covers(ancestor, leaf, TIME) is expected


@pytest.mark.parametrize(
    ("base", "leaf", "expected"),
    [
        ("2025-01", "2025-01-13.h0", True),
        ("2025-01-13", "2025-01.h0", True),
        ("2025-01", "2025-02", False),
        ("2025-01", "null", False),
        ("null", "null.h1", True),
    ],
)
def test_a_base_overlaps_finer_and_coarser_leaves(base: str, leaf: str, expected: bool) -> None:
    assert overlaps(base, leaf, TIME) is expected


@pytest.mark.parametrize(
    ("partition", "leaf", "level", "first", "count"),
    [
        (TIME, "2025", "month", "2025-01", 12),
        (TIME, "2024-02", "day", "2024-02-01", 29),
        (TIME, "2025-02", "day", "2025-02-01", 28),
        (TIME, "2025-01-13", "hour", "2025-01-13T00", 24),
        (TIME, "2025-01-13T05", "1 hash bits", "2025-01-13T05.h0", 2),
        (TIME, "2025.h1", "2 hash bits", "2025.h10", 2),
        (TIME, "null", "1 hash bits", "null.h0", 2),
        (NUMBER, "n10_-1", "width 1", "n1_-10", 10),
        (NUMBER, "n1_5", "1 hash bits", "n1_5.h0", 2),
        (HASH, "all.h0", "2 hash bits", "all.h00", 2),
    ],
)
def test_a_split_goes_one_level_down(partition: PartitionSpec, leaf: str, level: str, first: str, count: int) -> None:
    assert str(split_children(leaf, partition)) == level
    names = children(leaf, partition)
    assert (names[0], len(names)) == (first, count)


def test_a_day_of_a_date_column_splits_into_hash_bits() -> None:
    assert children("2025-01-13", TIME, finest=Granularity.DAY) == ["2025-01-13.h0", "2025-01-13.h1"]


def test_the_last_hash_bit_has_no_children() -> None:
    assert split_children("all.h" + "1" * 32, HASH) is None
    assert children("all.h" + "1" * 32, HASH) == []


@seeded
@given(_cases)
def test_children_have_the_leaf_as_parent_and_are_prefix_free(case: tuple[PartitionSpec, str]) -> None:
    partition, leaf = case
    validate(leaf, partition)
    names = children(leaf, partition)
    assert [coarsen(name, partition) for name in names] == [leaf] * len(names)
    assert len(set(names)) == len(names) >= 2
    for name in names:
        validate(name, partition)
        assert covers(leaf, name, partition)
        assert not covers(name, leaf, partition)
    check_prefix_free(names, partition)
    with pytest.raises(InvariantBroken):
        check_prefix_free([leaf, names[-1]], partition)


@seeded
@given(_cases)
def test_a_name_is_its_base_and_its_bits(case: tuple[PartitionSpec, str]) -> None:
    _, leaf = case
    assert leaf == (f"{base_of(leaf)}.h{bits_of(leaf)}" if bits_of(leaf) else base_of(leaf))


@pytest.mark.parametrize(
    "leaves",
    [
        ["2025", "2025-01-13"],
        ["2025-01", "2025-01.h0"],
        ["2025-01.h0", "2025-01-13"],
        ["2025.h0", "2025-01-13T05.h1"],
        ["null", "null.h01"],
    ],
)
def test_overlapping_leaves_are_our_own_mistake(leaves: list[str]) -> None:
    for order in (leaves, leaves[::-1]):
        with pytest.raises(InvariantBroken, match="overlap"):
            check_prefix_free(order, TIME)


def test_disjoint_leaves_pass() -> None:
    check_prefix_free([], TIME)
    check_prefix_free(["2024", "2025-01.h0", "2025-01.h10", "2025-02-03", "2025-02-04T05.h1", "null.h0"], TIME)
    check_prefix_free(["n10_-1", "n1_0", "n1_9.h0", "n100_1"], NUMBER)


def test_leaves_sort_by_their_rows() -> None:
    numbers = ["n1000_-3", "n1000_0.h0", "n1000_0.h1", "n100_15", "n1000_2", "n1000_10", "null"]
    assert sorted(sorted(numbers), key=sort_key) == numbers
    assert sorted(["null", "2025-02", "2025-01-13", "2024"], key=sort_key) == ["2024", "2025-01-13", "2025-02", "null"]

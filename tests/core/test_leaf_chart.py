from dataclasses import dataclass

import pytest

from import_platform.core.leaf_chart import Bar, bars, blocks, described
from import_platform.core.table import UNPARTITIONED, Granularity, HashPartition, NumberPartition, TimePartition

DAILY = TimePartition("created", Granularity.DAY)


@dataclass(frozen=True)
class Sized:
    bytes: int
    rows: int = 1
    files: int = 1


def test_few_leaves_have_a_bar_each_in_the_order_of_their_rows():
    leaves = {"null": Sized(1), "2025-02": Sized(3), "2025-01.h1": Sized(2), "2025-01.h0": Sized(5)}
    assert [(bar.name, bar.bytes) for bar in bars(leaves, DAILY, bars_max=4)] == [
        ("2025-01.h0", 5), ("2025-01.h1", 2), ("2025-02", 3), ("null", 1),
    ]  # fmt: skip


def test_many_leaves_share_the_bar_of_their_parent_and_nothing_is_left_out():
    leaves = {f"2025-{month:02}-{day:02}": Sized(day, rows=2) for month in range(1, 13) for day in range(1, 29)}
    found = bars(leaves, DAILY, bars_max=40)
    assert [bar.name for bar in found] == [f"2025-{month:02}" for month in range(1, 13)]
    assert found[0] == Bar("2025-01", leaves=28, rows=56, bytes=28 * 29 // 2, files=28, largest_bytes=28)


def test_only_the_finest_level_gives_way():
    leaves = {f"2025-01-01T{hour:02}": Sized(1) for hour in range(24)} | {"2025-01-02": Sized(1), "2025-02": Sized(1)}
    assert [bar.name for bar in bars(leaves, DAILY, bars_max=10)] == ["2025-01-01", "2025-01-02", "2025-02"]


def test_hash_leaves_are_joined_bit_by_bit():
    leaves = {f"all.h{number:08b}": Sized(1) for number in range(256)}
    found = bars(leaves, UNPARTITIONED, bars_max=40)
    assert len(found) == 32
    assert {bar.leaves for bar in found} == {8}


def test_more_roots_than_bars_end_in_one_bar_for_the_smallest():
    leaves = {f"{year}": Sized(year - 1900) for year in range(1950, 2026)}
    found = bars(leaves, DAILY, bars_max=10)
    assert [bar.name for bar in found] == [*map(str, range(2017, 2026)), "others"]
    assert sum(bar.leaves for bar in found) == 76
    assert found[-1].largest_bytes == 116


@pytest.mark.parametrize(
    ("value", "full", "drawn"),
    [(0, 10, ""), (10, 10, "████"), (99, 10, "████"), (5, 10, "██"), (1, 10**9, "▏"), (34, 64, "██▏"), (3, 0, "████")],
)
def test_a_bar_is_exact_to_an_eighth_and_never_hides_something(value, full, drawn):
    assert blocks(value, full, width=4) == drawn


def test_partitions_are_described_in_words():
    assert described(DAILY) == "day of created"
    assert described(NumberPartition("id", 10**6)) == "1,000,000 values of id each"
    assert [described(HashPartition(bits)) for bits in (0, 4)] == ["one for all rows", "16 by hash of the key"]

import random
from datetime import UTC, datetime, timedelta

import pytest

from import_platform.core.layout import ALL, base_of, children, covers
from import_platform.core.repartition import (
    COARSEN_LEAVES,
    FAILURES_MAX,
    LEAVES_MAX,
    QUIET,
    Leaf,
    RepartitionRecord,
    at_or_below_base,
    coarsenable,
    oversized,
    pause_reason,
    record_from_json,
    retired_keys,
)
from import_platform.core.table import UNPARTITIONED, Granularity, HashPartition, NumberPartition, TimePartition

MONTHLY = TimePartition("created", Granularity.MONTH)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LONG_AGO = int((NOW - 2 * QUIET).timestamp() * 1000)
DAYS = [f"2025-01-{day:02}" for day in range(1, 11)]


def leaf(size: int, modified_ms: int = LONG_AGO) -> Leaf:
    return Leaf(size, size, 1, modified_ms)


def merged_back(leaves: dict[str, Leaf], partition=MONTHLY, limit_bytes=1000) -> list[str]:
    return coarsenable(leaves, partition, limit_bytes=limit_bytes, now=NOW)


def test_leaves_over_the_limit_are_split_largest_first():
    leaves = {"2025-01": leaf(1001), "2025-02": leaf(1000), "2025-03": leaf(5000)}
    assert oversized(leaves, RepartitionRecord(), limit_bytes=1000) == ["2025-03", "2025-01"]


def test_an_unsplittable_leaf_is_left_alone_until_it_has_doubled():
    record = RepartitionRecord().with_unsplittable("2025-01", 1200)
    assert oversized({"2025-01": leaf(2399)}, record, limit_bytes=1000) == []
    assert oversized({"2025-01": leaf(2400)}, record, limit_bytes=1000) == ["2025-01"]


def test_a_record_survives_its_json():
    record = RepartitionRecord().with_unsplittable("all.h0", 7).beginning(9, now=NOW)
    assert record_from_json(record.to_json()) == record
    assert record_from_json(RepartitionRecord().to_json()) == RepartitionRecord()


def test_failures_pause_longer_each_time_and_end_for_good():
    record, pauses = RepartitionRecord(), []
    for _ in range(FAILURES_MAX - 1):
        record = record.beginning(1500, now=NOW)
        minutes = next(m for m in range(10_000) if not pause_reason(record, 1500, now=NOW + timedelta(minutes=m)))
        pauses.append(minutes)
    assert pauses == [10, 40, 160, 640]
    record = record.beginning(1500, now=NOW)
    assert "5 attempts failed" in (pause_reason(record, 2999, now=NOW + timedelta(days=999)) or "")
    assert pause_reason(record, 3000, now=NOW) is None, "it doubled, so it is another problem now"
    assert pause_reason(record.ended_well(), 1500, now=NOW) is None


def test_many_small_quiet_leaves_below_a_node_are_merged_back_into_it():
    assert merged_back({day: leaf(25) for day in DAYS}) == ["2025-01"]


@pytest.mark.parametrize(
    "leaves",
    [
        {day: leaf(26) for day in DAYS},
        {day: leaf(1) for day in DAYS[: COARSEN_LEAVES - 1]},
        {day: leaf(1) for day in DAYS} | {DAYS[0]: leaf(1, int(NOW.timestamp() * 1000))},
        {f"2025-{month:02}": leaf(1) for month in range(1, 13)},
    ],
    ids=["over a quarter of the limit", "few", "written to lately", "at the declared granularity"],
)
def test_leaves_are_not_merged_back_when_they_are(leaves):
    assert merged_back(leaves) == []


def test_hash_leaves_are_merged_back_to_the_declared_number_and_no_further():
    leaves = {f"all.h{n:05b}": leaf(1) for n in range(32)}
    assert merged_back(leaves, UNPARTITIONED) == [ALL]
    assert merged_back(leaves, HashPartition(1)) == ["all.h0", "all.h1"]
    assert merged_back(leaves, HashPartition(5)) == []


def test_a_crowded_table_is_merged_above_the_declared_granularity():
    daily = TimePartition("created", Granularity.DAY)
    leaves = {day: leaf(1) for year in range(2015, 2022) for month in range(1, 13)
              for day in children(f"{year}-{month:02}", daily)}  # fmt: skip
    assert len(leaves) > LEAVES_MAX
    assert merged_back(leaves, daily, limit_bytes=4 * 366)[0] == "2015"
    few = dict(list(leaves.items())[:LEAVES_MAX])
    assert merged_back(few, daily, limit_bytes=10**9) == []


@pytest.mark.parametrize(
    ("node", "partition", "expected"),
    [
        ("2025", MONTHLY, False), ("2025-01", MONTHLY, True), ("2025-01.h1", MONTHLY, True), ("null", MONTHLY, True),
        ("n100_3", NumberPartition("id", 10), False), ("n10_3", NumberPartition("id", 10), True),
        ("all", HashPartition(1), False), ("all.h0", HashPartition(1), True),
    ],
)  # fmt: skip
def test_a_node_is_at_or_below_the_declared_level(node, partition, expected):
    assert at_or_below_base(node, partition) is expected


def test_keys_that_a_split_or_a_merge_left_behind_are_retired_and_keys_of_the_source_stay():
    keys = ["2024-12", "2025-01", "2025-02", "2025-03-05", "n10_1"]
    gone = retired_keys(keys, ["2025-01-01", "2025-01-02", "2025-02", "2025-03"], MONTHLY)
    assert gone == ["2025-01", "2025-03-05", "n10_1"], "the last is of another partition that the table once had"


@pytest.mark.parametrize("seed", range(5))
def test_200_random_syncs_never_make_a_leaf_flap(seed):
    """Grows, shrinks and rests at random; between two rewrites of the same rows their bytes changed at least fourfold."""
    dice, limit = random.Random(seed), 1000
    leaves, at = {"2025-01": leaf(500)}, NOW
    rewrites: list[tuple[str, str, int]] = []
    for _ in range(200):
        at += timedelta(hours=dice.choice([1, 6, 24, 24 * 20]))
        factor = dice.choice([0.3, 0.8, 0.95, 1.0, 1.05, 1.2, 2.5])
        touched = set(dice.sample(sorted(leaves), k=dice.randint(0, len(leaves))))
        now_ms = int(at.timestamp() * 1000)
        factor = min(factor, 20_000 / sum(old.size_bytes for old in leaves.values()))
        leaves = {name: leaf(max(1, int(old.size_bytes * factor)), now_ms) if name in touched else old
                  for name, old in leaves.items()}  # fmt: skip
        for name in oversized(leaves, RepartitionRecord(), limit_bytes=limit):
            size = leaves.pop(name).size_bytes
            below = children(name, MONTHLY)
            leaves |= {child: leaf(max(1, size // len(below)), now_ms) for child in below}
            rewrites.append(("split", name, size))
        for node in coarsenable(leaves, MONTHLY, limit_bytes=limit, now=at):
            below = [name for name in leaves if covers(node, name, MONTHLY)]
            size = sum(leaves.pop(name).size_bytes for name in below)
            leaves[node] = leaf(size, now_ms)
            rewrites.append(("coarsen", node, size))
    for index, (kind, node, size) in enumerate(rewrites):
        later = next(((k, s) for k, n, s in rewrites[index + 1 :] if n == node), None)
        if later is not None:
            assert later[0] != kind
            assert max(size, later[1]) >= 4 * min(size, later[1])
    assert 1 <= len(rewrites) < 100
    assert all(base_of(name).startswith("2025-01") for name in leaves)

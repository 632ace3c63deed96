import pyarrow as pa
import pytest

from import_platform.core.layout import bits_of
from import_platform.core.split import ONE_KEY_BITS, SplitPlan, begin_split, counted, opened, placing_columns
from import_platform.core.table import UNPARTITIONED, Granularity, HashPartition, NumberPartition, TimePartition

MONTHLY = TimePartition("created", Granularity.MONTH)
INSTANT = pa.timestamp("us", "UTC")


def count(plan: SplitPlan, rows: dict[str, int], partition=MONTHLY, dtype=INSTANT, limit_bytes=100) -> SplitPlan:
    _, interior = opened(plan, partition, dtype)
    return counted(plan, rows, interior, partition, dtype, limit_bytes=limit_bytes)


def test_a_split_opens_one_level_and_then_only_what_is_still_over_half_the_limit():
    plan = begin_split("2025-01", rows=160, size_bytes=160)
    targets, interior = opened(plan, MONTHLY, INSTANT)
    assert (targets[0], targets[-1], interior) == ("2025-01-01", "2025-01-31", ("2025-01",))
    days = count(plan, {"2025-01-01": 80, "2025-01-02": 30, "2025-01-03": 50, "2025-01-04": 0})
    assert days.open == ("2025-01-01",), "50 of 100 is not over half"
    assert days.targets == ["2025-01-01", "2025-01-02", "2025-01-03"], "empty children are no leaves"
    targets, interior = opened(days, MONTHLY, INSTANT)
    assert targets[:3] == ["2025-01-02", "2025-01-03", "2025-01-01T00"]
    assert interior == ("2025-01", "2025-01-01")


def test_an_hour_that_is_too_large_gets_hash_bits():
    plan = count(
        begin_split("2025-01-13T05", rows=200, size_bytes=200), {"2025-01-13T05.h0": 90, "2025-01-13T05.h1": 110}
    )
    assert plan.open == ("2025-01-13T05.h0", "2025-01-13T05.h1")
    assert opened(plan, MONTHLY, INSTANT)[0][0] == "2025-01-13T05.h00"


def test_a_day_of_a_date_column_gets_hash_bits():
    targets, _ = opened(begin_split("2025-01-13", rows=2, size_bytes=2), MONTHLY, pa.date32())
    assert targets == ["2025-01-13.h0", "2025-01-13.h1"]


def counted_as(plan: SplitPlan, rows_of, partition=UNPARTITIONED, limit_bytes=100) -> SplitPlan:
    """Counts level by level; `rows_of` gives the rows of a target."""
    while plan.open:
        targets, interior = opened(plan, partition, INSTANT)
        rows = {target: rows_of(target) for target in targets}
        plan = counted(plan, rows, interior, partition, INSTANT, limit_bytes=limit_bytes)
    return plan


def test_a_leaf_of_one_key_is_unsplittable_after_enough_bits():
    tried = []
    plan = counted_as(begin_split("all", rows=10, size_bytes=1000),
                      lambda target: tried.append(target) or 10 * (set(bits_of(target)) == {"0"}))  # fmt: skip
    assert plan.unsplittable
    assert plan.targets == ["all"]
    assert max(len(bits_of(target)) for target in tried) == ONE_KEY_BITS


def test_one_key_among_others_stays_in_the_node_where_its_bits_began():
    def rows_of(target: str) -> int:
        return 100 if target == "all.h1" else 900 * (set(bits_of(target)) == {"0"})

    plan = counted_as(begin_split("all", rows=1000, size_bytes=1000), rows_of, limit_bytes=200)
    assert plan.rows == {"all.h1": 100, "all.h0": 900}
    assert plan.interior == ("all",)
    assert not plan.unsplittable


def test_single_rows_are_not_taken_apart():
    plan = counted_as(begin_split("all", rows=2, size_bytes=1000), lambda target: 1)
    assert plan.targets == ["all.h0", "all.h1"]


def test_rows_that_part_late_are_splittable():
    plan = begin_split("all", rows=2, size_bytes=1000)
    for rows in ({"all.h0": 2, "all.h1": 0}, {"all.h00": 1, "all.h01": 1}):
        plan = count(plan, rows, UNPARTITIONED, None)
        assert not plan.unsplittable
    assert plan.targets == ["all.h00", "all.h01"]


@pytest.mark.parametrize(
    ("partition", "key", "columns"),
    [
        (MONTHLY, ("id",), ["created", "id"]),
        (MONTHLY, ("id", "created"), ["created", "id"]),
        (NumberPartition("id", 10), ("id",), ["id"]),
        (HashPartition(2), ("a", "b"), ["a", "b"]),
        (HashPartition(2), (), None),
        (MONTHLY, (), None),
    ],
)
def test_placing_reads_the_partition_column_and_the_key_only(partition, key, columns):
    assert placing_columns(partition, key) == columns

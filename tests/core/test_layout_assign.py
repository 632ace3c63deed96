"""Rows to leaves: the vectorised placement against a plain walk down the tree, row by row."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from import_platform.core.hashing import key_hashes
from import_platform.core.layout import (
    ancestors,
    assign,
    base_of,
    bits_of,
    check_prefix_free,
    children,
    column_range,
    covers,
    in_range,
    parent,
    validate,
)
from import_platform.core.table import (
    UNPARTITIONED,
    Granularity,
    HashPartition,
    NumberPartition,
    PartitionSpec,
    TimePartition,
)
from import_platform.errors import ConfigError

seeded = settings(deadline=None, derandomize=True)
MONTHLY = TimePartition("t", Granularity.MONTH)
THOUSANDS = NumberPartition("n", 1_000)


def rows(*times: str | None) -> pl.DataFrame:
    instants = [None if text is None else datetime.fromisoformat(text) for text in times]
    schema = {"id": pl.Int64(), "t": pl.Datetime("us", "UTC")}
    return pl.DataFrame({"id": range(len(times)), "t": instants}, schema=schema)


def numbers(*values: int | None) -> pl.DataFrame:
    return pl.DataFrame({"id": range(len(values)), "n": values}, schema={"id": pl.Int64, "n": pl.Int64})


def leaves_of(frame: pl.DataFrame, partition: PartitionSpec, leaves: Iterable[str] = (), **options: Any) -> list[str]:
    return assign(frame, partition, primary_key=["id"], leaves=list(leaves), **options).to_list()


@pytest.mark.parametrize(
    ("granularity", "leaf"),
    [
        (Granularity.YEAR, "2025"),
        (Granularity.MONTH, "2025-01"),
        (Granularity.DAY, "2025-01-13"),
        (Granularity.HOUR, "2025-01-13T05"),
    ],
)
def test_a_row_of_an_empty_table_goes_to_the_base_granularity(granularity: Granularity, leaf: str) -> None:
    assert leaves_of(rows("2025-01-13T05:59:59+00:00", None), TimePartition("t", granularity)) == [leaf, "null"]


@pytest.mark.parametrize(
    ("leaves", "expected"),
    [
        (["2025"], "2025"),  # coarsened above the base
        (["2025-01"], "2025-01"),
        (["2025-01-13"], "2025-01-13"),
        (["2025-01-12"], "2025-01-13"),  # the month was split: the day is the shallowest free node
        (["2025-01-13T05"], "2025-01-13T05"),
        (["2025-01-13T04"], "2025-01-13T05"),
        (["2025-01-12T04"], "2025-01-13"),
        (["2025-02-01T00", "2024"], "2025-01"),
        (["2025-01.h0", "2025-01.h1"], "2025-01.h1"),
        (["2025-01.h0"], "2025-01.h1"),
        (["2025-01.h1010"], "2025-01.h1010"),
        (["2025-01.h1011"], "2025-01.h1010"),
        (["2025-01-13T05.h0"], "2025-01-13T05.h1"),
        (["2025.h0"], "2025.h1"),
    ],
)
def test_a_row_goes_to_the_deepest_leaf_covering_it_else_the_shallowest_free_node(
    leaves: list[str], expected: str
) -> None:
    frame = rows("2025-01-13T05:00:00+00:00").with_columns(id=pl.lit(17, pl.Int64))
    assert f"{key_hashes(frame, ['id'])[0]:064b}".startswith("1010")
    assert leaves_of(frame, MONTHLY, leaves) == [expected]


@pytest.mark.parametrize(
    ("leaves", "expected"),
    [
        ([], ["n1000_0", "n1000_-1", "n1000_2", "null"]),
        (["n10000_0"], ["n10000_0", "n1000_-1", "n10000_0", "null"]),
        (["n1_2500", "null.h1"], ["n1000_0", "n1000_-1", "n1_2500", "null.h0"]),
        (["n1_2509"], ["n1000_0", "n1000_-1", "n1_2500", "null"]),
        (["n10_-1"], ["n1000_0", "n10_-1", "n1000_2", "null"]),
    ],
)
def test_numbers_go_down_by_powers_of_ten(leaves: list[str], expected: list[str]) -> None:
    frame = numbers(0, -1, 2500, None)
    assert f"{key_hashes(frame, ['id'])[3]:064b}"[0] == "0"
    assert leaves_of(frame, THOUSANDS, leaves) == expected


def test_an_unpartitioned_table_is_one_leaf() -> None:
    assert leaves_of(numbers(1, 2), UNPARTITIONED) == ["all", "all"]


@pytest.mark.parametrize(
    ("bits", "leaves", "expected"),
    [
        (2, [], {"all.h00", "all.h01", "all.h10", "all.h11"}),
        (2, ["all"], {"all"}),
        (2, ["all.h0"], {"all.h0", "all.h10", "all.h11"}),
        (0, ["all.h0"], {"all.h0", "all.h1"}),
        (0, ["all.h01"], {"all.h00", "all.h01", "all.h1"}),
        (1, ["all.h00000"], {"all.h00000", "all.h00001", "all.h0001", "all.h001", "all.h01", "all.h1"}),
    ],
)
def test_hash_leaves_by_the_leading_bits_of_the_key_hash(bits: int, leaves: list[str], expected: set[str]) -> None:
    frame = numbers(*range(3000))
    found = leaves_of(frame, HashPartition(bits), leaves)
    assert set(found) == expected
    hashes = [f"{value:064b}" for value in key_hashes(frame, ["id"])]
    assert all(bits.startswith(bits_of(leaf)) for leaf, bits in zip(found, hashes, strict=True))


def test_thirty_two_bits_deep_still_finds_the_leaf() -> None:
    frame = numbers(1)
    leaf = f"all.h{key_hashes(frame, ['id'])[0]:064b}"[: 5 + 32]
    assert leaves_of(frame, UNPARTITIONED, [leaf]) == [leaf]
    sibling = leaf[:-1] + ("1" if leaf[-1] == "0" else "0")
    assert leaves_of(frame, UNPARTITIONED, [sibling]) == [leaf]


def test_a_node_under_split_opens_one_level_and_is_a_leaf_no_more() -> None:
    frame = rows("2025-01-13T05:00:00+00:00", "2025-01-14T00:00:00+00:00", "2025-02-01T00:00:00+00:00")
    assert leaves_of(frame, MONTHLY, ["2025-01"], interior=["2025-01"]) == ["2025-01-13", "2025-01-14", "2025-02"]
    opened = leaves_of(frame, MONTHLY, [], interior=["2025-01", "2025-01-13"])
    assert opened == ["2025-01-13T05", "2025-01-14", "2025-02"]
    assert [base_of(leaf) for leaf in leaves_of(frame, MONTHLY, interior=["2025-01-13T05"])] == [
        "2025-01-13T05",
        "2025-01-14",
        "2025-02",
    ]
    assert leaves_of(numbers(7), NumberPartition("n", 1), interior=["n1_7"])[0].startswith("n1_7.h")
    assert leaves_of(numbers(None), THOUSANDS, interior=["null"])[0].startswith("null.h")
    halves = ["all.h0", "all.h1"]
    assert {leaf[:-1] for leaf in leaves_of(numbers(1, 2, 3), UNPARTITIONED, halves, interior=halves)} <= set(halves)


def test_a_node_above_the_base_level_under_split_opens_one_level_too() -> None:
    frame = rows("2025-01-13T05:00:00+00:00", "2026-01-13T05:00:00+00:00")
    hourly = TimePartition("t", Granularity.HOUR)
    assert leaves_of(frame, hourly, ["2025"], interior=["2025"]) == ["2025-01", "2026-01-13T05"]
    assert leaves_of(frame, hourly, [], interior=["2025", "2025-01"]) == ["2025-01-13", "2026-01-13T05"]
    assert leaves_of(numbers(2500), NumberPartition("n", 1), interior=["n10000_0"]) == ["n1000_2"]
    assert set(leaves_of(numbers(*range(100)), HashPartition(3), ["all"], interior=["all"])) == {"all.h0", "all.h1"}


def test_a_day_of_dates_under_split_opens_into_hash_bits() -> None:
    frame = pl.DataFrame({"id": [1, 2], "t": [date(2025, 1, 13)] * 2})
    assert {base_of(leaf) for leaf in leaves_of(frame, MONTHLY, interior=["2025-01", "2025-01-13"])} == {"2025-01-13"}
    assert all(bits_of(leaf) for leaf in leaves_of(frame, MONTHLY, interior=["2025-01", "2025-01-13"]))
    assert leaves_of(frame, MONTHLY, ["2025-01-13T01"]) == ["2025-01-13T00"] * 2


def test_an_empty_frame_has_no_leaves() -> None:
    for partition in (MONTHLY, UNPARTITIONED):
        empty = assign(rows(), partition, primary_key=["id"], leaves=["2025"] if partition is MONTHLY else [])
        assert empty.dtype == pl.String
        assert (empty.len(), empty.name) == (0, "_partition")


def test_a_keyless_row_is_placed_by_its_content_whatever_leaf_it_was_in() -> None:
    frame = pl.DataFrame({"a": [1, 1, 2], "b": ["x", "x", None]})
    first = assign(frame, HashPartition(16), primary_key=[], leaves=[])
    assert first[0] == first[1] != first[2]
    moved = frame.with_columns(_partition=pl.Series(["u", "v", "w"]))
    assert assign(moved, HashPartition(16), primary_key=[], leaves=[]).to_list() == first.to_list()


def test_a_leaf_of_another_partition_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a partition of this table"):
        leaves_of(numbers(1), THOUSANDS, ["2025-01"])
    with pytest.raises(ConfigError, match="cannot partition the table like this"):
        leaves_of(numbers(1), TimePartition("n", Granularity.DAY))


# --- against a plain walk -------------------------------------------------------------------------------------------


def _nodes(value: Any, partition: PartitionSpec, bits: str) -> list[str]:
    """The names a row may be in, coarse to fine, from the base level down when no leaf is coarser."""
    if isinstance(partition, HashPartition):
        bases = ["all"]
    elif value is None:
        bases = ["null"]
    elif isinstance(partition, NumberPartition):
        bases = [f"n{10**e}_{value // 10**e}" for e in range(18, -1, -1)]
    else:
        text = value.astimezone(UTC).isoformat()
        bases = [text[:length] for length in (4, 7, 10, 13)]
    return [*bases, *(f"{base}.h{bits[:count]}" for base in bases for count in range(1, 33))]


def _at_or_below_base(node: str, partition: PartitionSpec) -> bool:
    if isinstance(partition, HashPartition):
        return len(bits_of(node)) >= partition.bits
    if base_of(node) == "null" or bits_of(node):
        return True
    if isinstance(partition, NumberPartition):
        return int(node[1:].partition("_")[0]) <= partition.width
    return len(base_of(node)) >= {"year": 4, "month": 7, "day": 10, "hour": 13}[partition.granularity]


def plain_walk(value: Any, partition: PartitionSpec, leaves: list[str], bits: str) -> str:
    nodes = _nodes(value, partition, bits)
    hashed = {base_of(leaf) for leaf in leaves if bits_of(leaf)} & set(nodes)
    if hashed or isinstance(partition, HashPartition):  # below a base with hash leaves only bits
        nodes = [node for node in nodes if base_of(node) in (hashed or {"all"})]
    above = {node for leaf in leaves for node in ancestors(leaf, partition)}
    covering = [node for node in nodes if node in leaves]
    free = [node for node in nodes if node not in above and _at_or_below_base(node, partition)]
    return (covering or free)[0]


_PARTITIONS: list[PartitionSpec] = [
    *(TimePartition("v", granularity) for granularity in Granularity),
    *(NumberPartition("v", 10**exponent) for exponent in (0, 2, 5, 18)),
    *(HashPartition(bits) for bits in (0, 1, 3)),
]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[PartitionSpec, list[str], pl.DataFrame]:
    """A partition, prefix-free leaves made by random splits, and rows near the splits and far from them."""
    partition: PartitionSpec = draw(st.sampled_from(_PARTITIONS))
    dtype: pl.DataType
    value: st.SearchStrategy[Any]
    if isinstance(partition, TimePartition):
        roots, dtype = ["2024", "2025", "1969-12", "null"], pl.Datetime("us", "UTC")
        value = st.datetimes(datetime(1969, 11, 1), datetime(2026, 2, 1), timezones=st.just(UTC))
    else:
        roots = ["all"] if isinstance(partition, HashPartition) else ["n1000_0", "n1000_-1", "n100000_1", "null"]
        dtype, value = pl.Int64(), st.one_of(st.integers(-2000, 200_000), st.integers(-(8 * 10**18), 8 * 10**18))
    leaves: list[str] = draw(st.lists(st.sampled_from(roots), unique=True))
    for _ in range(draw(st.integers(0, 8)) if leaves else 0):
        leaf = draw(st.sampled_from(sorted(leaves)))
        by_bits = bits_of(leaf) or draw(st.integers(0, 3)) == 0
        made = [f"{leaf}{'' if bits_of(leaf) else '.h'}{bit}" for bit in "01"] if by_bits else children(leaf, partition)
        kept = draw(st.lists(st.sampled_from(made), min_size=1, max_size=4, unique=True))
        leaves = [name for name in leaves if name != leaf] + kept
    values = draw(st.lists(st.one_of(st.none(), value), max_size=30))
    return partition, leaves, pl.DataFrame({"id": range(len(values)), "v": values}, schema={"id": pl.Int64, "v": dtype})


@seeded
@given(layouts())
def test_every_row_is_placed_as_the_plain_walk_places_it(case: tuple[PartitionSpec, list[str], pl.DataFrame]) -> None:
    partition, leaves, frame = case
    check_prefix_free(leaves, partition)
    found = leaves_of(frame, partition, leaves)
    hashes = [f"{value:064b}" for value in key_hashes(frame, ["id"])]
    assert found == [plain_walk(value, partition, leaves, bits) for value, bits in zip(frame["v"], hashes, strict=True)]


@seeded
@given(layouts())
def test_every_row_has_exactly_one_leaf_and_the_names_stay_prefix_free(
    case: tuple[PartitionSpec, list[str], pl.DataFrame],
) -> None:
    partition, leaves, frame = case
    found = leaves_of(frame, partition, leaves)
    together = sorted({*leaves, *found})
    for leaf in together:
        validate(leaf, partition)
    check_prefix_free(together, partition)
    assert leaves_of(frame, partition, together) == found  # the leaves a batch creates attract the same rows again
    if not isinstance(partition, HashPartition):
        dtype = frame.to_arrow().schema.field("v").type
        for leaf in set(found):
            inside = in_range(frame, column_range(leaf, partition, dtype), dtype)
            assert all(kept or name != leaf for kept, name in zip(inside, found, strict=True))


@seeded
@given(layouts(), st.data())
def test_split_then_coarsen_is_the_identity(
    case: tuple[PartitionSpec, list[str], pl.DataFrame], data: st.DataObject
) -> None:
    partition, leaves, frame = case
    before = leaves_of(frame, partition, leaves)
    if not before:
        return
    leaf = data.draw(st.sampled_from(sorted(set(before))))
    layout = {*leaves, *before}
    split = leaves_of(frame, partition, layout, interior=[leaf])
    for old, new in zip(before, split, strict=True):
        assert new == old if old != leaf else parent(new, partition) == leaf
    check_prefix_free({*layout - {leaf}, *split}, partition)
    coarsened = {leaf, *(name for name in {*layout, *split} if not covers(leaf, name, partition))}
    assert leaves_of(frame, partition, coarsened) == before


# --- speed ----------------------------------------------------------------------------------------------------------


def _mixed_leaves() -> list[str]:
    """Two thousand leaves: days, hours of twenty days, hash leaves of 260 days."""
    days = [str(date(2020, 1, 1) + timedelta(days=n)) for n in range(1280)]
    hours = [f"{day}T{hour:02}" for day in days[1000:1020] for hour in range(24)]
    return [*days[:1000], *hours, *(f"{day}.h{bit}" for day in days[1020:] for bit in "01")]


_NUMBERS = [f"n100000_{n}" for n in range(2000)]
_HASHES = [f"all.h{n:011b}" for n in range(2048)]
_MICROS = (1_577_836_800_000_000, 1_735_689_600_000_000)  # 2020 to 2024


@pytest.mark.parametrize(
    ("partition", "leaves", "key", "target_rows_per_second"),
    [
        pytest.param(TimePartition("t", Granularity.MONTH), [], "id", 10_000_000, id="datetime"),
        pytest.param(
            TimePartition("t", Granularity.MONTH), _mixed_leaves(), "id", 10_000_000, id="datetime, 2000 leaves"
        ),
        pytest.param(NumberPartition("id", 10**6), [], "id", 10_000_000, id="number"),
        pytest.param(NumberPartition("id", 10**6), _NUMBERS, "id", 10_000_000, id="number, 2000 leaves"),
        pytest.param(HashPartition(4), [], "id", 3_000_000, id="hash of a number"),
        pytest.param(HashPartition(4), _HASHES, "uuid", 3_000_000, id="hash of a uuid, 2048 leaves"),
    ],
)
def test_a_third_of_the_promised_speed(
    partition: PartitionSpec, leaves: list[str], key: str, target_rows_per_second: int
) -> None:
    count = 1_000_000
    random = np.random.default_rng(7)
    frame = pl.DataFrame({"id": random.integers(0, 10**9, count), "t": random.integers(*_MICROS, count)}).with_columns(
        pl.col("t").cast(pl.Datetime("us")),
        uuid=pl.format("{}-4d5c-8f7e-9a0b1c2d3e4f", (pl.col("id") + 10**11)),
    )
    best = 0.0
    for _ in range(4):
        start = time.process_time()
        assign(frame, partition, primary_key=[key], leaves=leaves)
        best = max(best, count / (time.process_time() - start))
    assert best > target_rows_per_second / 3


def test_the_leaves_of_a_batch_are_the_same_in_another_type_of_the_same_value() -> None:
    values = [5, -17, 10**12]
    wide = [pa.int64(), pa.decimal128(30, 0), pa.decimal128(30, 4), pa.float64(), pa.string()]
    frames = [pl.DataFrame({"id": pl.from_arrow(pa.array(values, pa.int64()).cast(dtype))}) for dtype in wide]
    found = [assign(frame, HashPartition(16), primary_key=["id"], leaves=[]).to_list() for frame in frames]
    assert found == [found[0]] * len(wide)

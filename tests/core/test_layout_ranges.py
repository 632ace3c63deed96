"""What a leaf means to a database, and that filtering here means the same."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from import_platform.core import cursor
from import_platform.core.layout import (
    EVERYTHING,
    ColumnRange,
    assign,
    base_of,
    can_push_down,
    column_range,
    in_range,
    range_expr,
)
from import_platform.core.table import Granularity, HashPartition, NumberPartition, TimePartition
from import_platform.errors import ConfigError

seeded = settings(deadline=None, derandomize=True)
TIME = TimePartition("v", Granularity.DAY)
NUMBER = NumberPartition("v", 1_000)
US = pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("leaf", "lower", "upper"),
    [
        ("2025", "2025-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"),
        ("2025-12.h01", "2025-12-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"),
        ("2024-02-29", "2024-02-29T00:00:00.000000Z", "2024-03-01T00:00:00.000000Z"),
        ("2025-01-13T23", "2025-01-13T23:00:00.000000Z", "2025-01-14T00:00:00.000000Z"),
        ("9999", "9999-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23", "9999-12-31T23:00:00.000000Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_the_range_of_a_timestamp_leaf(leaf: str, lower: str, upper: str) -> None:
    assert column_range(leaf, TIME, US) == ColumnRange("v", lower, upper)


@pytest.mark.parametrize(
    ("leaf", "lower", "upper"),
    [
        ("2025-02", "2025-02-01", "2025-03-01"),
        ("2025-01-13T00", "2025-01-13", "2025-01-14"),
        ("2025-01-13T05", "2025-01-14", "2025-01-14"),
        ("9999-12-31T05", "9999-12-31", "9999-12-31"),
    ],
)
def test_a_date_stands_for_its_midnight(leaf: str, lower: str, upper: str) -> None:
    assert column_range(leaf, TIME, pa.date32()) == ColumnRange("v", lower, upper)


@pytest.mark.parametrize(
    ("leaf", "dtype", "expected"),
    [
        ("n1000_-3", pa.int64(), ("-3000", "-2000")),
        ("n1000_5.h1", pa.decimal128(20, 2), ("5000", "6000")),
        ("n1000000_2147", pa.int32(), ("2147000000", None)),
        ("n1000000_-2148", pa.int32(), (None, "-2147000000")),
        ("n1000_0", pa.uint8(), (None, None)),
        ("n1000_1", pa.uint8(), ("255", "255")),
        ("n1000_-1", pa.uint8(), ("0", "0")),
        ("n1000_0", pa.decimal128(5, 2), ("0", None)),
    ],
)
def test_bounds_a_type_cannot_hold_are_left_out(leaf: str, dtype: pa.DataType, expected: tuple[Any, Any]) -> None:
    assert column_range(leaf, NUMBER, dtype) == ColumnRange("v", *expected)


@pytest.mark.parametrize(
    ("dtype", "lower", "upper"),
    [
        (pa.int64(), str(-9 * 10**18), str(9 * 10**18)),
        (pa.float64(), str(-9 * 10**18), str(9 * 10**18)),
        (pa.uint64(), None, str(9 * 10**18)),
        (pa.int32(), None, None),
    ],
)
def test_the_null_leaf_of_numbers_is_what_lies_outside(
    dtype: pa.DataType, lower: str | None, upper: str | None
) -> None:
    assert column_range("null", NUMBER, dtype) == ColumnRange("v", lower, upper, outside=True)


def test_the_null_leaf_of_times_is_what_lies_outside_the_years_1000_to_9999() -> None:
    assert column_range("null.h0", TIME, US) == ColumnRange(
        "v", "1000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", outside=True
    )
    assert column_range("null", TIME, pa.timestamp("ns")) == ColumnRange("v", None, None, outside=True)


def test_hash_leaves_cannot_be_pushed_down() -> None:
    assert column_range("all.h01", HashPartition(2), pa.int64()) == EVERYTHING


def test_text_cannot_be_pushed_down() -> None:
    assert [can_push_down(dtype) for dtype in (pa.string(), pa.large_string(), US, pa.date32(), pa.float64())] == [
        False,
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("partition", "dtype"),
    [
        (TIME, pa.int64()),
        (TIME, pa.bool_()),
        (NUMBER, pa.string()),
        (NUMBER, US),
        (NUMBER, pa.bool_()),
    ],
)
def test_a_column_of_another_kind_is_refused(partition: TimePartition | NumberPartition, dtype: pa.DataType) -> None:
    with pytest.raises(ConfigError, match="cannot partition the table like this"):
        column_range("null", partition, dtype)


def test_a_name_of_another_partition_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a partition of this table"):
        column_range("n1_0", TIME, US)


def test_every_row_is_in_the_range_of_everything() -> None:
    assert in_range(pl.DataFrame({"v": [1, None]}), EVERYTHING, pa.int64()).to_list() == [True, True]
    assert in_range(pl.DataFrame({"v": pl.Series([], dtype=pl.Int64)}), EVERYTHING, pa.int64()).to_list() == []


@pytest.mark.parametrize("outside", [False, True])
def test_a_range_without_bounds_tells_null_from_the_rest(outside: bool) -> None:
    frame = pl.DataFrame({"v": [None, 1, -5]}, schema={"v": pl.Int32})
    kept = frame.filter(range_expr(ColumnRange("v", None, None, outside), pa.int32()))
    assert kept["v"].to_list() == ([None] if outside else [1, -5])


def test_a_column_name_that_looks_like_a_pattern_is_taken_literally() -> None:
    frame = pl.DataFrame({"^v.*$": [1, 2000], "v2": [5000, 5000]})
    partition = NumberPartition("^v.*$", 1_000)
    assert assign(frame, partition, primary_key=["^v.*$"], leaves=[]).to_list() == ["n1000_0", "n1000_2"]
    assert in_range(frame, column_range("n1000_2", partition, pa.int64()), pa.int64()).to_list() == [False, True]


_instants = st.one_of(
    st.none(),
    st.datetimes(),
    st.sampled_from(
        [
            datetime(1, 1, 1),
            datetime(999, 12, 31, 23, 59, 59, 999999),
            datetime(1000, 1, 1),
            datetime.max,
            datetime.max - timedelta(microseconds=1),
            datetime(1969, 12, 31, 23, 59, 59, 999999),
            datetime(1970, 1, 1),
        ]
    ),
)
_columns = st.one_of(
    st.tuples(st.just(TIME), st.just(pa.timestamp("us")), st.lists(_instants)),
    st.tuples(st.just(TIME), st.just(US), st.lists(_instants.map(lambda t: t and t.replace(tzinfo=UTC)))),
    st.tuples(st.just(TIME), st.just(pa.date32()), st.lists(st.one_of(st.none(), st.dates(), st.just(date.max)))),
    st.tuples(
        st.just(TIME),
        st.sampled_from([pa.timestamp("ns"), pa.timestamp("ms")]),
        st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(-(10**14), 10**14))),
    ),
    st.tuples(st.just(NUMBER), st.just(pa.int64()), st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))),
    st.tuples(st.just(NUMBER), st.just(pa.int32()), st.lists(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)))),
    st.tuples(st.just(NUMBER), st.just(pa.uint64()), st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1)))),
    st.tuples(st.just(NUMBER), st.just(pa.float64()), st.lists(st.one_of(st.none(), st.floats()))),
    st.tuples(st.just(NUMBER), st.just(pa.float32()), st.lists(st.one_of(st.none(), st.floats(width=32)))),
    st.tuples(
        st.just(NUMBER),
        st.just(pa.decimal128(30, 4)),
        st.lists(st.one_of(st.none(), st.decimals(Decimal("-1e25"), Decimal("1e25"), places=4))),
    ),
)


@seeded
@given(_columns, st.integers(0, 3))
def test_the_range_of_a_leaf_keeps_exactly_the_rows_assigned_to_it(
    case: tuple[TimePartition | NumberPartition, pa.DataType, list[Any]], depth: int
) -> None:
    kind, dtype, values = case
    partition: TimePartition | NumberPartition = TimePartition("v", list(Granularity)[depth])
    if isinstance(kind, NumberPartition):
        partition = NumberPartition("v", 10 ** (depth * 6))
    frame = pl.DataFrame({"v": pl.from_arrow(pa.array(values, dtype))})
    leaves = assign(frame, partition, primary_key=["v"], leaves=[])
    for leaf in set(leaves):
        range_ = column_range(leaf, partition, dtype)
        assert in_range(frame, range_, dtype).to_list() == (leaves == leaf).to_list()
        for bound in (range_.lower, range_.upper):  # as a connector does: a parameter of the column's type
            if bound is not None and not pa.types.is_floating(dtype):
                pa.scalar(cursor.decode(bound, dtype), dtype)


@seeded
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(-1e300, 1e300))))
def test_a_database_finds_the_same_rows(values: list[int | float | None]) -> None:
    numbers = [None if value is None else float(value) for value in values]
    frame = pl.DataFrame({"v": numbers}, schema={"v": pl.Float64})
    leaves = assign(frame, NUMBER, primary_key=["v"], leaves=[])
    database = sqlite3.connect(":memory:")
    database.execute("create table t (n integer, v real)")
    database.executemany("insert into t values (?, ?)", enumerate(numbers))
    for leaf in set(leaves):
        range_ = column_range(leaf, NUMBER, pa.float64())
        inside = f"v >= {range_.lower} and v < {range_.upper}"
        rows = database.execute(
            f"select n from t where {f'v is null or not ({inside})' if range_.outside else inside} order by n"
        )
        assert [n for (n,) in rows] == (leaves == leaf).arg_true().to_list()


@pytest.mark.parametrize(
    ("text", "leaf"),
    [
        ("2025-01-13", "2025-01-13T00"),
        ("2025-01-13T05:06", "2025-01-13T05"),
        ("2025-01-13 05:06:07", "2025-01-13T05"),
        ("2025-01-13T05:06:07.123456789Z", "2025-01-13T05"),
        ("2025-01-13T00:30:00+02:00", "2025-01-12T22"),
        ("2025-01-13t23:30:00 -0100", "2025-01-14T00"),
        (" 2025-01-13T05:06Z ", "2025-01-13T05"),
        ("2025-02-30", "null"),
        ("2025-01-13T05", "null"),
        ("20250113", "null"),
        ("yesterday", "null"),
        ("", "null"),
        (None, "null"),
        ("0001-01-01", "null"),
        ("1736744767", "null"),
        ("2025-01-13T05:06:07 Europe/Paris", "null"),
    ],
)
def test_iso_text_is_an_instant_and_other_text_is_null(text: str | None, leaf: str) -> None:
    frame = pl.DataFrame({"id": [1], "v": [text]}, schema={"id": pl.Int64, "v": pl.String})
    partition = TimePartition("v", Granularity.HOUR)
    assert assign(frame, partition, primary_key=["id"], leaves=[]).to_list() == [leaf]
    for other in ("2025-01-13T05", "null", leaf):
        kept = in_range(frame, column_range(other, partition, pa.string()), pa.string()).to_list()
        assert kept == [base_of(leaf) == other]

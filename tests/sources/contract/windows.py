"""Rows of a cursor's window, its ceiling, and ranges and base partitions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.cursor import encode
from import_platform.core.layout import assign, base_of, column_range, in_range
from import_platform.core.table import (
    UNPARTITIONED,
    Granularity,
    NumberPartition,
    PartitionSpec,
    TimePartition,
)
from import_platform.sources.protocol import CursorWindow
from tests.sources.contract.world import (
    EVENTS,
    START,
    Columns,
    World,
    assert_resumable,
    assert_whole_after_tokens,
    info_of,
    request,
    rows_of,
    some_rows,
)

WINDOWS: tuple[tuple[int | None, int | None, bool, set[int]], ...] = (  # after, upto, inclusive, rows; row 5 has NULL
    (None, None, True, {0, 1, 2, 3, 4, 5}),
    (2, None, True, {2, 3, 4}),
    (2, None, False, {3, 4}),
    (None, 2, True, {0, 1, 2, 5}),
    (1, 3, True, {1, 2, 3}),
    (1, 3, False, {2, 3}),
    (4, None, False, set()),
)
RANGES: tuple[tuple[TimePartition | NumberPartition, str], ...] = (
    (TimePartition("at", Granularity.MONTH), "2024-02"),
    (TimePartition("at", Granularity.HOUR), "2024-01-31T22"),
    (TimePartition("at", Granularity.YEAR), "null"),
    (TimePartition("day", Granularity.DAY), "2024-02-10"),
    (TimePartition("day", Granularity.MONTH), "null"),
    (TimePartition("iso", Granularity.MONTH), "2024-02"),
    (TimePartition("iso", Granularity.MONTH), "null"),
    (NumberPartition("id", 10), "n10_-1"),
    (NumberPartition("id", 10), "n10_2"),
    (NumberPartition("real", 10), "n10_0"),
    (NumberPartition("real", 10), "null"),
)
MIXED: Columns = (("id", "int"), ("at", "time"), ("day", "date"), ("real", "real"), ("iso", "text"))


class Windows:
    @pytest.mark.parametrize("cursor", ["at", "number", "day", "word"])
    @pytest.mark.parametrize("key", [("id",), ()])
    def test_a_window_takes_its_bounds_as_it_says(self, world: World, key: tuple[str, ...], cursor: str) -> None:
        columns = (("id", "int"), ("at", "time"), ("number", "int"), ("day", "date"), ("word", "text"))
        value = {
            "at": [START + timedelta(microseconds=n) for n in range(5)],
            "number": [10 + n for n in range(5)],
            "day": [date(2024, 2, 27) + timedelta(days=n) for n in range(5)],
            "word": ["A'", "B\\", "a", "b", "ä"],
        }
        rows = [(n, *(value[name][n] for name, _ in columns[1:])) for n in range(5)]
        world.make("t", columns, [*rows, (5, None, None, None, None)], key=key)
        source = world.open()
        info = info_of(source, "t")
        column = info.column(cursor)
        assert column is not None
        for after, upto, inclusive, expected in WINDOWS:
            bounds = [None if n is None else encode(value[cursor][n], column.type) for n in (after, upto)]
            window = CursorWindow(cursor, after=bounds[0], upto=bounds[1], inclusive=inclusive)
            assert {row[0] for row in rows_of(source.read(request(info, window=window)))} == expected, window

    def test_every_row_of_a_repeated_cursor_value_is_read(self, world: World) -> None:
        world.make("t", EVENTS, [(n, "x" * 30, START) for n in range(50)], key=["id"])
        source = world.open()
        info = info_of(source, "t")
        window = CursorWindow("at", after=encode(START, pa.timestamp("us", "UTC")), upto=None)
        assert_resumable(source, request(info, window=window), rows=50)
        assert_whole_after_tokens(source, request(info, window=window, primary_key=()), rows=50)

    def test_the_ceiling_is_the_largest_value(self, world: World) -> None:
        world.make("t", EVENTS, [*some_rows(9), (77, None, None)], key=["id"])
        source = world.open()
        info = info_of(source, "t")
        at, number = source.ceiling(info, "at"), source.ceiling(info, "id")
        assert at is not None
        assert at.value == encode(some_rows(9)[-1][2], pa.timestamp("us", "UTC"))
        assert number is not None
        assert number.value == "77"

    def test_the_ceiling_does_not_follow_a_row_into_the_future(self, world: World) -> None:
        world.make("t", EVENTS, [(1, "x", datetime.now(UTC) + timedelta(days=900))], key=["id"])
        source = world.open()
        found = source.ceiling(info_of(source, "t"), "at")
        assert found is not None
        assert found.value < encode(datetime.now(UTC) + timedelta(minutes=1), pa.timestamp("us", "UTC"))

    def test_the_base_partitions_are_those_that_the_rows_go_to(self, world: World) -> None:
        world.make("t", MIXED, mixed_rows(), key=["id"])
        source = world.open()
        info = info_of(source, "t")
        frame = pl.concat([pl.from_arrow(page.batch) for page in source.read(request(info))])
        partitions: list[PartitionSpec] = [
            *(TimePartition("at", granularity) for granularity in Granularity),
            *(TimePartition("day", granularity) for granularity in list(Granularity)[:3]),
            *(NumberPartition(column, width) for column in ("id", "real") for width in (1, 10, 1000)),
            UNPARTITIONED,
        ]
        for partition in partitions:
            found = source.base_keys(info, partition, limit=1000, timeout_seconds=60)
            leaves = assign(frame, partition, primary_key=("id",), leaves=())
            assert found is not None
            assert set(found) == {base_of(leaf) for leaf in leaves}, partition
            assert len(found) == len(set(found))

    def test_base_partitions_come_in_the_order_of_their_values(self, world: World) -> None:
        world.make("t", EVENTS, [(n, "x", None) for n in (-15, 3, 25, 105)] + [(200, "x", START)])
        source = world.open()
        info = info_of(source, "t")
        numbers = source.base_keys(info, NumberPartition("id", 10), limit=9, timeout_seconds=9)
        assert numbers == ["n10_-2", "n10_0", "n10_2", "n10_10", "n10_20"]
        assert source.base_keys(info, TimePartition("at", Granularity.YEAR), limit=9, timeout_seconds=9) == [
            "2024",
            "null",
        ]

    def test_too_many_base_partitions_are_no_list(self, world: World) -> None:
        world.make("t", EVENTS, some_rows(20), key=["id"])
        source = world.open()
        info = info_of(source, "t")
        assert source.base_keys(info, NumberPartition("id", 1), limit=19, timeout_seconds=9) is None
        assert len(source.base_keys(info, NumberPartition("id", 1), limit=20, timeout_seconds=9) or ()) == 20

    def test_a_range_at_the_source_is_the_range_of_the_rows_here(self, world: World) -> None:
        world.make("t", MIXED, mixed_rows(), key=["id"])
        source = world.open()
        info = info_of(source, "t")
        frame = pl.concat([pl.from_arrow(page.batch) for page in source.read(request(info))])
        for partition, leaf in RANGES:
            column = info.column(partition.column)
            assert column is not None
            range_ = column_range(leaf, partition, column.type)
            expected = frame.filter(in_range(frame, range_, column.type))["id"].to_list()
            assert expected, leaf
            assert [row[0] for row in rows_of(source.read(request(info, range=range_)))] == expected, leaf
        assert source.row_count(info, timeout_seconds=60) == len(frame)


def mixed_rows() -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for n in range(-30, 30):
        at = START + timedelta(hours=17 * n, microseconds=n)
        rows.append((n, at, at.date(), n / 3, at.isoformat()))
    far = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    rows += [
        (1000, None, None, None, None),
        (1001, far, far.date(), -0.0, "not a time"),
        (1002, datetime(9999, 12, 31, 23, tzinfo=UTC), date(9999, 12, 31), 1e300, "1969-12-31"),
        (1003, datetime(1000, 1, 1, tzinfo=UTC), date(1000, 1, 1), 9e18, ""),
    ]
    return rows

"""What every connector must do, as tests that each connector's test class inherits.

A connector gives a `world` fixture: a fresh place of its kind to make tables in. Abstract column kinds are `int`,
`text`, `real`, `bytes`, `date` and `time`; both sides take names in double quotes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.cursor import encode
from import_platform.core.layout import ColumnRange, assign, base_of, column_range, in_range
from import_platform.core.table import (
    UNPARTITIONED,
    Granularity,
    NumberPartition,
    PartitionSpec,
    TableInfo,
    TimePartition,
)
from import_platform.errors import ImportPlatformError
from import_platform.sources.protocol import CursorWindow, Page, ReadRequest, Source

Columns = Sequence[tuple[str, str]]
SMALL_PAGE = 300
START = datetime(2024, 1, 31, 22, 30, tzinfo=UTC)
HOSTILE = (
    "plain",
    "it's",
    'say "hi"',
    "back\\slash",
    "\\'; DROP TABLE t; --",
    "$1 %s :x {y}",
    "tab\tline\nend",
    "ünïcödé 漢字 🚀",
    "C0",
    "c0",
    "'",
    '"',
    "\\",
    "E'\\n'",
    " leading",
    "trailing ",
    "a.b",
    "_",
    "NULL",
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


class World(Protocol):
    connection: dict[str, Any]

    def make(
        self, table: str, columns: Columns, rows: Iterable[Sequence[Any]] = (), *, key: Sequence[str] = ()
    ) -> None: ...

    def open(self) -> Source: ...


def info_of(source: Source, table: str) -> TableInfo:
    (found,) = source.discover([table])
    return found


def request(info: TableInfo, **changes: Any) -> ReadRequest:
    base = ReadRequest(
        table=info, columns=tuple(c.name for c in info.columns), primary_key=info.primary_key, page_bytes=SMALL_PAGE
    )
    return replace(base, **changes)


def rows_of(pages: Iterable[Page]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for page in pages for row in page.batch.to_pylist()]


def some_rows(count: int) -> list[tuple[int, str, datetime]]:
    return [(n, f"row {n}", START + timedelta(hours=7 * n)) for n in range(count)]


EVENTS: Columns = (("id", "int"), ("label", "text"), ("at", "time"))


class SourceContract:
    many_columns = 1600
    """As many as PostgreSQL allows; less where the kind of database allows less."""

    def test_check_names_the_server(self, world: World) -> None:
        assert any(character.isdigit() for character in world.open().check())

    def test_its_repr_shows_no_password(self, world: World) -> None:
        assert "secret" not in repr(world.open())

    def test_discovery_gives_names_types_and_keys(self, world: World) -> None:
        world.make("b", EVENTS, some_rows(5), key=["id"])
        world.make("a", (("x", "real"), ("y", "bytes"), ("z", "date")))
        first, second = world.open().discover()
        assert [first.name_in_lake, second.name_in_lake] == ["a", "b"]
        assert [str(c.type) for c in first.columns] == ["double", "binary", "date32[day]"]
        assert [str(c.type) for c in second.columns] == ["int64", "string", "timestamp[us, tz=UTC]"]
        assert (first.primary_key, second.primary_key) == ((), ("id",))
        assert second.row_estimate == 5

    def test_discovery_leaves_out_what_is_not_there(self, world: World) -> None:
        world.make("a", EVENTS)
        assert [info.name for info in world.open().discover(["nope", "a"])] == ["a"]

    def test_an_empty_table_has_no_rows_and_no_ceiling(self, world: World) -> None:
        world.make("t", EVENTS, key=["id"])
        source = world.open()
        info = info_of(source, "t")
        assert rows_of(source.read(request(info))) == []
        assert rows_of(source.read(request(info, primary_key=()))) == []
        assert source.ceiling(info, "at") is None
        assert source.count(info) == 0
        assert source.base_keys(info, TimePartition("at", Granularity.DAY), limit=9, timeout_seconds=9) == []

    def test_pages_come_in_key_order_with_a_token_each(self, world: World) -> None:
        rows = some_rows(100)
        world.make("t", EVENTS, reversed(rows), key=["id"])
        source = world.open()
        pages = list(source.read(request(info_of(source, "t"))))
        assert len(pages) > 5
        assert rows_of(pages) == rows
        assert all(page.token is not None for page in pages)

    def test_every_page_has_the_schema_that_discovery_promised(self, world: World) -> None:
        world.make("t", EVENTS, [*some_rows(30), (30, None, None)], key=["id"])
        source = world.open()
        info = info_of(source, "t")
        assert {page.batch.schema == info.arrow_schema for page in source.read(request(info))} == {True}

    def test_only_the_asked_columns_come_and_in_their_order(self, world: World) -> None:
        world.make("t", EVENTS, some_rows(3), key=["id"])
        source = world.open()
        pages = list(source.read(request(info_of(source, "t"), columns=("at", "label"))))
        assert pages[0].batch.schema.names == ["at", "label"]
        assert [row[1] for row in rows_of(pages)] == ["row 0", "row 1", "row 2"]

    @pytest.mark.parametrize(
        ("columns", "rows"),
        [
            pytest.param((("k", "int"),), [(n * 7 - 60,) for n in range(40)], id="integer"),
            pytest.param((("k", "text"),), [(f"{text}{n}",) for n in range(3) for text in HOSTILE], id="hostile text"),
            pytest.param((("k", "date"),), [(date(2023, 12, 1) + timedelta(days=n),) for n in range(60)], id="date"),
            pytest.param((("k", "time"),), [(START + timedelta(microseconds=n),) for n in range(60)], id="timestamp"),
            pytest.param((("k", "bytes"),), [(bytes([n, 0, 39, 92]),) for n in range(60)], id="bytes"),
            pytest.param((("k", "real"),), [(n / 3,) for n in range(60)], id="real"),
            pytest.param((("k", "text"), ("m", "int")), [(f"'{n % 3}", n) for n in range(60)], id="composite"),
        ],
    )
    def test_a_read_goes_on_from_any_token(self, world: World, columns: Columns, rows: list[Any]) -> None:
        world.make(
            "t", [*columns, ("filler", "text")], [(*row, "x" * 20) for row in rows], key=[name for name, _ in columns]
        )
        source = world.open()
        self._assert_resumable(source, request(info_of(source, "t")), rows=len(rows))

    def test_a_keyless_read_goes_on_from_any_token(self, world: World) -> None:
        world.make("t", EVENTS, some_rows(100))
        source = world.open()
        pages = self._assert_resumable(source, request(info_of(source, "t")), rows=100)
        assert all(page.token is not None for page in pages)

    def test_null_and_repeated_values_of_a_declared_key_are_read_once_each(self, world: World) -> None:
        rows = [(None if n % 5 == 0 else n // 9, f"row {n}", None) for n in range(100)]
        world.make("t", EVENTS, rows)
        source = world.open()
        pages = self._assert_resumable(source, request(info_of(source, "t"), primary_key=("id",)), rows=100)
        assert sorted(row[1] for row in rows_of(pages)) == sorted(row[1] for row in rows)

    def test_a_null_in_one_column_of_a_declared_key_loses_no_row(self, world: World) -> None:
        rows = [(n, None if n % 4 == 0 else f"row {n}", START) for n in range(60)]
        world.make("t", EVENTS, rows)
        source = world.open()
        self._assert_resumable(source, request(info_of(source, "t"), primary_key=("label", "id")), rows=60)

    def _assert_resumable(self, source: Source, read: ReadRequest, *, rows: int) -> list[Page]:
        pages = list(source.read(read))
        assert len(pages) > 2
        assert len(rows_of(pages)) == rows
        for position, page in list(enumerate(pages))[:: max(len(pages) // 8, 1)]:
            if page.token is not None:
                rest = rows_of(source.read(replace(read, after=page.token)))
                assert sorted(map(repr, rest)) == sorted(map(repr, rows_of(pages[position + 1 :])))
        return pages

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
            assert source.count(info, window=window) == len(expected)

    def test_every_row_of_a_repeated_cursor_value_is_read(self, world: World) -> None:
        world.make("t", EVENTS, [(n, "x" * 30, START) for n in range(50)], key=["id"])
        source = world.open()
        info = info_of(source, "t")
        window = CursorWindow("at", after=encode(START, pa.timestamp("us", "UTC")), upto=None)
        self._assert_resumable(source, request(info, window=window), rows=50)
        self._assert_keyless_window(source, request(info, window=window, primary_key=()), rows=50)

    def _assert_keyless_window(self, source: Source, read: ReadRequest, *, rows: int) -> None:
        pages = list(source.read(read))
        assert len(rows_of(pages)) == rows
        for position, page in enumerate(pages):
            if page.token is not None:
                assert len(rows_of(source.read(replace(read, after=page.token)))) == len(rows_of(pages[position + 1 :]))

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
            if partition.column != "iso":  # which the source cannot decide
                everything = ColumnRange(None, None, None)
                assert source.bucket_counts(info, [range_, everything], timeout_seconds=60) == [
                    len(expected),
                    len(frame),
                ]

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_hostile_name_is_only_a_name(self, world: World, name: str) -> None:
        world.make(
            name,
            ((name, "text"), ("id of " + name, "int"), ("at", "time")),
            [(v, n, START) for n, v in enumerate(HOSTILE)],
            key=[name],
        )
        source = world.open()
        info = info_of(source, name)
        assert [c.name for c in info.columns] == [name, "id of " + name, "at"]
        assert {row[0] for row in rows_of(source.read(request(info)))} == set(HOSTILE)
        assert source.count(info, window=CursorWindow("id of " + name, "3", None)) == len(HOSTILE) - 3
        self._assert_resumable(source, request(info), rows=len(HOSTILE))
        self._assert_resumable(source, request(info, primary_key=()), rows=len(HOSTILE))

    def test_a_row_over_the_limit_is_named_and_not_fetched(self, world: World) -> None:
        rows = [(n, b"x" * (4_000_000 if n in (3, 4, 8) else 10), START) for n in range(10)]
        world.make("t", (("id", "int"), ("body", "bytes"), ("at", "time")), rows, key=["id"])
        source = world.open()
        pages = list(source.read(request(info_of(source, "t"), row_bytes_max=3_000_000, page_bytes=1_000_000)))
        assert [row[0] for row in rows_of(pages)] == [0, 1, 2, 5, 6, 7, 9]
        rejected = [row for page in pages for row in page.rejected]
        assert [row.key for row in rejected] == [{"id": "3"}, {"id": "4"}, {"id": "8"}]
        assert {(row.column, row.row) for row in rejected} == {("body", None)}
        assert all("4.0 MB" in row.reason and "body 4000000 B" in row.reason for row in rejected)

    def test_a_table_of_a_thousand_columns_is_read(self, world: World) -> None:
        columns = [("id", "int"), *((f"c{n}", "int" if n % 2 else "text") for n in range(self.many_columns - 1))]
        row = [1, *(None if n % 3 else n if n % 2 else str(n) for n in range(self.many_columns - 1))]
        world.make("t", columns, [row, [2, *row[1:]]], key=["id"])
        source = world.open()
        info = info_of(source, "t")
        assert rows_of(source.read(request(info, row_bytes_max=60 << 20, page_bytes=1 << 20))) == [
            tuple(row),
            (2, *row[1:]),
        ]

    def test_an_unknown_table_or_column_is_a_sentence(self, world: World) -> None:
        world.make("t", EVENTS, some_rows(1), key=["id"])
        source = world.open()
        info = info_of(source, "t")
        for call in (
            lambda: list(source.read(request(replace(info, name="gone")))),
            lambda: source.count(replace(info, name="gone")),
            lambda: source.ceiling(info, "gone"),
            lambda: list(source.read(request(info, columns=("id", "gone")))),
        ):
            with pytest.raises(ImportPlatformError) as caught:
                call()
            assert caught.value.remedy
            assert "gone" in str(caught.value)

    def test_memory_stays_within_a_few_rows_and_pages(self, world: World) -> None:
        row, page = 8 << 20, 2 << 20
        world.make("t", (("id", "int"), ("body", "text")), [(n, "y" * row) for n in range(16)], key=["id"])
        script = (
            "import resource, sys, json\n"
            "from import_platform.sources.registry import open_source\n"
            "from import_platform.sources.protocol import ReadRequest\n"
            "source = open_source('s', json.loads(sys.argv[1]))\n"
            "info = source.discover(['t'])[0]\n"
            "def read(primary_key, upto):\n"
            "    rows = 0\n"
            f"    sizes = dict(page_bytes={page}, row_bytes_max=64 << 20)\n"
            "    for page in source.read(ReadRequest(info, ('id', 'body'), primary_key, **sizes)):\n"
            "        rows += page.batch.num_rows\n"
            "        if rows >= upto: break\n"
            "    return rows\n"
            "read(('id',), 1)\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "assert read(('id',), 99) == 16 and read((), 99) == 16\n"
            "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)\n"
        )
        import json

        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(world.connection)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert int(done.stdout) < 4 * row + 4 * page


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

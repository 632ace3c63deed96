"""Choices made from what a source reveals, and answers to declarations that cannot be."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from import_platform.core.choose import resolve
from import_platform.core.table import (
    UNPARTITIONED,
    ColumnInfo,
    DeclaredTable,
    Granularity,
    HashPartition,
    NumberPartition,
    PartitionSpec,
    SyncMode,
    TableInfo,
    TimePartition,
)
from import_platform.errors import ConfigError

TIMESTAMP = pa.timestamp("us", "UTC")
GB = 10**9


def column(
    name: str, dtype: pa.DataType = TIMESTAMP, *, nullable: bool = False, span: tuple[str, str] | None = None
) -> ColumnInfo:
    low, high = span or (None, None)
    return ColumnInfo(name, dtype, str(dtype), nullable, low, high)


def table(*columns: ColumnInfo, key: tuple[str, ...] = (), rows: int = 1_000_000, size: int = GB) -> TableInfo:
    return TableInfo("public", "t", columns, key, rows, size)


def days(first: str, last: str) -> tuple[str, str]:
    return f"{first}T00:00:00.000000Z", f"{last}T00:00:00.000000Z"


ID = column("id", pa.int64())
TEXT = column("note", pa.string())


@pytest.mark.parametrize(
    ("columns", "key", "sync", "cursor"),
    [
        ([ID, column("updated_at")], ("id",), SyncMode.INCREMENTAL, "updated_at"),
        ([ID, column("Last_Modified")], ("id",), SyncMode.INCREMENTAL, "Last_Modified"),
        ([ID, column("modified_at"), column("updated_at")], ("id",), SyncMode.INCREMENTAL, "updated_at"),
        ([ID, column("update_date", pa.date32())], ("id",), SyncMode.INCREMENTAL, "update_date"),
        ([ID, column("updated_at", nullable=True)], ("id",), SyncMode.FULL_REFRESH, None),
        ([ID, column("updated_at", pa.string())], ("id",), SyncMode.FULL_REFRESH, None),
        ([ID, column("created_at")], ("id",), SyncMode.FULL_REFRESH, None),
        ([ID, column("updated_at")], (), SyncMode.FULL_REFRESH, None),
    ],
)
def test_the_sync_mode_follows_key_and_cursor(
    columns: list[ColumnInfo], key: tuple[str, ...], sync: SyncMode, cursor: str | None
) -> None:
    spec = resolve("shop", DeclaredTable("t"), table(*columns, key=key))
    assert (spec.sync, spec.cursor, spec.primary_key) == (sync, cursor, key)
    assert spec.reasons[0].startswith(sync.value)


@pytest.mark.parametrize("rows", [0, 10, 10**9])
def test_the_sync_mode_does_not_change_as_a_table_grows(rows: int) -> None:
    spec = resolve("shop", DeclaredTable("t"), table(ID, column("updated_at"), key=("id",), rows=rows))
    assert spec.sync is SyncMode.INCREMENTAL


@pytest.mark.parametrize(
    ("declared", "sync", "cursor"),
    [
        ({"sync": SyncMode.FULL_REFRESH}, SyncMode.FULL_REFRESH, None),
        ({"sync": SyncMode.FULL_REFRESH, "cursor": "seq"}, SyncMode.FULL_REFRESH, None),
        ({"sync": SyncMode.INCREMENTAL}, SyncMode.INCREMENTAL, "updated_at"),
        ({"sync": SyncMode.INCREMENTAL, "cursor": "seq"}, SyncMode.INCREMENTAL, "seq"),
        ({"cursor": "seq"}, SyncMode.INCREMENTAL, "seq"),
        ({"cursor": "seq", "primary_key": ()}, SyncMode.APPEND, "seq"),
        ({"sync": SyncMode.APPEND}, SyncMode.APPEND, "updated_at"),
        ({"sync": SyncMode.INCREMENTAL, "primary_key": ("seq", "note")}, SyncMode.INCREMENTAL, "updated_at"),
    ],
)
def test_a_declaration_wins(declared: dict[str, Any], sync: SyncMode, cursor: str | None) -> None:
    info = table(ID, column("seq", pa.int64()), TEXT, column("updated_at"), key=("id",))
    spec = resolve("shop", DeclaredTable("t", **declared), info)
    assert (spec.sync, spec.cursor) == (sync, cursor)
    assert spec.primary_key == declared.get("primary_key", ("id",))


@pytest.mark.parametrize(
    ("columns", "cursor"),
    [([ID, column("created_at")], "created_at"), ([ID], "id"), ([column("id", pa.string())], None)],
)
def test_an_append_goes_by_what_only_grows(columns: list[ColumnInfo], cursor: str | None) -> None:
    info = table(*columns, key=("id",))
    if cursor is None:
        with pytest.raises(ConfigError, match="append needs a cursor"):
            resolve("shop", DeclaredTable("t", sync=SyncMode.APPEND), info)
    else:
        assert resolve("shop", DeclaredTable("t", sync=SyncMode.APPEND), info).cursor == cursor


YEARS_5 = days("2020-01-01", "2025-01-01")


@pytest.mark.parametrize(
    ("info", "partition"),
    [
        (table(ID, column("created_at", span=YEARS_5), key=("id",), rows=999), UNPARTITIONED),
        (
            table(ID, column("created_at", span=YEARS_5), key=("id",), size=GB),
            TimePartition("created_at", Granularity.YEAR),
        ),
        (table(ID, column("created_at", span=YEARS_5), size=50 * GB), TimePartition("created_at", Granularity.MONTH)),
        (table(ID, column("created_at", span=YEARS_5), size=1000 * GB), TimePartition("created_at", Granularity.DAY)),
        (
            table(ID, column("created_at", span=days("2025-01-01", "2025-01-15")), size=1000 * GB),
            TimePartition("created_at", Granularity.HOUR),
        ),
        (
            table(ID, column("order_date", pa.date32(), span=("2025-01-01", "2025-01-15")), size=1000 * GB),
            TimePartition("order_date", Granularity.DAY),
        ),
        (
            table(ID, column("created_at", span=days("1200-01-01", "2025-01-01")), size=1000 * GB),
            TimePartition("created_at", Granularity.YEAR),
        ),
        (table(ID, column("created_at")), TimePartition("created_at", Granularity.MONTH)),
        (table(ID, column("created_at"), rows=-1, size=-1), TimePartition("created_at", Granularity.MONTH)),
        (table(ID, column("created_at", nullable=True), key=("id",)), NumberPartition("id", 1_000_000)),
        (
            table(ID, column("created_at", span=days("2025-01-01", "2025-01-01")), key=("id",)),
            NumberPartition("id", 1_000_000),
        ),
        (
            table(column("id", pa.int64(), span=("1", "3000000")), key=("id",), rows=3_000_000),
            NumberPartition("id", 1_000_000),
        ),
        (
            table(column("id", pa.int64(), span=("1", "3000000000")), key=("id",), rows=3 * 10**9, size=1000 * GB),
            NumberPartition("id", 10_000_000),
        ),
        (
            table(column("id", pa.int64(), span=("1", str(10**18))), key=("id",), rows=10**9, size=100 * GB),
            NumberPartition("id", 10**16),
        ),
        (table(column("id", pa.string()), key=("id",), size=GB), HashPartition(1)),
        (table(column("id", pa.string()), key=("id",), size=20 * GB), HashPartition(5)),
        (table(column("id", pa.string()), key=("id",), size=10**6 * GB), HashPartition(10)),
        (table(ID, column("b", pa.int64()), key=("id", "b"), size=10**8), HashPartition(0)),
        (table(TEXT, size=20 * GB), HashPartition(5)),
    ],
)
def test_the_partition_is_time_else_the_integer_key_else_a_hash(info: TableInfo, partition: PartitionSpec) -> None:
    spec = resolve("shop", DeclaredTable("t"), info)
    assert spec.partition == partition
    assert spec.reasons[2]


@pytest.mark.parametrize("size", [10 * GB, 100 * GB, 1000 * GB])
@pytest.mark.parametrize("years", [1, 3, 20])
def test_leaves_are_of_a_middling_size_and_number(size: int, years: int) -> None:
    span = days("2000-01-01", f"{2000 + years}-01-01")
    partition = resolve("shop", DeclaredTable("t"), table(ID, column("created_at", span=span), size=size)).partition
    assert isinstance(partition, TimePartition)
    count = (
        years
        * {Granularity.YEAR: 1, Granularity.MONTH: 12, Granularity.DAY: 365, Granularity.HOUR: 8760}[
            partition.granularity
        ]
    )
    assert count < 2000 * 4  # the cut is by level
    assert size * 0.35 / count < 600e6 or count * 24 > 2000


@pytest.mark.parametrize(
    ("partition", "words"),
    [
        (TimePartition("creatd_at", Granularity.DAY), "Did you mean created_at?"),
        (TimePartition("id", Granularity.DAY), "cannot partition"),
        (NumberPartition("created_at", 10), "cannot partition"),
        (TimePartition("day", Granularity.HOUR), "no hours"),
        (NumberPartition("flag", 10), "cannot partition"),
    ],
)
def test_a_partition_that_cannot_be_is_answered(partition: PartitionSpec, words: str) -> None:
    info = table(ID, column("created_at"), column("day", pa.date32()), column("flag", pa.bool_()))
    with pytest.raises(ConfigError, match=words) as caught:
        resolve("shop", DeclaredTable("t", partition=partition), info)
    assert caught.value.facts["table"] == "t"


@pytest.mark.parametrize(
    "partition",
    [
        TimePartition("created_at", Granularity.HOUR),
        TimePartition("note", Granularity.DAY),
        NumberPartition("id", 10),
        HashPartition(4),
    ],
)
def test_a_declared_partition_is_taken_whatever_the_size(partition: PartitionSpec) -> None:
    info = table(ID, column("created_at"), TEXT, rows=5)
    assert resolve("shop", DeclaredTable("t", partition=partition), info).partition == partition


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"sync": SyncMode.INCREMENTAL}, "incremental needs a primary key"),
        ({"sync": SyncMode.INCREMENTAL, "primary_key": ("id",)}, "incremental needs a cursor"),
        ({"sync": SyncMode.APPEND}, "append needs a cursor"),
        ({"cursor": "updatd"}, "the cursor column does not exist.*Did you mean updated"),
        ({"cursor": "ratio"}, "a cursor must be"),
        ({"cursor": "flag"}, "a cursor must be"),
        ({"primary_key": ("id", "nope")}, "the primary key column does not exist"),
        ({"primary_key": ("id", "id")}, "names a column twice"),
    ],
)
def test_a_declaration_that_cannot_be_is_answered(declared: dict[str, Any], words: str) -> None:
    info = table(ID, column("updated", nullable=True), column("ratio", pa.float64()), column("flag", pa.bool_()))
    with pytest.raises(ConfigError, match=words) as caught:
        resolve("shop", DeclaredTable("t", **declared), info)
    assert caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["id", "_partition"], "Rename it at the source"),
        (["id", "_Partition"], "Rename it at the source"),
        ([], "may not read any column"),
    ],
)
def test_columns_that_the_lake_cannot_hold_are_refused_with_a_way_out(names: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve("shop", DeclaredTable("t"), table(*(column(name, pa.int64()) for name in names)))

"""How a table is partitioned when its owner leaves it open: by when rows began, else by key, else by a hash."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import pyarrow as pa

from import_platform.core import cursor
from import_platform.core.budget import MIB
from import_platform.core.leaf import WIDTH_EXPONENT_MAX
from import_platform.core.table import (
    UNPARTITIONED,
    ColumnInfo,
    Granularity,
    HashPartition,
    NumberPartition,
    PartitionSpec,
    TableInfo,
    TimePartition,
)

CREATED_NAMES = (
    "created_at",
    "created_on",
    "inserted_at",
    "creation_time",
    "create_time",
    "created_time",
    "created_date",
    "creation_date",
    "created",
    "date_created",
    "create_date",
    "createdat",
    "createddate",
    "occurred_at",
    "event_time",
    "event_at",
    "event_date",
    "recorded_at",
    "ordered_at",
    "order_date",
    "placed_at",
    "started_at",
    "timestamp",
    "ts",
)
"""Columns that say when a row began and that applications do not change, best first; compared in lower case."""

SMALL_ROWS = 1000
LEAF_BYTES_MIN, LEAF_BYTES_MAX = 50 * MIB, 500 * MIB
LEAVES_MAX = 2000
LAKE_BYTES_PER_SOURCE_BYTE = 0.35
"""Parquet with zstd against a PostgreSQL heap: 0.2 to 0.5 on the tables we have measured."""
_ROW_BYTES = 200  # where the source does not say how large it is
_LENGTH = {
    Granularity.YEAR: timedelta(days=365),
    Granularity.MONTH: timedelta(days=30),
    Granularity.DAY: timedelta(days=1),
    Granularity.HOUR: timedelta(hours=1),
}


def choose_partition(info: TableInfo, primary_key: tuple[str, ...]) -> tuple[PartitionSpec, str]:
    """A partition whose leaves are about 50 to 500 MB and fewer than 2,000, and the sentence that explains it."""
    if 0 <= info.row_estimate < SMALL_ROWS:
        return UNPARTITIONED, f"no partitions: about {info.row_estimate} rows, and a small table is one file"
    lake_bytes = _lake_bytes(info)
    created = created_column(info)
    if created is not None and _is_useful(created):
        granularity = _granularity(created, lake_bytes)
        reason = f"one partition per {granularity.value} of {created.name}: never null and stays as it is"
        return TimePartition(created.name, granularity), f"{reason}{_size(info)}"
    only = info.column(primary_key[0]) if len(primary_key) == 1 else None
    if only is not None and pa.types.is_integer(only.type):
        width = _width(only, info.row_estimate, lake_bytes)
        reason = f"one partition per {width} values of {only.name}: an integer key, and no column says when a row began"
        return NumberPartition(only.name, width), f"{reason}{_size(info)}"
    bits = max(math.ceil(math.log2(max(lake_bytes / (LEAF_BYTES_MAX / 2), 1))), 0)
    bits = min(bits, int(math.log2(LEAVES_MAX)))
    what = "the primary key" if primary_key else "the whole row, as there is no key"
    reason = f"{2**bits} partitions by a hash of {what}" if bits else f"one partition, to be split by a hash of {what}"
    return HashPartition(bits), f"{reason}: no column says when a row began{_size(info)}"


def created_column(info: TableInfo) -> ColumnInfo | None:
    """The never-null date or timestamp column that says when a row began, if its name tells."""
    known = {column.name.lower(): column for column in info.columns if is_instant(column) and not column.nullable}
    return next((known[name] for name in CREATED_NAMES if name in known), None)


def is_instant(column: ColumnInfo) -> bool:
    return bool(pa.types.is_timestamp(column.type) or pa.types.is_date(column.type))


def _is_useful(column: ColumnInfo) -> bool:
    """False where all rows began within a day, as after a bulk load: then the column divides nothing."""
    span = _span(column)
    return span is None or span > _LENGTH[Granularity.DAY]


def _granularity(column: ColumnInfo, lake_bytes: float) -> Granularity:
    """The coarsest level whose leaves stay under the limit; months where the range is unknown."""
    span = _span(column)
    if span is None:
        return Granularity.MONTH
    finest = Granularity.DAY if pa.types.is_date(column.type) else Granularity.HOUR
    chosen = Granularity.YEAR
    for granularity, length in _LENGTH.items():
        if span / length >= LEAVES_MAX:
            break
        chosen = granularity
        if lake_bytes * min(length / span, 1.0) <= LEAF_BYTES_MAX or granularity is finest:
            break
    return chosen


def _span(column: ColumnInfo) -> timedelta | None:
    if column.minimum is None or column.maximum is None:
        return None
    first, last = (cursor.decode(value, column.type) for value in (column.minimum, column.maximum))
    span: timedelta = (last - first) if isinstance(first, datetime) else timedelta(days=(last - first).days)
    return span


def _width(column: ColumnInfo, rows: int, lake_bytes: float) -> int:
    """The power of ten that puts about 250 MB into a leaf, if keys are spread over their range as they are now."""
    if column.minimum is None or column.maximum is None or rows <= 0:
        return 1_000_000
    values = max(int(column.maximum) - int(column.minimum) + 1, 1)
    wanted = (LEAF_BYTES_MAX / 2) * values / max(lake_bytes, 1.0)
    exponent = round(math.log10(max(wanted, 1.0)))
    # Not under what keeps the count bounded, and not so wide for a small table that its growth would never be divided.
    least = math.ceil(math.log10(max(values / LEAVES_MAX, 1.0)))
    most = max(least, math.ceil(math.log10(values)) + 1)
    return int(10 ** min(max(exponent, least), most, WIDTH_EXPONENT_MAX))


def _lake_bytes(info: TableInfo) -> float:
    if info.bytes_estimate >= 0:
        return info.bytes_estimate * LAKE_BYTES_PER_SOURCE_BYTE
    return max(info.row_estimate, 0) * _ROW_BYTES * LAKE_BYTES_PER_SOURCE_BYTE


def _size(info: TableInfo) -> str:
    return f" (about {info.row_estimate:,} rows)" if info.row_estimate >= 0 else ""

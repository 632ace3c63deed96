"""Half-open ranges of one column: what a leaf means to a database, and the same filter for rows already here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, TypeVar

import polars as pl
import polars.selectors as cs
import pyarrow as pa

from import_platform.core import cursor
from import_platform.core.arrow import polars_type
from import_platform.core.cursor import CursorValue
from import_platform.core.leaf import NULL, NUMBER_MAX, base_of, granularity_of, validate, width_and_index
from import_platform.core.table import Granularity, HashPartition, NumberPartition, PartitionSpec, TimePartition
from import_platform.errors import ConfigError

TIME_MIN: Final = datetime(1000, 1, 1, tzinfo=UTC)
TIME_MAX: Final = datetime.max.replace(tzinfo=UTC)
"""Exclusive, because no later instant can be written as a half-open bound: the last microsecond of year 9999 (for date
columns the day 9999-12-31, a common "for ever") counts as absurd and goes to `null`."""

_T = TypeVar("_T", int, datetime)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICROS_PER_DAY: Final = 86_400_000_000
_ISO: Final = r"^\s*(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?\s*([zZ]|[+-]\d\d(?::?\d\d)?)?)?\s*$"
_NANOS_BOUNDS: Final = (datetime(1677, 9, 22, tzinfo=UTC), datetime(2262, 4, 11, tzinfo=UTC))


@dataclass(frozen=True)
class ColumnRange:
    """Rows whose `column` is in [lower, upper), as canonical cursor text; None is no bound, no column is every row.

    `outside` turns it around: rows whose value is NULL or NOT in [lower, upper); with neither bound that is NULL only.
    """

    column: str | None
    lower: CursorValue | None
    upper: CursorValue | None
    outside: bool = False


EVERYTHING: Final = ColumnRange(None, None, None)


def can_push_down(dtype: pa.DataType) -> bool:
    """False for text, whose order is not that of the instants it spells: read everything and filter with `in_range`."""
    return not _is_text(dtype)


def column_range(leaf: str, partition: PartitionSpec, dtype: pa.DataType) -> ColumnRange:
    """The rows of a leaf's base. Hash bits are ignored: no database computes our hash.

    Bounds that `dtype` cannot hold are left out, so every bound can be bound as a parameter of the column's own type.

    Raises:
        ConfigError: the name is not one of this partition, or a column of this type cannot partition like this.
    """
    validate(leaf, partition)
    if isinstance(partition, HashPartition):
        return EVERYTHING
    check_partition_column(partition, polars_type(dtype))
    base = base_of(leaf)
    if isinstance(partition, NumberPartition):
        lower, upper = _number_bounds(base, dtype)
    else:
        lower, upper = _time_bounds(base, dtype)
    return ColumnRange(partition.column, lower, upper, outside=base == NULL)


def check_partition_column(partition: TimePartition | NumberPartition, dtype: pl.DataType) -> None:
    """Raises ConfigError when a column of this type cannot be the partition column."""
    if isinstance(partition, NumberPartition):
        fits = dtype.is_numeric()
    else:
        fits = dtype in (pl.Date, pl.String) or isinstance(dtype, pl.Datetime)
    if not fits:
        raise ConfigError(
            "a column of this type cannot partition the table like this",
            column=partition.column,
            type=str(dtype),
            remedy="granularity needs a date, timestamp or ISO text column; width an integer, decimal or float column.",
        )


def in_range(frame: pl.DataFrame, range_: ColumnRange, dtype: pa.DataType) -> pl.Series:
    """Boolean series, never null, true for the rows of `frame` in the range."""
    # The literal gives the constant expression of EVERYTHING one value per row.
    return frame.select(range_expr(range_, dtype) & pl.repeat(True, pl.len())).to_series().rename("in_range")


def range_expr(range_: ColumnRange, dtype: pa.DataType) -> pl.Expr:
    """The filter that keeps exactly the rows the range keeps in SQL; never null. `dtype` is the column's Arrow type."""
    if range_.column is None:
        return pl.lit(True)
    if pa.types.is_date(dtype) or pa.types.is_timestamp(dtype) or _is_text(dtype):
        value = micros_expr(range_.column, polars_type(dtype))
        bounds = [None if text is None else _micros_of(text, dtype) for text in (range_.lower, range_.upper)]
    else:
        value = integer_expr(range_.column, polars_type(dtype))
        bounds = [None if text is None else int(text) for text in (range_.lower, range_.upper)]
    inside = value.is_not_null()
    if bounds[0] is not None:
        inside &= (value >= bounds[0]).fill_null(False)
    if bounds[1] is not None:
        inside &= (value < bounds[1]).fill_null(False)
    return ~inside if range_.outside else inside


def micros_expr(column: str, dtype: pl.DataType) -> pl.Expr:
    """Microseconds since 1970 UTC as Int64, rounded down; null where the value is NULL, unparseable or absurd."""
    value = cs.by_name(column).as_expr()  # pl.col would take a name like `^a$` for a pattern
    if dtype == pl.Date:
        days = value.to_physical().cast(pl.Int64)
        first, last = (day.toordinal() - _EPOCH.toordinal() for day in (TIME_MIN, TIME_MAX))
        return pl.when(days.is_between(first, last, closed="left")).then(days * _MICROS_PER_DAY)
    if isinstance(dtype, pl.Datetime):
        ticks = value.to_physical()
        unit = dtype.time_unit
    else:
        ticks = parsed_instants(value.cast(pl.String)).to_physical()
        unit = "us"
    micros = {"us": ticks, "ms": ticks * 1000, "ns": ticks // 1000}[unit]
    lower, upper = _micros(TIME_MIN), _micros(TIME_MAX)
    if unit == "ms":  # bounded before it is multiplied, which could overflow into a sane instant
        return pl.when(ticks.is_between(lower // 1000, upper // 1000)).then(micros)
    return pl.when(micros.is_between(lower, upper, closed="left")).then(micros)


def integer_expr(column: str, dtype: pl.DataType) -> pl.Expr:
    """The value rounded down as Int64; null where it is NULL, NaN, infinite or outside [-NUMBER_MAX, NUMBER_MAX).

    Rounding first loses nothing: every bound is an integer, and floor(v / width) == floor(floor(v) / width).
    """
    value = cs.by_name(column).as_expr()  # pl.col would take a name like `^a$` for a pattern
    if isinstance(dtype, pl.Decimal) and dtype.scale:
        whole = value.to_physical().floordiv(pl.lit(10**dtype.scale, pl.Int128)).cast(pl.Int64, strict=False)
    elif dtype.is_float():
        whole = value.floor().cast(pl.Int64, strict=False)
    else:
        whole = value.cast(pl.Int64, strict=False)
    if dtype in (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32):
        return whole
    return pl.when(whole.is_between(-NUMBER_MAX, NUMBER_MAX, closed="left")).then(whole)


def parsed_instants(text: pl.Expr) -> pl.Expr:
    """Instants of ISO 8601 text: a date, or date and time (T or space, minutes at least, any offset; none is UTC)."""
    part = text.str.extract_groups(_ISO).struct.field
    whole = pl.concat_str(
        part("1"), pl.lit("T"), part("2").fill_null("00:00"), part("3").fill_null(":00"), part("4").fill_null("Z")
    )
    return whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)


def _time_bounds(base: str, dtype: pa.DataType) -> tuple[CursorValue | None, CursorValue | None]:
    lower, upper = (TIME_MIN, TIME_MAX) if base == NULL else _span(base)
    if pa.types.is_date(dtype):
        return _date_from(lower), _date_from(upper)
    instant = pa.timestamp("us", "UTC")
    least, most = _NANOS_BOUNDS if pa.types.is_timestamp(dtype) and dtype.unit == "ns" else (TIME_MIN, TIME_MAX)
    bounds = _within(lower, upper, least=least, most=most) if least != TIME_MIN else (lower, upper)
    start, end = (None if bound is None else cursor.encode(bound, instant) for bound in bounds)
    return start, end


def _within(lower: _T, upper: _T, *, least: _T, most: _T) -> tuple[_T | None, _T | None]:
    """The range as a type from `least` to `most` (inclusive) can tell it; one beyond the type stays empty."""
    if lower > most:
        return most, most
    if upper <= least:
        return least, least
    return None if lower <= least else lower, None if upper > most else upper


def _span(base: str) -> tuple[datetime, datetime]:
    granularity = granularity_of(base)
    year, month = int(base[:4]), int(base[5:7] or 1)
    start = datetime(year, month, int(base[8:10] or 1), int(base[11:] or 0), tzinfo=UTC)
    if granularity is Granularity.YEAR:
        return start, TIME_MAX if year == TIME_MAX.year else start.replace(year=year + 1)
    if granularity is Granularity.MONTH:
        december = month == 12
        if december and year == TIME_MAX.year:
            return start, TIME_MAX
        return start, start.replace(year=year + december, month=1 if december else month + 1)
    length = timedelta(days=1) if granularity is Granularity.DAY else timedelta(hours=1)
    return start, start + length if TIME_MAX - start > length else TIME_MAX


def _date_from(instant: datetime) -> CursorValue:
    """The first date at or after the instant: a date stands for its midnight."""
    late = instant.time() != time.min and instant.date() < date.max
    return (instant.date() + timedelta(days=late)).isoformat()


def _number_bounds(base: str, dtype: pa.DataType) -> tuple[CursorValue | None, CursorValue | None]:
    if base == NULL:
        lower, upper = -NUMBER_MAX, NUMBER_MAX
    else:
        width, index = width_and_index(base)
        lower, upper = index * width, (index + 1) * width
    least, most = _limits(dtype)
    start, end = (None if bound is None else str(bound) for bound in _within(lower, upper, least=least, most=most))
    return start, end


def _limits(dtype: pa.DataType) -> tuple[int, int]:
    """The least and greatest whole number a column of this type can hold, as far as bounds reach."""
    if pa.types.is_decimal(dtype):
        most = 10 ** max(dtype.precision - dtype.scale, 0) - 1
        return -most - 1, most
    if pa.types.is_integer(dtype):
        bits = dtype.bit_width
        return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if pa.types.is_signed_integer(dtype) else (0, 2**bits - 1)
    return -(10**30), 10**30


def _micros_of(text: CursorValue, dtype: pa.DataType) -> int:
    if pa.types.is_date(dtype):
        return (date.fromisoformat(text).toordinal() - _EPOCH.toordinal()) * _MICROS_PER_DAY
    return _micros(cursor.decode(text, pa.timestamp("us", "UTC")))


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))

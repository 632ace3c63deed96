"""JSON rows as Arrow columns, and what becomes of values that a column cannot hold.

    field never seen, or null only       no column until a value comes
    integer, then decimals               bigint widens to double; integers beyond 64 bits to decimal(38,0)
    date, then timestamp                 timestamp; text with an offset becomes UTC
    anything, then something else        text: a string as it is, everything else as JSON
    object or array                      JSON text
    a value that a declared type, a key or a cursor cannot hold    its row is rejected, with the reason
    text with broken UTF-8               its row is rejected
    a row that is no object              one column `value`
    names that differ by case only       the later spelling gets a suffix made of its name

A type is fixed where it is declared, and for keys and cursors, whose kind never changes in place.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from import_platform.core import lattice
from import_platform.core.wording import type_text
from import_platform.sources.json.columns import INSTANT, Unit

Row = Mapping[str, Any]


class JsonNumber(Decimal):
    """A number with a fraction as JSON wrote it: a double where no declared decimal wants its digits."""


_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?\s?(Z|[+-]\d\d:?\d\d)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_BIG = pa.decimal128(38, 0)


@dataclass(frozen=True)
class JsonColumn:
    """A column and where its values are in a row. `fixed` types are never widened; `unit` is that of numbers that are
    instants."""

    name: str
    type: pa.DataType
    path: tuple[str, ...]
    fixed: bool = False
    unit: Unit = "s"


@dataclass
class Converted:
    """Columns of some rows. `wider` are types that columns need first; `misfits` rows to set apart, each with its
    column and the reason. Mutable: it is filled column by column."""

    arrays: list[pa.Array] = field(default_factory=list)
    wider: dict[str, pa.DataType] = field(default_factory=dict)
    misfits: dict[int, tuple[str, str]] = field(default_factory=dict)


def as_rows(items: Sequence[Any]) -> list[Row]:
    return [item if isinstance(item, dict) else {"value": item} for item in items]


def values_of(rows: Sequence[Row], path: tuple[str, ...]) -> list[Any]:
    name = path[0]
    if len(path) == 1:
        return [row.get(name) for row in rows]
    return [_inside(row, path) for row in rows]


def _inside(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def new_columns(rows: Sequence[Row], known: Sequence[JsonColumn]) -> list[JsonColumn]:
    """Columns for fields that have a value and no column yet, in the order in which they first came."""
    taken = {column.path[0] for column in known if len(column.path) == 1}
    if taken.issuperset(set().union(*rows)):
        return []
    names = {column.name.lower() for column in known}
    found: list[JsonColumn] = []
    for name in dict.fromkeys(name for row in rows for name in row if name not in taken):
        dtype = type_of(values_of(rows, (name,)))
        if pa.types.is_null(dtype):
            continue
        label = name if name and name.lower() not in names else spare_name(name)
        names.add(label.lower())
        found.append(JsonColumn(label, dtype, (name,)))
    return found


def spare_name(field_name: str) -> str:
    """The column of a field whose own name cannot be one: it is empty, or another differs from it by case only."""
    return f"{field_name}_{zlib.crc32(field_name.encode('utf-8', 'backslashreplace')):08x}"


def convert(rows: Sequence[Row], columns: Iterable[JsonColumn]) -> Converted:
    """Every column of the rows. Peak memory: the rows and their columns."""
    done = Converted()
    for column in columns:
        values = values_of(rows, column.path)
        array = _quick(values, column.type)
        if array is None:
            array = _by_value(values, column, done)
        done.arrays.append(array)
    return done


def widened(columns: Sequence[JsonColumn], wider: Mapping[str, pa.DataType]) -> tuple[JsonColumn, ...]:
    return tuple(replace(c, type=join(c.type, wider[c.name])) if c.name in wider else c for c in columns)


def join(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """The least type that holds values of both; a column of nulls has none yet."""
    if pa.types.is_null(a) or pa.types.is_null(b):
        return b if pa.types.is_null(a) else a
    return lattice.join(a, b)


def type_of(values: Iterable[Any]) -> pa.DataType:
    """The narrowest type of all values; null when there is none."""
    dtype = pa.null()
    for value in values:
        if value is not None:
            dtype = join(dtype, _type_of(value))
            if dtype == pa.string():
                return dtype
    return dtype


def _type_of(value: Any) -> pa.DataType:
    found = pa.string()
    match value:
        case bool():
            found = pa.bool_()
        case int() if -(2**63) <= value < 2**63:
            found = pa.int64()
        case int() if abs(value) < 10**38:
            found = _BIG
        case float() | JsonNumber():
            found = pa.float64()
        case Decimal() if value.is_finite():
            scale = max(-int(value.as_tuple().exponent), 0)
            found = pa.decimal128(20 + scale, scale) if scale <= 18 and abs(value) < 10**20 else pa.string()
        case datetime():
            found = INSTANT
        case date():
            found = pa.date32()
        case str() if _TIMESTAMP.fullmatch(value) and _instant(value, "s") is not None:
            found = INSTANT
        case str() if _DATE.fullmatch(value) and _day(value) is not None:
            found = pa.date32()
    return found


def text_of(value: Any) -> str:
    """A string as it is, everything else as JSON text without spaces."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    try:
        return orjson.dumps(value).decode()
    except (TypeError, orjson.JSONEncodeError):  # deeper than 254 levels, beyond 64 bits, or not UTF-8
        return json.dumps(value, ensure_ascii=False, default=float, separators=(",", ":"))


_QUICK = (
    pa.types.is_string,
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_floating,
    pa.types.is_timestamp,
)


def _quick(values: list[Any], dtype: pa.DataType) -> pa.Array | None:
    """The whole column at once where its values are what they should be; None where they must be looked at."""
    if not any(matches(dtype) for matches in _QUICK):
        return None
    types = set(map(type, values))
    nested = not types.isdisjoint((dict, list))
    if (nested and not pa.types.is_string(dtype)) or (bool in types and pa.types.is_floating(dtype)):
        return None  # Arrow would make a struct of it first, or a number of true
    try:
        if nested:
            return pa.array([None if value is None else text_of(value) for value in values], dtype)
        array = pa.array(values)  # without a type: with one, true would become 1
        same = array.type == dtype or pa.types.is_null(array.type)
        wider = pa.types.is_floating(dtype) and pa.types.is_integer(array.type)
        return array.cast(dtype) if same or wider or (dtype == INSTANT and pa.types.is_string(array.type)) else None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError):
        return None


def _by_value(values: list[Any], column: JsonColumn, done: Converted) -> pa.Array:
    fitted: list[Any] = []
    for position, value in enumerate(values):
        fits, kept = _fit(value, column)
        fitted.append(kept)
        if fits:
            continue
        broken = isinstance(value, str) and not _is_utf8(value)
        found = pa.string() if broken else _type_of(value)
        if column.fixed or broken or join(column.type, found) == column.type:
            reason = "the text is not UTF-8" if broken else f"the value does not fit {type_text(column.type)}"
            done.misfits.setdefault(position, (column.name, reason))
        else:
            done.wider[column.name] = join(done.wider.get(column.name, column.type), found)
    return pa.array(fitted, column.type)


def _fit(value: Any, column: JsonColumn) -> tuple[bool, Any]:
    """Whether a value fits, and what of it goes into the column."""
    dtype = column.type
    if value is None:
        return True, None
    kept: Any = None
    if pa.types.is_string(dtype):
        text = text_of(value)
        kept = text if _is_utf8(text) else None
    elif pa.types.is_boolean(dtype):
        kept = value if isinstance(value, bool) else None
    elif dtype == INSTANT:
        kept = _instant(value, column.unit) if column.fixed or isinstance(value, (str, datetime)) else None
    elif pa.types.is_date(dtype):
        kept = _day(value)
    else:
        kept = _number(value, dtype, lenient=column.fixed)
    return kept is not None, kept


def _number(value: Any, dtype: pa.DataType, *, lenient: bool) -> Any:
    """A number as the type holds it. A declared type also takes numbers that the API writes as text."""
    if isinstance(value, str) and lenient:
        try:
            value = Decimal(value.strip())
        except ArithmeticError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    exact = Decimal(str(value))
    if pa.types.is_floating(dtype):
        return float(value) if not exact.is_finite() or abs(exact) < 10**300 else None
    return _exact(exact, dtype, lenient=lenient or isinstance(value, int)) if exact.is_finite() else None


def _exact(exact: Decimal, dtype: pa.DataType, *, lenient: bool) -> Any:
    if pa.types.is_integer(dtype):
        whole = lenient and exact == exact.to_integral_value()
        return int(exact) if whole and -(2**63) <= exact < 2**63 else None
    scaled = exact.scaleb(dtype.scale)
    return exact if scaled == scaled.to_integral_value() and abs(scaled) < 10**dtype.precision else None


def _instant(value: Any, unit: Unit) -> datetime | None:
    try:
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            micros = int(value * (1000 if unit == "ms" else 1_000_000))
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
        if isinstance(value, str):
            found = datetime.fromisoformat(value.strip())
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return None


def _day(value: Any) -> date | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else None
    except ValueError:
        return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without(arrays: Sequence[pa.Array], positions: Iterable[int], count: int) -> list[pa.Array]:
    """The arrays without the rows at these positions."""
    keep = np.ones(count, dtype=bool)
    keep[list(positions)] = False
    mask = pa.array(keep)
    return [array.filter(mask) for array in arrays]

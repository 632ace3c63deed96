"""Cursor values as canonical text: what a checkpoint stores, a source compares with, and a person reads."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from import_platform.errors import ConfigError

CursorValue = str
"""Canonical text of one value: ISO 8601 in UTC with microseconds, ISO date, or plain decimal digits."""


def encode(value: Any, dtype: pa.DataType) -> CursorValue:
    """Canonical text of a value of an orderable type: equal values give equal text. A naive datetime is taken as UTC.

    Raises:
        ConfigError: values of this type, and decimals that are NaN or infinite, have no order that can be stored
            (choose another cursor column).
    """
    if isinstance(value, datetime):
        aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return aware.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        return _plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ConfigError(
            "a cursor must be a timestamp, date, integer, decimal or text",
            type=str(dtype),
            remedy="Choose another cursor column or sync: full_refresh.",
        )
    return str(value)


def _plain(value: Decimal) -> CursorValue:
    """Digits without exponent, trailing zeros or a negative zero; `normalize` would round to 28 digits."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def decode(text: CursorValue, dtype: pa.DataType) -> Any:
    """The Python value of canonical text; a datetime is aware (UTC) unless its type has no zone."""
    if pa.types.is_timestamp(dtype):
        value = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        return value if dtype.tz else value.replace(tzinfo=None)
    if pa.types.is_date(dtype):
        return date.fromisoformat(text)
    if pa.types.is_integer(dtype):
        return int(text)
    if pa.types.is_decimal(dtype):
        return Decimal(text)
    return text


def looked_back(value: CursorValue, by: str, dtype: pa.DataType) -> CursorValue:
    """An earlier cursor value: `by` is a number with s, m, h or d for times and dates, a plain number for numbers.

    Raises:
        ConfigError: values of this type cannot be counted back from like this.
    """
    match = _LOOKBACK.fullmatch(by)
    known = decode(value, dtype)
    if match is not None and isinstance(known, date) and match[2]:
        span = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
        span = span if isinstance(known, datetime) else timedelta(days=-(-span // timedelta(days=1)))
        floor = known.min.replace(tzinfo=known.tzinfo) if isinstance(known, datetime) else date.min
        return encode(known - span if known - floor > span else floor, dtype)
    if match is not None and isinstance(known, (int, Decimal)) and not match[2]:
        return encode(known - int(match[1]), dtype)
    raise ConfigError(
        "the lookback does not go with the type of the cursor",
        lookback=by,
        type=str(dtype),
        remedy="Write 30m, 2h or 7d for times and dates, a plain number for numbers.",
    )


_LOOKBACK = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def later(a: CursorValue | None, b: CursorValue | None, dtype: pa.DataType) -> CursorValue | None:
    """The greater of two cursor values; None counts as less than everything."""
    if a is None or b is None:
        return b if a is None else a
    return a if decode(a, dtype) >= decode(b, dtype) else b

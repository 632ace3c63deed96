"""What each declared SQLite type becomes in the lake, and how values of any storage class are fitted into it.

SQLite types values, not columns, so a column may hold what its declaration does not say. The declaration decides:

    contains INT                          int64
    BOOL, BOOLEAN                         bool; other numbers than 0 and 1 are rejected
    CHAR, CLOB, TEXT, JSON, UUID, none    string; numbers as SQLite prints them, blobs are rejected
    BLOB, BINARY                          binary; text as its UTF-8 bytes
    REAL, FLOA, DOUB, NUMERIC, DECIMAL    double, as SQLite stores them; integers that no double holds are rejected
    DATE                                  date32 where the values are ISO dates
    DATETIME, TIMESTAMP                   timestamp[us, UTC] where the values are ISO text; no offset is UTC
    any other                             double, as SQLite's NUMERIC affinity

DATE, DATETIME and TIMESTAMP columns that hold something else when they are discovered (seconds since 1970, say) become
int64 where the values are integers, else string. What does not fit its column's type is a rejected row, never NULL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from import_platform.core.column_range import TIME_MIN, micros_expr

TIMESTAMP = pa.timestamp("us", "UTC")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_PLAIN_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)
"""The common spellings: Python's parser reads them as the vectorised one does, a hundred times faster for one value."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_PER_DAY = 86_400_000_000


def declared_type(declared: str) -> pa.DataType:
    """The type that a declaration asks for: our rules for dates and booleans, then SQLite's own in their order."""
    name = declared.upper()
    first = re.split(r"[^A-Z]", name, maxsplit=1)[0]
    if first in ("DATETIME", "TIMESTAMP", "TIMESTAMPTZ"):
        return TIMESTAMP
    if first == "DATE":
        return pa.date32()
    if first in ("BOOL", "BOOLEAN"):
        return pa.bool_()
    if "INT" in name:
        return pa.int64()
    if not name or first in ("JSON", "JSONB", "UUID", "GUID") or any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return pa.string()
    return pa.binary() if "BLOB" in name or "BINARY" in name else pa.float64()


def observed_type(declared: pa.DataType, values: Sequence[Any]) -> pa.DataType:
    """The declared type, unless it is a date or timestamp that the values are not."""
    if not (pa.types.is_timestamp(declared) or pa.types.is_date(declared)) or not values:
        return declared
    if all(isinstance(value, str) for value in values):
        dates = all(_ISO_DATE.fullmatch(value) for value in values)
        if pa.types.is_date(declared) and dates:
            return declared
        return TIMESTAMP if _instants(values).null_count() == 0 else pa.string()
    return pa.int64() if all(isinstance(value, int) for value in values) else pa.string()


def to_array(values: Sequence[Any], target: pa.DataType) -> tuple[pa.Array, list[int]]:
    """The values in a type, NULL where they do not fit, and the positions of those."""
    if pa.types.is_timestamp(target) or pa.types.is_date(target):
        return _instant_array(values, target)
    try:
        if not pa.types.is_string(target) and not pa.types.is_boolean(target):
            return pa.array(values, target), []
        if not pa.types.is_boolean(target) and all(value is None or type(value) is str for value in values):
            return pa.array(values, target), []
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        pass
    fitted = [_FIT[str(target)](value) for value in values]
    bad = [
        position
        for position, (value, fit) in enumerate(zip(values, fitted, strict=True))
        if fit is None and value is not None
    ]
    return pa.array(fitted, target), bad


def instant_micros(text: object) -> int | None:
    """Microseconds since 1970 of one ISO text; None for anything else. SQL calls it, so it takes any value."""
    if not isinstance(text, str):
        return None
    if _PLAIN_INSTANT.fullmatch(text):
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            return None
        if instant.year >= TIME_MIN.year:
            return (instant.replace(tzinfo=instant.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)
    value = _instants([text])[0]
    return None if value is None else int(value)


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _instants(values: Sequence[Any]) -> pl.Series:
    texts = pl.Series(
        "value", [value if isinstance(value, str) and value.isascii() else None for value in values], pl.String
    )
    return texts.to_frame().select(micros_expr("value", pl.String()).alias("value")).to_series()


def _instant_array(values: Sequence[Any], target: pa.DataType) -> tuple[pa.Array, list[int]]:
    micros = _instants(values)
    if pa.types.is_date(target):
        days = micros.to_frame().select(
            pl.when(pl.col("value") % _MICROS_PER_DAY == 0).then(pl.col("value") // _MICROS_PER_DAY)
        )
        result = days.to_series().cast(pl.Int32).to_arrow().cast(target)
    else:
        result = micros.to_arrow().cast(target)
    missing = result.is_null().to_pylist()
    return result, [position for position, value in enumerate(values) if value is not None and missing[position]]


def _fit_int(value: Any) -> int | None:
    return value if isinstance(value, int) else int(value) if isinstance(value, float) and value.is_integer() else None


def _fit_float(value: Any) -> float | None:
    if isinstance(value, int):
        return float(value) if Decimal(float(value)) == value else None
    return value if isinstance(value, float) else None


def _fit_bool(value: Any) -> bool | None:
    return bool(value) if isinstance(value, (int, float)) and value in (0, 1) else None


def _fit_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value if value.isascii() or _is_unicode(value) else None
    return repr(value) if isinstance(value, (int, float)) else None


def _fit_bytes(value: Any) -> bytes | None:
    return (
        value.encode("utf-8", "surrogateescape")
        if isinstance(value, str)
        else value
        if isinstance(value, bytes)
        else None
    )


def _is_unicode(value: str) -> bool:
    """False for text that was not UTF-8: the reader marks its odd bytes as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_FIT: dict[str, Callable[[Any], Any]] = {
    "int64": _fit_int,
    "double": _fit_float,
    "bool": _fit_bool,
    "string": _fit_text,
    "binary": _fit_bytes,
}

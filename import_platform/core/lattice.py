"""The lattice of column types: where two types meet, and values moved up it without loss or checked on the way down.

int8 -> int16 -> int32 -> int64 -> decimal -> double, float -> double, date -> timestamp, anything -> text. Types are
those of the lake (`core.schema.lake_type`).
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.arrow import polars_type
from import_platform.core.column_range import parsed_instants

INSTANT = pa.timestamp("us", "UTC")
DECIMAL_DIGITS_MAX = 38
_INSTANT_TEXT = "%Y-%m-%dT%H:%M:%SZ"
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}
_TRUE, _FALSE = ["true", "t", "1"], ["false", "f", "0"]


def kind(dtype: pa.DataType) -> str:
    """integer, decimal, float, date, timestamp, boolean, text or binary; anything else by its own name."""
    for name, matches in _KINDS:
        if matches(dtype):
            return name
    return str(dtype)


_KINDS = (
    ("integer", pa.types.is_integer),
    ("decimal", pa.types.is_decimal),
    ("float", pa.types.is_floating),
    ("date", pa.types.is_date),
    ("timestamp", pa.types.is_timestamp),
    ("boolean", pa.types.is_boolean),
    ("text", pa.types.is_string),
    ("binary", pa.types.is_binary),
)


def join(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """The least type that holds the values of both; text where nothing else does.

    A double takes whole numbers and decimals in as the nearest double, as a database does when a column is made one.
    Decimals that would need more than 38 digits become text, which keeps them exact.
    """
    if a == b:
        return a
    first, second = sorted((a, b), key=lambda dtype: _RANK.get(kind(dtype), len(_RANK)))
    match kind(first), kind(second):
        case "integer", "integer":
            meeting = first if first.bit_width > second.bit_width else second
        case "integer" | "decimal", "decimal":
            meeting = _decimal(first, second)
        case "integer", "float" if first.bit_width <= 16 and second == pa.float32():
            meeting = pa.float32()
        case "integer" | "decimal" | "float", "float":
            meeting = pa.float64()
        case "date", "timestamp":
            meeting = INSTANT
        case _:
            meeting = pa.string()
    return meeting


_RANK = {"integer": 0, "decimal": 1, "float": 2, "date": 3, "timestamp": 4}


def _decimal(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    shapes = [(_DIGITS[t.bit_width], 0) if pa.types.is_integer(t) else (t.precision - t.scale, t.scale) for t in (a, b)]
    whole, scale = (max(part) for part in zip(*shapes, strict=True))
    return pa.decimal128(whole + scale, scale) if whole + scale <= DECIMAL_DIGITS_MAX else pa.string()


def is_readable_as(file: pa.DataType, table: pa.DataType) -> bool:
    """True when files of one type may stay under a table's wider one.

    Measured with DuckDB's delta extension 1.5.5, Polars 2.1 and deltalake 1.6.6 (pyarrow and DataFusion) on files
    with statistics, filters included: Polars refuses all others, and text of a timestamp differs between readers.
    """
    if file == table:
        return True
    if pa.types.is_integer(file) and pa.types.is_integer(table):
        return bool(file.bit_width <= table.bit_width)
    if pa.types.is_decimal(file) and pa.types.is_decimal(table):
        return bool(file.scale == table.scale and file.precision <= table.precision)
    return bool(pa.types.is_float32(file) and pa.types.is_float64(table))


def widened(array: pa.Array, target: pa.DataType) -> pa.Array:
    """The values in a type that their own one meets on the way up (`join(array.type, target) == target`)."""
    if array.type == target:
        return array
    if pa.types.is_string(target):
        return _text(array)
    if pa.types.is_floating(target):
        return array.cast(target, safe=False)
    return array.cast(target)


def _text(array: pa.Array) -> pa.Array:
    """One text per value whatever the type: digits, ISO 8601 in UTC with microseconds, true and false, hex of bytes."""
    if pa.types.is_timestamp(array.type):
        return pc.strftime(array.cast(INSTANT), format=_INSTANT_TEXT)
    if pa.types.is_decimal128(array.type):  # Arrow would write small ones with an exponent
        return _series(array).cast(pl.String).to_arrow().cast(pa.string())
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        return _series(array).bin.encode("hex").to_arrow().cast(pa.string())
    if pa.types.is_nested(array.type):
        return _json(array)
    if pa.types.is_duration(array.type):
        return _iso_duration(array)
    return array.cast(pa.string())


def _json(array: pa.Array) -> pa.Array:
    """JSON text of lists, structs and maps, whose entries are `{"key": .., "value": ..}` in a list."""
    wrapped = pl.DataFrame({"v": pl.from_arrow(array)}).to_struct("row").struct.json_encode()
    inner = wrapped.str.slice(len('{"v":')).str.head(-1)
    return inner.set(_series(array).is_null(), None).to_arrow().cast(pa.string())


def _iso_duration(array: pa.Array) -> pa.Array:
    """ISO 8601 in seconds: `PT93784.5S`, `-PT1S`."""
    micros = _series(array.cast(pa.duration("us")).cast(pa.int64()))
    digits = micros.abs().cast(pl.String).str.zfill(7)
    fraction = digits.str.slice(-6).str.strip_chars_end("0")
    parts = pl.DataFrame({"s": micros < 0, "whole": digits.str.head(-6), "part": fraction})
    text = pl.concat_str(
        pl.when("s").then(pl.lit("-PT")).otherwise(pl.lit("PT")),
        "whole",
        pl.when(pl.col("part") == "").then(pl.lit("")).otherwise(pl.concat_str(pl.lit("."), "part")),
        pl.lit("S"),
    )
    return parts.select(text).to_series().to_arrow().cast(pa.string())


def fitted(array: pa.Array, stored: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """The values in a type they may not all fit, null for those, and a mask of them; None when all fit.

    A value fits when it comes back from the stored type as it was. Text fits a type that it spells.
    """
    if join(array.type, stored) == stored:
        return widened(array, stored), None
    found = _lowered(array, stored)
    bad = pc.and_(found.is_null(), array.is_valid())
    return found, bad if pc.any(bad).as_py() else None


def _lowered(array: pa.Array, stored: pa.DataType) -> pa.Array:
    if pa.types.is_string(array.type):
        return _spelled(array, stored)
    if (kind(array.type), kind(stored)) not in _LOWERABLE:
        return pa.nulls(len(array), stored)
    values = _series(array)
    lowered = values.cast(polars_type(stored), strict=False)
    # Back in its own type, but for a double, which decimals of its own size may not hold.
    compared = pl.Float64 if "float" in (kind(array.type), kind(stored)) else values.dtype
    same = lowered.cast(compared, strict=False).eq_missing(values.cast(compared))
    return lowered.set(~same, None).to_arrow().cast(stored)


_LOWERABLE = {
    *((a, b) for a in ("integer", "decimal", "float") for b in ("integer", "decimal", "float")),
    ("timestamp", "date"),
}


def _spelled(array: pa.Array, stored: pa.DataType) -> pa.Array:
    """Text as values of another type; null where it spells none."""
    text = _series(array)
    if pa.types.is_boolean(stored):
        lower = text.str.to_lowercase()
        said = lower.is_in(_TRUE)
        return said.set(~(said | lower.is_in(_FALSE)).fill_null(False), None).to_arrow()
    if kind(stored) in ("date", "timestamp"):
        instants = pl.DataFrame({"v": text}).select(parsed_instants(pl.col("v"))).to_series()
        return fitted(instants.to_arrow().cast(INSTANT), stored)[0] if stored != INSTANT else instants.to_arrow()
    if pa.types.is_decimal(stored):
        whole = stored.precision - stored.scale
        plain = text.str.contains(rf"^-?0*[0-9]{{0,{whole}}}(\.[0-9]{{0,{stored.scale}}}0*)?$") & text.str.contains(
            "[0-9]"
        )
        return text.set(~plain.fill_null(False), None).cast(polars_type(stored), strict=False).to_arrow().cast(stored)
    if kind(stored) in ("integer", "float"):
        return text.cast(polars_type(stored), strict=False).to_arrow().cast(stored)
    if pa.types.is_binary(stored):
        return text.str.decode("hex", strict=False).to_arrow().cast(stored)
    return pa.nulls(len(array), stored)


def _series(array: pa.Array) -> pl.Series:
    return pl.Series("", pl.from_arrow(array))

"""The key hash. It decides hash leaves and fills key filters, so it is a file format: specified here, pinned by tests.

The hash of one value is XXH3-64 (seed 0, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) of the bytes
of its canonical text; NULL has a constant of its own. The same value in a wider type has the same text:

    integer, any width      decimal digits                       5 -> `5`
    decimal, any scale      trailing fractional zeros dropped    5.00 -> `5`, -0.50 -> `-0.5`
    float                   whole numbers under 2**63 as integers, 5.0 -> `5`, -0.0 -> `0`; `nan`, `inf`, `-inf`; others
                            `f` and the digits of their IEEE 754 binary64 bits, 0.5 -> `f4602678819172646912`,
                            so a fraction hashes alike as real and double but not as decimal
    text, uuid, enum        as it is, in UTF-8, case kept
    binary                  the bytes themselves
    boolean                 `true`, `false`
    date                    days since 1970-01-01 and `d`        1970-01-02 -> `1d`
    timestamp, any unit     microseconds since 1970-01-01 UTC and `us`; nanoseconds and `ns` where needed
    time, duration          likewise, since midnight
    list                    its elements' hashes, joined by `,` in `[]`
    struct                  its fields' hashes folded like columns

A row folds the hashes of its columns from left to right, first column first: h = mix(h) ^ hash(column), mix being
the finaliser of SplitMix64. A row of one column has the hash of its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash  # registers the `nchash` namespace on expressions

from import_platform.core.quick_text import equally_long, lookup_range
from import_platform.errors import ConfigError

HASH_VERSION: Final = 1
"""Stored with every table; a change of the definition above needs a new version beside the old one."""

NULL_HASH: Final = 0x9E3779B97F4A7C15
_MICROS_OF_MS: Final = 1000

Hashes = npt.NDArray[np.uint64]


def key_hashes(frame: pl.DataFrame, columns: Sequence[str]) -> Hashes:
    """One well-mixed 64-bit hash per row over `columns` in the order given; zeros where no column is given.

    Memory: the canonical text of one column at a time plus 24 bytes a row.

    Raises:
        ConfigError: a column's type has no defined hash.
    """
    folded: Hashes | None = None
    for name in columns:
        hashed = _series_hashes(frame.get_column(name))
        folded = hashed if folded is None else _mixed(folded) ^ hashed
    return np.zeros(frame.height, np.uint64) if folded is None else folded


def _series_hashes(series: pl.Series) -> Hashes:
    if isinstance(series.dtype, pl.Struct):
        hashed = key_hashes(series.struct.unnest(), [field.name for field in series.dtype.fields])
        return np.where(series.is_null().to_numpy(), np.uint64(NULL_HASH), hashed)
    if isinstance(series.dtype, (pl.List, pl.Array)):
        return _text_hashes(_list_text(series))
    quick = _quick_hashes(series)
    return _text_hashes(_canonical(series)) if quick is None else quick


def _quick_hashes(series: pl.Series) -> Hashes | None:
    """The same hashes as of the canonical text, for numbers that are alike; None for others."""
    series, dtype = series.alias("value"), series.dtype  # the name of a column may look like a pattern to Polars
    is_time = isinstance(dtype, pl.Datetime) and dtype.time_unit == "us"
    if dtype.is_float():
        hashed = _quick_fractions(series.cast(pl.Float64))
    elif dtype in (pl.Boolean, pl.Date) or is_time or (dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128)):
        numbers = series.cast(pl.UInt8) if dtype == pl.Boolean else series.to_physical()
        numbers = numbers if numbers.dtype == pl.UInt64 else numbers.cast(pl.Int64)
        hashed = _quick_numbers(numbers, dtype, suffix=b"us" if is_time else b"")
    else:
        return None
    if hashed is None or not series.null_count():
        return hashed
    return np.where(series.is_null().to_numpy(), np.uint64(NULL_HASH), hashed)


def _quick_numbers(numbers: pl.Series, dtype: pl.DataType, *, suffix: bytes) -> Hashes | None:
    range_ = lookup_range(numbers)
    least = numbers.min() if range_ is None else range_[0]
    if least is None:
        return None
    values = (numbers.fill_null(least) if numbers.null_count() else numbers).to_numpy()
    if range_ is not None:
        every = pl.Series(np.arange(range_[1] - range_[0] + 1).astype(values.dtype)) + range_[0]
        found: Hashes = _text_hashes(_canonical(every.cast(dtype)))[values - values.dtype.type(range_[0])]
        return found
    if dtype in (pl.Boolean, pl.Date):
        return None
    text = equally_long(values, suffix=suffix)
    return None if text is None else _text_hashes(text)


def _quick_fractions(floats: pl.Series) -> Hashes | None:
    """Of floats none of which is whole, infinite or no number."""
    filled = floats.fill_null(0.5).to_numpy()
    if not np.isfinite(filled).all() or (filled == np.floor(filled)).any():
        return None
    text = equally_long(filled.view(np.uint64), prefix=b"f")
    return None if text is None else _text_hashes(text)


def _text_hashes(text: pl.Series) -> Hashes:
    expression = polars_hash.col("text").nchash.xxh3_64()
    hashed = text.alias("text").to_frame().select(expression).to_series()
    return hashed.fill_null(NULL_HASH).to_numpy()


def _canonical(series: pl.Series) -> pl.Series:
    """The canonical text (or bytes) of a series without nesting; null stays null."""
    name, dtype = series.name, series.dtype
    if dtype in (pl.String, pl.Binary):
        return series
    series = series.alias("value")  # the name of a column may look like a pattern to Polars
    if dtype.is_integer() or dtype in (pl.Boolean, pl.Categorical, pl.Enum, pl.Null):
        return series.cast(pl.String)
    value = pl.col("value")
    if isinstance(dtype, pl.Decimal):
        text = value.cast(pl.String)
        expression = text.str.strip_chars_end("0").str.strip_chars_end(".") if dtype.scale else text
    elif dtype.is_float():
        return _float_text(series.cast(pl.Float64))
    elif dtype == pl.Date:
        expression = value.to_physical().cast(pl.String) + "d"
    elif isinstance(dtype, (pl.Datetime, pl.Duration, pl.Time)):
        expression = _ticks_text(value.to_physical(), getattr(dtype, "time_unit", "ns"))
    else:
        raise ConfigError(
            "a column of this type cannot be hashed",
            column=name,
            type=str(dtype),
            remedy="Choose another primary key or partition the table by a time or number column.",
        )
    return series.to_frame().select(expression).to_series()


def _ticks_text(ticks: pl.Expr, unit: str) -> pl.Expr:
    if unit == "us":
        return ticks.cast(pl.String) + "us"
    if unit == "ms":  # 64-bit milliseconds overflow as microseconds in year 294247
        return (ticks.cast(pl.Int128) * _MICROS_OF_MS).cast(pl.String) + "us"
    whole = ticks % 1000 == 0
    return pl.when(whole).then((ticks // 1000).cast(pl.String) + "us").otherwise(ticks.cast(pl.String) + "ns")


def _float_text(floats: pl.Series) -> pl.Series:
    bits = pl.Series(floats.fill_null(0.0).to_numpy().view(np.uint64))
    columns = pl.DataFrame({"value": floats, "bits": bits})
    value = pl.col("value")
    text = (
        pl.when(value.is_null())
        .then(None)
        .when(value.is_nan())
        .then(pl.lit("nan"))
        .when(value.is_infinite())
        .then(pl.when(value > 0).then(pl.lit("inf")).otherwise(pl.lit("-inf")))
        .when((value == value.floor()) & (value.abs() < 2.0**63))
        .then(value.cast(pl.Int64, strict=False).cast(pl.String))
        .otherwise("f" + pl.col("bits").cast(pl.String))
    )
    return columns.select(text).to_series()


def _list_text(lists: pl.Series) -> pl.Series:
    lists = lists.arr.to_list() if isinstance(lists.dtype, pl.Array) else lists
    lengths = lists.list.len().fill_null(0).to_numpy()
    elements = lists.filter(pl.Series(lengths > 0)).explode()
    rows = np.repeat(np.arange(len(lists), dtype=np.uint32), lengths)
    joined = (
        pl.DataFrame({"row": rows, "hash": pl.Series(_series_hashes(elements), dtype=pl.UInt64).cast(pl.String)})
        .group_by("row", maintain_order=True)
        .agg(pl.col("hash").str.join(","))
    )
    inner = np.full(len(lists), "", dtype=object)
    inner[joined["row"].to_numpy()] = joined["hash"].to_numpy()
    text = "[" + pl.Series(inner, dtype=pl.String) + "]"
    return text.zip_with(lists.is_not_null(), pl.Series([None], dtype=pl.String).new_from_index(0, len(lists)))


def _mixed(hashes: Hashes) -> Hashes:
    mixed = hashes + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))

"""What single rows decode to. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.arrow import arrow_array, numpy_values

Bytes = np.ndarray[Any, np.dtype[np.int64]]

OFFSET_BYTES = 4


def row_bytes(batch: pa.RecordBatch) -> Bytes:
    """Decoded bytes of each row: values and offsets, nested ones included; the bits that mark nulls are left out."""
    total = np.zeros(batch.num_rows, dtype=np.int64)
    for column in batch.columns:
        total += _bytes(column)
    return total


def _bytes(column: pa.Array) -> Bytes:
    dtype = column.type
    if pa.types.is_dictionary(dtype):
        return _or_zero(pc.take(arrow_array(_bytes(column.dictionary)), column.indices))
    if _has_lengths(dtype):
        return _or_zero(pc.binary_length(column)) + OFFSET_BYTES
    if pa.types.is_string_view(dtype) or pa.types.is_binary_view(dtype):
        return _or_zero(pc.binary_length(column.cast(pa.large_binary()))) + 2 * OFFSET_BYTES
    if pa.types.is_struct(dtype):
        return np.asarray(np.sum([_bytes(child) for child in column.flatten()], axis=0), dtype=np.int64)
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_map(dtype):
        return _of_lists(column)
    try:
        width = -(-dtype.bit_width // 8)
    except ValueError:  # a type whose values have no width of their own: all rows alike
        width = column.nbytes // max(len(column), 1)
    return np.full(len(column), width, dtype=np.int64)


def _has_lengths(dtype: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(dtype)
        or pa.types.is_binary(dtype)
        or pa.types.is_large_string(dtype)
        or pa.types.is_large_binary(dtype)
    )


def _or_zero(values: pa.Array) -> Bytes:
    return pl.Series(values).fill_null(0).cast(pl.Int64).to_numpy()


def _of_lists(column: pa.Array) -> Bytes:
    values = pa.StructArray.from_arrays([column.keys, column.items], ["k", "v"]) if _is_map(column) else column.values
    upto = np.concatenate([[0], np.cumsum(_bytes(values))])
    offsets = numpy_values(column.offsets)
    return np.asarray(np.diff(upto[offsets]) + OFFSET_BYTES, dtype=np.int64)


def _is_map(column: pa.Array) -> bool:
    return bool(pa.types.is_map(column.type))

"""NumPy values as Arrow arrays without pandas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa


def arrow_array(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers or booleans, e.g. a mask for `filter` or ordinals for `take`. Memory: at most one copy.

    `pa.array(values)` looks for pandas first, and imports it where it is installed: 80 MB and half a second.
    """
    return pl.Series(values).to_arrow()


def numpy_values(values: pa.Array) -> npt.NDArray[Any]:
    """Numbers in place, dates and instants as the integers they are stored as; whatever stands where a value is null.

    `values.to_numpy()` imports pandas where it is installed.
    """
    kind = "f" if pa.types.is_floating(values.type) else "u" if pa.types.is_unsigned_integer(values.type) else "i"
    width = values.type.bit_width // 8
    data = values.buffers()[1]
    if data is None:
        return np.empty(0, dtype=f"{kind}{width}")
    return np.frombuffer(data, dtype=f"{kind}{width}", count=len(values), offset=values.offset * width)


def numpy_mask(flags: pa.BooleanArray) -> npt.NDArray[np.bool_]:
    """Booleans as a mask, in one copy; null is False."""
    return pl.Series(flags).fill_null(False).to_numpy()


def joined(batches: Iterable[pa.RecordBatch], *, limit_bytes: int) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, neighbours as one batch of up to `limit_bytes`: work on a batch costs the same
    for a hundred rows as for thousands. Memory: a copy of one such batch."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if held and size + batch.nbytes > limit_bytes:
            yield pa.concat_batches(held) if len(held) > 1 else held[0]
            held, size = [], 0
        held.append(batch)
        size += batch.nbytes
    if held:
        yield pa.concat_batches(held) if len(held) > 1 else held[0]


def arrow_scalar(value: Any, dtype: pa.DataType) -> pa.Scalar:
    """`pa.scalar(value, dtype)`, which asks for pandas too, for what a cursor may be."""
    return pl.Series([value], dtype=polars_type(dtype)).to_arrow().cast(dtype)[0]


def polars_type(dtype: pa.DataType) -> pl.DataType:
    column = pl.from_arrow(pa.nulls(0, dtype))
    assert isinstance(column, pl.Series)
    return column.dtype


def empty_table(schema: pa.Schema) -> pa.Table:
    """`schema.empty_table()`, which asks for pandas too."""
    return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)

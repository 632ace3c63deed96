"""NumPy values as Arrow arrays without pandas."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import polars as pl
import pyarrow as pa


def arrow_array(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers or booleans, e.g. a mask for `filter` or ordinals for `take`. Memory: at most one copy.

    `pa.array(values)` looks for pandas first, and imports it where it is installed: 80 MB and half a second.
    """
    return pl.Series(values).to_arrow()


def empty_table(schema: pa.Schema) -> pa.Table:
    """`schema.empty_table()`, which asks for pandas too."""
    return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)

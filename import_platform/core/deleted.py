"""Rows that a source marks as deleted instead of removing them."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import polars as pl
import pyarrow as pa


def marked(column: pa.Array) -> npt.NDArray[Any]:
    """True where a soft-delete column says deleted: true, a number other than 0, or any instant, date or text.

    Text that says false, no, n, f, 0 or nothing at all is no mark: what applications write for a row that is alive.
    """
    values = pl.Series("", pl.from_arrow(column))
    if values.dtype == pl.Boolean:
        found = values.fill_null(False)
    elif values.dtype.is_numeric():
        found = (values != 0).fill_null(False)
    elif values.dtype == pl.String:
        found = ~values.str.strip_chars().str.to_lowercase().fill_null("").is_in(_ALIVE)
    else:
        found = values.is_not_null()
    return found.to_numpy()


_ALIVE = ["", "0", "f", "false", "n", "no"]

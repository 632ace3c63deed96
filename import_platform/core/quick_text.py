"""Hashes of numbers that are alike, without spelling each one by itself: for `hashing`, whose text they hash. Pure.

Two cases are common enough to be worth it: few different numbers (days, codes, flags), whose hashes are looked up, and
numbers of equally many digits (instants, ids of one batch, fractions), whose digits are written four at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

ROWS_MIN = 1024
"""Shorter columns are hashed the general way: these would not be quicker there."""
LOOKUP_SHARE = 8
"""Hashes are looked up where the numbers' range is at most this part of their count."""

_FOUR_DIGITS = np.array([f"{number:04}".encode() for number in range(10_000)], dtype="S4").view(np.uint32)
_STEP = np.uint64(10_000)
STEP_DIGITS = 4
INLINE_BYTES = 12
_VIEW = np.dtype([("length", np.int32), ("prefix", np.uint32), ("buffer", np.int32), ("offset", np.int32)])


def lookup_range(numbers: pl.Series) -> tuple[int, int] | None:
    """(least, greatest) of integers that are few enough to be looked up."""
    if len(numbers) < ROWS_MIN:
        return None
    low, high = numbers.min(), numbers.max()
    if not isinstance(low, int) or not isinstance(high, int) or (high - low) * LOOKUP_SHARE > len(numbers):
        return None
    return low, high


def equally_long(numbers: npt.NDArray[Any], *, prefix: bytes = b"", suffix: bytes = b"") -> pl.Series | None:
    """The decimal digits of every number between prefix and suffix (four bytes at most each), as Binary.

    None where a number is negative or has more digits than another, or the text is so short that Arrow would want it
    inside its view.
    """
    if len(numbers) < ROWS_MIN:
        return None
    low, high = int(numbers.min()), int(numbers.max())
    width = len(str(high))
    length = len(prefix) + width + len(suffix)
    if low < 0 or len(str(low)) != width or length <= INLINE_BYTES:
        return None
    steps = -(-(width + len(prefix)) // STEP_DIGITS)
    rows = np.empty((len(numbers), steps + bool(suffix)), np.uint32)
    _write_digits(numbers.astype(np.uint64), rows[:, :steps])
    rows[:, steps:] = np.frombuffer(suffix.ljust(STEP_DIGITS, b"\0"), np.uint32)
    first = steps * STEP_DIGITS - width - len(prefix)
    rows.view(np.uint8)[:, first : first + len(prefix)] = np.frombuffer(prefix, np.uint8)
    return _as_binary(rows, first, length)


def _write_digits(rest: npt.NDArray[np.uint64], rows: npt.NDArray[np.uint32]) -> None:
    """Four digits into each column, zeros before the first one."""
    for column in range(rows.shape[1] - 1, 0, -1):
        above = rest // _STEP
        rows[:, column] = _FOUR_DIGITS[rest - above * _STEP]
        rest = above
    rows[:, 0] = _FOUR_DIGITS[rest]


def _as_binary(rows: npt.NDArray[np.uint32], first: int, length: int) -> pl.Series:
    """`length` bytes of every row from the byte `first` on, without a copy: see Arrow's layout of binary views."""
    row_bytes = rows.shape[1] * rows.itemsize
    views = np.empty(len(rows), _VIEW)
    views["length"] = length
    views["prefix"] = rows.view(np.uint8)[:, first : first + 4].copy().view(np.uint32)[:, 0]
    views["buffer"] = 0
    views["offset"] = np.arange(first, first + len(rows) * row_bytes, row_bytes)
    buffers = [None, pa.py_buffer(views), pa.py_buffer(rows)]
    return pl.Series(values=pl.from_arrow(pa.Array.from_buffers(pa.binary_view(), len(rows), buffers)))

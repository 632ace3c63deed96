"""Two sets of rows compared by count and sum of hashes per range of their key. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from import_platform.core import cursor
from import_platform.core.column_range import ColumnRange
from import_platform.core.hashing import key_hashes

RANGES = 1024
"""A thousandth of the rows is read again for one that differs; two arrays of this length are all that is held."""

SAMPLE_EVERY = 512

Places = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Ranges:
    """How keys are cut: by `bounds` of the first key column (ascending, each the least value of the next range) where a
    database can find a range by it, else by a hash of the whole key.
    """

    primary_key: tuple[str, ...]
    bounds: pl.Series | None
    dtype: pa.DataType

    @property
    def count(self) -> int:
        return RANGES if self.bounds is None else self.bounds.len() + 1

    def places(self, rows: pa.RecordBatch) -> Places:
        """The number of the range of every row."""
        if self.bounds is None:
            names = {f"k{i}": pl.from_arrow(rows.column(name)) for i, name in enumerate(self.primary_key)}
            return (key_hashes(pl.DataFrame(names), list(names)) % np.uint64(RANGES)).astype(np.int64)
        first = pl.Series(values=pl.from_arrow(rows.column(self.primary_key[0]))).cast(self.bounds.dtype)
        return np.asarray(self.bounds.search_sorted(first, side="right"), dtype=np.int64)

    def column_range(self, numbers: Sequence[int]) -> ColumnRange | None:
        """What a source reads to see all rows from the first to the last of these ranges; None: every row."""
        if self.bounds is None:
            return None
        lower = self.bounds[min(numbers) - 1] if min(numbers) > 0 else None
        upper = self.bounds[max(numbers)] if max(numbers) < self.bounds.len() else None
        if lower is None and upper is None:
            return None
        low, high = (None if v is None else cursor.encode(v, self.dtype) for v in (lower, upper))
        return ColumnRange(self.primary_key[0], low, high)


def can_cut(dtype: pa.DataType, *, nullable: bool) -> bool:
    """True for a key column of which every database finds a range by its bounds."""
    ordered = pa.types.is_integer(dtype) or pa.types.is_date(dtype) or pa.types.is_timestamp(dtype)
    return bool(ordered and not nullable)


def bounds_of(sample: pl.Series) -> pl.Series:
    """At most RANGES - 1 values that cut the sample into ranges of about as many rows."""
    ordered = sample.drop_nulls().unique().sort()
    if ordered.len() < RANGES:
        return ordered
    at = np.linspace(0, ordered.len() - 1, RANGES + 1)[1:-1].astype(np.int64)
    return ordered.gather(at.tolist()).unique().sort()


@dataclass(frozen=True)
class Tally:
    """Rows and the sum of their hashes per range."""

    rows: npt.NDArray[np.int64]
    sums: Hashes

    @classmethod
    def of(cls, ranges: Ranges) -> Tally:
        return cls(np.zeros(ranges.count, np.int64), np.zeros(ranges.count, np.uint64))

    def add(self, places: Places, hashes: Hashes) -> None:
        np.add.at(self.rows, places, 1)
        np.add.at(self.sums, places, hashes)

    def differing(self, other: Tally) -> list[int]:
        """The numbers of the ranges that do not hold the same rows."""
        found: list[int] = np.flatnonzero((self.rows != other.rows) | (self.sums != other.sums)).tolist()
        return found


def groups(numbers: Sequence[int], rows: npt.NDArray[Any], *, rows_max: int) -> Iterator[list[int]]:
    """Ranges to look into at once, so that their rows stay under `rows_max`; a range is never cut."""
    group: list[int] = []
    for number in numbers:
        if group and sum(int(rows[n]) for n in group) + int(rows[number]) > rows_max:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def runs(group: Sequence[int]) -> list[list[int]]:
    """The group cut where a range is left out, so that one read by bounds gives the rows of a run alone."""
    found: list[list[int]] = []
    for number in group:
        if not found or number != found[-1][-1] + 1:
            found.append([])
        found[-1].append(number)
    return found

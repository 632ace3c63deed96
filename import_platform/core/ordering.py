"""Whether the rows of files come in an order, and what it takes to group them by its first column. Pure.

Rows are looked at batch by batch and forgotten; what is kept are counts, places, and one row of the ordering columns.
No value of a row is ever part of a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.row_bytes import Bytes, row_bytes

Mask = np.ndarray[Any, np.dtype[np.bool_]]
WIDEST = 5
"""So many of the widest rows are remembered."""

COPIES = 2
"""Of a group's rows while it is gathered: the pieces, and the whole that they become."""


@dataclass(frozen=True)
class Place:
    """A row of a file, counted from 0."""

    file: str
    row: int


@dataclass(frozen=True)
class Extent:
    """Consecutive rows from a place on, and what they decode to."""

    place: Place
    rows: int
    bytes: int


class Grouping(StrEnum):
    """How rows with the same first column can be brought together."""

    STREAM = "stream"  # they are neighbours through all files in name order
    MERGE = "merge"  # they are neighbours in each file; the files have to be merged
    SORT = "sort"  # they are anywhere; sort first, or hold everything


@dataclass(frozen=True)
class Ordering:
    """What was seen. `violations` are rows lower than the row before them in their file, `between_files` files whose
    first row is lower than the last one of the file before; `first` is the place of the first of either.

    `nulls` is the end at which nulls were expected, the one with fewer violations; None where there are none.
    `changes` counts rows whose first column differs from the row before, over all files; `merge_bytes` is the sum of
    each file's largest group.
    """

    columns: tuple[str, ...]
    files: int
    rows: int
    decoded_bytes: int
    violations: int
    between_files: int
    first: Place | None
    nulls: str | None
    changes: int
    widest: tuple[Extent, ...]
    largest_group: Extent | None
    merge_bytes: int
    grouping: Grouping

    @property
    def is_sorted(self) -> bool:
        """Through all files, in the order they were looked at."""
        return not self.violations and not self.between_files

    def group_bytes(self, batch_bytes: int) -> int:
        """What a program needs to hold the rows of any one first value, while it reads batches of this size: twice the
        largest group and a batch of each file that is open; everything where neighbours are not alike."""
        batch = max([batch_bytes, *(extent.bytes for extent in self.widest)])
        match self.grouping:
            case Grouping.STREAM:
                return COPIES * (self.largest_group.bytes if self.largest_group else 0) + batch
            case Grouping.MERGE:
                return COPIES * self.merge_bytes + self.files * batch
            case Grouping.SORT:
                return COPIES * self.decoded_bytes + batch


@dataclass
class _Descents:
    """Counted for one end at which nulls may stand: whole rows, and the first column alone."""

    nulls_last: bool
    rows: int = 0
    between: int = 0
    first: Place | None = None
    of_first_column: int = 0
    of_first_column_between: int = 0


@dataclass
class _Runs:
    """Consecutive rows with the same first column."""

    largest: Extent | None = None
    _open: Extent | None = None

    def add(self, place: Place, sizes: Bytes, starts: Mask) -> None:
        """Rows from `place` on; `starts` marks those that begin a new run."""
        begun = np.flatnonzero(starts)
        if not begun.size or begun[0] != 0:
            begun = np.concatenate([[0], begun])
        sums = np.add.reduceat(sizes, begun)
        counts = np.diff([*begun, len(sizes)])
        joined = self._open is not None and not starts[0]
        if joined and self._open is not None:
            self._note(Extent(self._open.place, self._open.rows + int(counts[0]), self._open.bytes + int(sums[0])))
        if not joined or len(begun) > 1:
            rest = 1 if joined else 0
            at = int(np.argmax(sums[rest:])) + rest
            self._note(_extent(place, begun, counts, sums, at))
        last = _extent(place, begun, counts, sums, len(begun) - 1)
        if joined and len(begun) == 1 and self._open is not None:
            last = Extent(self._open.place, self._open.rows + last.rows, self._open.bytes + last.bytes)
        self._open = last

    def end(self) -> None:
        self._open = None

    def _note(self, extent: Extent) -> None:
        if self.largest is None or extent.bytes > self.largest.bytes:
            self.largest = extent


@dataclass
class OrderCheck:
    """Looks at the rows of files, one file after the other: `begin(file)`, then `add` for each of its batches.

    `columns` are those of the order; the batches have all columns of the files.
    """

    columns: tuple[str, ...]
    _file: str = ""
    _files: int = 0
    _rows: int = 0
    _bytes: int = 0
    _changes: int = 0
    _has_nulls: bool = False
    _is_first_batch: bool = False
    _last: pl.DataFrame | None = None
    _widest: list[Extent] = field(default_factory=list)
    _runs: _Runs = field(default_factory=_Runs)
    _runs_of_file: _Runs = field(default_factory=_Runs)
    _merge_bytes: int = 0
    _descents: tuple[_Descents, _Descents] = field(default_factory=lambda: (_Descents(False), _Descents(True)))

    def begin(self, file: str) -> None:
        self._end_file()
        self._file, self._is_first_batch = file, True
        self._files += 1

    def add(self, at: int, batch: pa.RecordBatch) -> None:
        """The next rows of the file, the first of which has position `at`. Holds the batch and its sizes meanwhile."""
        if not batch.num_rows:
            return
        keys = _keys(batch, self.columns)
        sizes = row_bytes(batch)
        self._rows += batch.num_rows
        self._bytes += int(sizes.sum())
        self._has_nulls = self._has_nulls or bool(keys.null_count().sum_horizontal().item())
        self._note_widest(at, sizes)
        starts = self._compare(at, keys)
        place = Place(self._file, at)
        self._runs.add(place, sizes, starts)
        if self._is_first_batch:
            starts[0] = True
        self._runs_of_file.add(place, sizes, starts)
        self._last, self._is_first_batch = keys.tail(1), False

    def found(self) -> Ordering:
        self._end_file()
        counted = min(self._descents, key=lambda each: each.rows + each.between)
        return Ordering(
            columns=self.columns,
            files=self._files,
            rows=self._rows,
            decoded_bytes=self._bytes,
            violations=counted.rows,
            between_files=counted.between,
            first=counted.first,
            nulls=("last" if counted.nulls_last else "first") if self._has_nulls else None,
            changes=self._changes,
            widest=tuple(self._widest),
            largest_group=self._runs.largest,
            merge_bytes=self._merge_bytes,
            grouping=_grouping(counted),
        )

    def _end_file(self) -> None:
        largest = self._runs_of_file.largest
        self._merge_bytes += largest.bytes if largest is not None else 0
        self._runs_of_file = _Runs()

    def _compare(self, at: int, keys: pl.DataFrame) -> Mask:
        """Counts where rows descend; returns which rows begin a new run of the first column."""
        before = keys.head(1) if self._last is None else self._last
        previous = pl.concat([before, keys.head(keys.height - 1)])
        first, last = self._descents
        found = _descending(previous, keys, nulls_last=False)
        for each in (first, last):
            if each is last and self._has_nulls:
                found = _descending(previous, keys, nulls_last=True)
            rows, of_first = found
            if self._is_first_batch:
                each.between += int(rows[0])
                each.of_first_column_between += int(of_first[0])
            counted_from = 1 if self._is_first_batch else 0
            each.rows += int(rows[counted_from:].sum())
            each.of_first_column += int(of_first[counted_from:].sum())
            if each.first is None and rows.any():
                each.first = Place(self._file, at + int(np.argmax(rows)))
        name = self.columns[0]
        starts = previous[name].ne_missing(keys[name]).to_numpy().copy()
        self._changes += int(starts.sum())
        return np.asarray(starts)

    def _note_widest(self, at: int, sizes: Bytes) -> None:
        largest = np.argsort(-sizes, kind="stable")[:WIDEST]
        found = [Extent(Place(self._file, at + int(row)), 1, int(sizes[row])) for row in largest]
        self._widest = sorted([*self._widest, *found], key=lambda extent: -extent.bytes)[:WIDEST]


def _grouping(counted: _Descents) -> Grouping:
    if counted.of_first_column:
        return Grouping.SORT
    return Grouping.MERGE if counted.of_first_column_between else Grouping.STREAM


def _descending(previous: pl.DataFrame, current: pl.DataFrame, *, nulls_last: bool) -> tuple[Mask, Mask]:
    """Rows lower than their previous one: by all columns, and by the first alone."""
    down = np.zeros(current.height, dtype=bool)
    tied = np.ones(current.height, dtype=bool)
    of_first = None
    for name in current.columns:
        a, b = previous[name], current[name]
        first, second = (a, b) if nulls_last else (b, a)
        lower = (b < a).fill_null(value=False) | (first.is_null() & second.is_not_null())
        down |= tied & lower.to_numpy()
        tied &= a.eq_missing(b).to_numpy()
        of_first = down.copy() if of_first is None else of_first
    return down, down if of_first is None else of_first


def _keys(batch: pa.RecordBatch, columns: Sequence[str]) -> pl.DataFrame:
    """The ordering columns as plain values; one that is a dictionary would be compared by its codes."""
    arrays = []
    for name in columns:
        column = batch.column(batch.schema.get_field_index(name))
        arrays.append(column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column)
    return pl.DataFrame(pl.from_arrow(pa.table(arrays, names=list(columns))))


def _extent(place: Place, begun: Bytes, counts: Bytes, sums: Bytes, at: int) -> Extent:
    return Extent(Place(place.file, place.row + int(begun[at])), int(counts[at]), int(sums[at]))

"""Rows that come in order by key and time, as one row per key with lists of the rest. Pure; nothing is ever sorted.

Every row is compared with the one before it, so a row out of order is an error with its place and never a wrong group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.arrow import arrow_array, numpy_mask, numpy_values
from import_platform.core.hashing import key_hashes
from import_platform.core.ordering import Place
from import_platform.errors import MemoryBudgetExceeded, SourceRejected

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Positions = np.ndarray[Any, np.dtype[np.int64]]

FEW_ROWS = 1024
"""So few rows of a batch are copied rather than keep the whole batch alive."""


@dataclass(frozen=True)
class GroupBy:
    """What to bring together: `by` is the key, `order_by` the order within a key, `lists` the columns that become
    lists, in the order in which they are written."""

    by: tuple[str, ...]
    order_by: tuple[str, ...]
    lists: tuple[str, ...]

    @property
    def ordered(self) -> list[str]:
        """Columns that decide about order."""
        return list(dict.fromkeys([*self.by, *self.order_by]))

    @property
    def columns(self) -> list[str]:
        """All that has to be read."""
        return list(dict.fromkeys([*self.by, *self.order_by, *self.lists]))


class OutOfOrder(SourceRejected):
    """A row stands before one that it should follow: let the rows be sorted first, or name their true order."""


class OrderedGroups:
    """`add` takes batches that follow one another and gives the groups that they complete, `end` the last one.

    Memory: the rows of the open group, which may not pass `limit_bytes`, and its copy when it is closed; groups that
    lie within one batch are slices of it. `after` is the row before the first batch, whose group is somebody else's:
    rows that go on with it are left out.

    Raises (both from `add`):
        OutOfOrder: a row's key or, within a key, its order is lower than the row's before it, or has no value.
        MemoryBudgetExceeded: one group has more bytes than `limit_bytes`.
    """

    def __init__(self, grouping: GroupBy, *, limit_bytes: int, after: pa.RecordBatch | None = None) -> None:
        self._grouping = grouping
        self._limit_bytes = limit_bytes
        self._last = None if after is None else _row(after, 0, grouping.ordered)
        self._is_foreign = after is not None
        self._open: _Open | None = None

    @property
    def is_open(self) -> bool:
        """Whether rows of a group are held that may go on."""
        return self._open is not None

    def add(self, place: Place, batch: pa.RecordBatch, *, until_start: bool = False) -> Iterator[pa.RecordBatch]:
        """The first row of the batch stands at `place`. `until_start` takes rows only as far as they go on with the
        open group, and closes it where another key begins."""
        if not batch.num_rows:
            return
        starts = self._starts(place, batch)
        first = int(starts[0]) if starts.size else batch.num_rows
        if first and not self._is_foreign:
            self._hold(place, batch.slice(0, first))
        if not starts.size:
            return
        yield from self.end()
        self._is_foreign = False
        if until_start:
            return
        if starts.size > 1:
            yield self._grouped(self._keys(batch, starts[:-1]), batch, starts)
        last = int(starts[-1])
        self._hold(Place(place.file, place.row + last), batch.slice(last))

    def end(self) -> Iterator[pa.RecordBatch]:
        """The open group, complete now."""
        if self._open is not None:
            [whole] = pa.Table.from_batches(self._open.rows).combine_chunks().to_batches()
            keys, self._open = self._open.keys, None
            yield self._grouped(keys, whole, np.array([0, whole.num_rows]))

    def _hold(self, place: Place, batch: pa.RecordBatch) -> None:
        rows = batch.select(list(self._grouping.lists))
        if self._open is None:
            self._open = _Open(place, self._keys(batch, np.zeros(1, dtype=np.int64)))
        self._open.rows.append(rows if rows.num_rows > FEW_ROWS else _copied(rows))
        self._open.bytes += rows.nbytes
        if self._open.bytes > self._limit_bytes:
            raise MemoryBudgetExceeded(
                "the rows of one key are more than the memory budget holds",
                file=self._open.at.file,
                row=self._open.at.row,
                bytes_so_far=self._open.bytes,
                limit_bytes=self._limit_bytes,
                remedy="Set IMPORT_PLATFORM_MEMORY higher (diagnose --parquet says how high), or name fewer columns.",
            )

    def _keys(self, batch: pa.RecordBatch, rows: Positions) -> list[pa.Array]:
        at = arrow_array(rows)
        return [_plain(batch.column(name).take(at)) for name in self._grouping.by]

    def _grouped(self, keys: Sequence[pa.Array], batch: pa.RecordBatch, bounds: Positions) -> pa.RecordBatch:
        """Rows from the first bound to the last, one group between each two."""
        first, rows = int(bounds[0]), int(bounds[-1] - bounds[0])
        offsets = arrow_array((bounds - first).astype(np.int32))
        values = [_plain(batch.column(name).slice(first, rows)) for name in self._grouping.lists]
        lists = [pa.ListArray.from_arrays(offsets, each) for each in values]
        names = [*self._grouping.by, *self._grouping.lists]
        return pa.RecordBatch.from_arrays([*keys, *lists], names=names)

    def _starts(self, place: Place, batch: pa.RecordBatch) -> Positions:
        """Positions in the batch at which another key begins; every row is checked against the one before."""
        ordered = self._grouping.ordered
        _check_present(place, batch, ordered)
        begins = np.empty(batch.num_rows, dtype=bool)
        first = _row(batch, 0, ordered)
        begins[0] = self._last is None
        if self._last is not None:
            begins[:1] = self._checked(place, pa.concat_batches([self._last, first]), first=0)
        begins[1:] = self._checked(place, batch, first=1)
        self._last = _row(batch, batch.num_rows - 1, ordered)
        return np.flatnonzero(begins)

    def _checked(self, place: Place, batch: pa.RecordBatch, *, first: int) -> Mask:
        """Whether each row but the first has another key than the row before; `first` is the second row's position."""
        by, order_by = self._grouping.by, self._grouping.order_by
        begins = np.logical_or.reduce([_differs(batch.column(name)) for name in by])
        edges = np.flatnonzero(begins)
        before, behind = self._keys(batch, edges), self._keys(batch, edges + 1)
        descends = np.zeros(begins.size, dtype=bool)
        lower, same = _compared(list(zip(before, behind, strict=True)))
        descends[edges] = lower
        begins[edges] = ~same  # a dictionary may hold a value twice
        if order_by:
            lower, _ = _compared([(batch.column(n).slice(0, begins.size), batch.column(n).slice(1)) for n in order_by])
            descends |= lower & ~begins
        if descends.any():
            raise OutOfOrder(
                "a row is lower than the row before it",
                file=place.file,
                row=place.row + first + int(np.argmax(descends)),
                order=[*by, *order_by],
                remedy="Let the rows be sorted first (--sort; in a declaration sort: true), or name their true order.",
            )
        return np.asarray(begins)


@dataclass
class _Open:
    """A group that may go on: where it began, its key, and its rows so far without it."""

    at: Place
    keys: list[pa.Array]
    rows: list[pa.RecordBatch] = field(default_factory=list)
    bytes: int = 0


def shares_of(grouped: pa.RecordBatch, by: Sequence[str], shares: Mapping[str, float]) -> dict[str, pa.RecordBatch]:
    """The groups by the share that their key's hash falls into: the same key in the same share, in every run and on
    every machine. `shares` add up to at most 1; groups beyond them are left out."""
    frame = pl.DataFrame(pl.from_arrow(grouped.select(list(by))))
    at = key_hashes(frame, list(by)).astype(np.float64) / 2.0**64
    bounds = np.cumsum([0.0, *shares.values()])
    found = {}
    for name, (low, high) in zip(shares, pairwise(bounds), strict=True):
        inside = (at >= low) & (at < high)
        if inside.any():
            found[name] = grouped if inside.all() else grouped.filter(arrow_array(inside))
    return found


def _copied(rows: pa.RecordBatch) -> pa.RecordBatch:
    """In buffers of their own, as a few rows would keep a much larger batch alive."""
    return rows.take(arrow_array(np.arange(rows.num_rows)))


def _row(batch: pa.RecordBatch, at: int, names: Sequence[str]) -> pa.RecordBatch:
    one = arrow_array(np.array([at]))
    return pa.RecordBatch.from_arrays([_plain(batch.column(n).take(one)) for n in names], names=list(names))


def _plain(column: pa.Array) -> pa.Array:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _check_present(place: Place, batch: pa.RecordBatch, names: Sequence[str]) -> None:
    for name in names:
        column = batch.column(name)
        if column.null_count:
            raise OutOfOrder(
                "a row has no value to be ordered by",
                file=place.file,
                row=place.row + int(np.argmax(numpy_mask(column.is_null()))),
                column=name,
                remedy="Leave such rows out of the files, or order by another column.",
            )


def _differs(column: pa.Array) -> Mask:
    """Whether each value but the first is stored as another one than its predecessor."""
    numbers = _numbers(column.indices if pa.types.is_dictionary(column.type) else column)
    if numbers is not None:
        return np.asarray(numbers[1:] != numbers[:-1])
    return numpy_mask(pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)))


def _compared(pairs: Sequence[tuple[pa.Array, pa.Array]]) -> tuple[Mask, Mask]:
    """Whether the second of each pair is lower than the first, by the first columns that differ, and whether they are
    alike. NaN has no place in an order, so it is lower than anything."""
    rows = len(pairs[0][0])
    descends, tied = np.zeros(rows, dtype=bool), np.ones(rows, dtype=bool)
    for before, behind in pairs:
        a, b = _numbers(before), _numbers(behind)
        if a is not None and b is not None:
            lower, same = ~(b >= a), b == a
        else:
            first, second = _plain(before), _plain(behind)
            lower, same = numpy_mask(pc.less(second, first)), numpy_mask(pc.equal(second, first))
        descends |= tied & lower
        tied &= same
    return descends, tied


def _numbers(column: pa.Array) -> np.ndarray[Any, Any] | None:
    """The values in place where numpy compares them as they are stored: numbers, dates and instants."""
    dtype = column.type
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_temporal(dtype):
        return numpy_values(column)
    return None

"""The keys of one flush: the last version of each, and which rows are to be written.

Keys that outgrow their share of the budget are worked through in passes, each over those of one hash class. A pass
reads the staged key columns again instead of spilling: they are on disk already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.arrow import empty_table
from import_platform.core.deleted import marked
from import_platform.core.merge import ROW, Mask, ascends, disjoint, last_versions, repeated
from import_platform.pipeline.incoming import Rows

PASS_BYTES_MIN = 64 << 10
"""A pass over fewer keys than this would read the staged columns more often than it saves memory."""


ROW_BYTES = 24
"""What is remembered of every row of a flush while it is written: its old version's position, sorted and unsorted, its
number or a mark, and what cutting them by file takes."""

COPIES = 6
"""Of the keys of one pass: as read, as joined to one frame, what sorting and hashing them takes, and the tables that
two workers join them by (measured with UUIDs and with 20 M numbers; Polars keeps what it frees for a while)."""


@dataclass(frozen=True)
class KeyColumns:
    """What decides which source row wins: `cursor` by value, then arrival. Rows that the column `deleted` marks take
    their key out of the lake and are not written. With `is_set` all rows of a key stay, whatever they are: then they
    replace what the lake has of it as a set."""

    primary_key: tuple[str, ...]
    cursor: str | None
    deleted: str | None = None
    is_set: bool = False


class FlushKeys:
    """Keys of the rows of a flush; if they fit into one pass, in the order of the first key column (nulls first).

    `count` is the number of rows; `keep` marks those to write, None means all. Memory: `limit_bytes`, and a byte per
    row where some are not to be written.
    """

    def __init__(self, rows: Rows, schema: pa.Schema, columns: KeyColumns, *, limit_bytes: int) -> None:
        self._rows = rows
        self._schema = schema
        self._columns = columns
        self.count = 0
        self.keep: Mask | None = None
        limit_bytes = max(limit_bytes, PASS_BYTES_MIN)
        self._spans: list[tuple[Any, Any]] | None = []
        every, size_bytes = self._gathered(limit_bytes)
        self.passes = 1 if every is not None else -(-COPIES * size_bytes // limit_bytes)
        self._only = self._reduced(every) if every is not None else None
        if every is None:
            for _ in self.frames():
                pass  # each pass notes in `keep` which rows lose

    @property
    def primary_key(self) -> tuple[str, ...]:
        return self._columns.primary_key

    @property
    def names(self) -> list[str]:
        """What the key columns are called in `frames`: a source's names may look like Polars' patterns or ours."""
        return [f"c{i}" for i in range(len(self._columns.primary_key))]

    @property
    def first(self) -> pl.Series | None:
        """The first key column, sorted, to prune files with; None where a key of many passes may be null. With `upto`,
        only the low ends of spans in which all keys lie."""
        if self._only is not None:
            return self._only.to_series(0).alias(self._columns.primary_key[0])
        return None if self._spans is None else self._ends(0)

    @property
    def upto(self) -> pl.Series | None:
        """The high ends of `first`, where it takes several passes to see the keys themselves."""
        return None if self._only is not None or self._spans is None else self._ends(1)

    def _ends(self, side: int) -> pl.Series:
        ends = [span[side] for span in self._spans or ()]
        return pl.Series(self._columns.primary_key[0], ends, dtype=self._empty.schema["c0"])

    def frames(self) -> Iterator[pl.DataFrame]:
        """Per pass: the key columns by `names`, and ROW, one row per key."""
        if self._only is not None:
            yield self._only
            return
        for number in range(self.passes):
            yield self._reduced(self._pass(number))

    def _gathered(self, limit_bytes: int) -> tuple[pl.DataFrame | None, int]:
        """All key columns with ROW, or None when they are too many; then only counted."""
        parts, size_bytes = [self._empty], 0
        for part in self._parts():
            self.count += part.height
            self._span(part.to_series(0))
            size_bytes += int(part.estimated_size()) + 4 * part.height
            if COPIES * size_bytes <= limit_bytes:
                parts.append(part)
            else:
                parts = []
        return (pl.concat(parts).with_row_index(ROW) if parts else None), size_bytes

    def _span(self, keys: pl.Series) -> None:
        """Staged batches follow the source, which often gives its rows in the order of their key."""
        if self._spans is not None and keys.len():
            low, high = keys.min(), keys.max()
            # Polars leaves NaN out of both, and a null is in no span.
            is_known = keys.null_count() == 0 and low is not None and not keys.dtype.is_float()
            self._spans = disjoint([*self._spans, (low, high)]) if is_known else None

    def _pass(self, number: int) -> pl.DataFrame:
        names = self.names
        parts, at, types = [self._empty.with_row_index(ROW)], 0, self._empty.schema
        for batch in self._rows.batches(self._read):
            mine = numbered(batch, self._columns.primary_key).select(names).hash_rows() % self.passes == number
            # Filtered by Arrow, which copies; text that Polars has filtered keeps all of its buffers alive.
            part = self._numbered(batch.filter(mine.to_arrow())).cast(types)
            rows = pl.Series(ROW, np.flatnonzero(mine.to_numpy()) + at, dtype=pl.UInt32)
            parts.append(part.insert_column(0, rows))
            at += batch.num_rows
        return pl.concat(parts, rechunk=True)

    def _parts(self) -> Iterator[pl.DataFrame]:
        types = self._empty.schema
        for batch in self._rows.batches(self._read):
            yield self._numbered(batch).cast(types)

    @property
    def _read(self) -> list[str]:
        columns = self._columns
        others = [name for name in (columns.cursor, columns.deleted) if name is not None]
        return list(dict.fromkeys([*columns.primary_key, *others]))

    def _numbered(self, rows: pa.Table | pa.RecordBatch) -> pl.DataFrame:
        frame, columns = numbered(rows, self._columns.primary_key), self._columns
        if columns.cursor is not None:
            frame = frame.with_columns(pl.Series("cursor", pl.from_arrow(rows.column(columns.cursor))))
        if columns.deleted is not None:
            frame = frame.with_columns(pl.Series("deleted", marked(rows.column(columns.deleted))))
        return frame

    @property
    def _empty(self) -> pl.DataFrame:
        schema, deleted = self._schema, self._columns.deleted
        if deleted is not None and deleted not in schema.names:
            schema = schema.append(pa.field(deleted, pa.bool_()))
        return self._numbered(empty_table(schema))

    def _reduced(self, every: pl.DataFrame) -> pl.DataFrame:
        """The last version of each key, sorted by the first key column; `keep` loses the others and what is deleted."""
        names = self.names
        last = every
        if self._columns.is_set:
            return self._sets(every)
        if not ascends(every, names):
            again = repeated(every, names)
            if again.any():
                suspects = every.filter(again)
                kept = last_versions(suspects, names, "cursor" if self._columns.cursor else None)
                losers = suspects.join(kept.select(ROW), on=ROW, how="anti")[ROW]
                self._lose(losers)
                last = every.filter(~pl.col(ROW).is_in(losers.implode()))
            if self.passes == 1:
                last = last.sort(names[0], nulls_last=False)
        if self._columns.deleted is not None:
            self._lose(last.filter("deleted")[ROW])
        return last.select(*names, ROW)

    def _sets(self, every: pl.DataFrame) -> pl.DataFrame:
        """A row per key, one that is written where there is one; `keep` loses what is deleted."""
        order = every
        if self._columns.deleted is not None:
            self._lose(every.filter("deleted")[ROW])
            order = every.sort("deleted", maintain_order=True)
        last = order.unique(self.names, keep="first", maintain_order=True)
        return (last.sort(self.names[0], nulls_last=False) if self.passes == 1 else last).select(*self.names, ROW)

    def _lose(self, rows: pl.Series) -> None:
        if rows.len():
            if self.keep is None:
                self.keep = np.ones(self.count, dtype=bool)
            self.keep[rows.to_numpy()] = False


def numbered(rows: pa.Table | pa.RecordBatch, names: Sequence[str]) -> pl.DataFrame:
    """The named columns in this order, called c0, c1, ..: a source's names may look like Polars' patterns or ours."""
    return pl.DataFrame({f"c{i}": pl.from_arrow(rows.column(name)) for i, name in enumerate(names)})


def alive(rows: Rows, deleted: str | None) -> Mask | None:
    """Rows that are not marked as deleted; None for all."""
    if deleted is None:
        return None
    return np.concatenate([np.empty(0, dtype=bool), *(~marked(batch.column(0)) for batch in rows.batches([deleted]))])

"""The source rows of one flush, placed in leaves: held and sorted where they fit, else streamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.arrow import arrow_array
from import_platform.core.budget import GIB, MemoryBudget
from import_platform.core.identity import Identity
from import_platform.core.merge import Mask
from import_platform.core.splice import NONE, Positions
from import_platform.core.split import placing_columns
from import_platform.io.parquet import conform
from import_platform.pipeline.counting import assigned
from import_platform.pipeline.growth import Layout
from import_platform.pipeline.leaves import sort_order, spans_of

HELD_BYTES_MAX = GIB
"""Arrow's text has 32-bit offsets, so a held table stays well under 2 GiB however large the budget is."""


class Rows(Protocol):
    """Source rows of one flush: the same batches in the same order each time they are asked for."""

    @property
    def decoded_bytes(self) -> int: ...

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]: ...


@dataclass(frozen=True)
class Incoming:
    """Rows by leaf for one layout, `counts` per leaf.

    `table` holds them in the order of leaf and key, `source` says which row of the flush each of its rows is, and
    `spans` where a leaf begins and how many rows it has. `table` is None when they are streamed, not held.
    """

    layout: Layout
    counts: Mapping[str, int]
    table: pa.Table | None
    source: Positions
    spans: Mapping[str, tuple[int, int]]

    @property
    def leaves(self) -> list[str]:
        return sorted(self.counts)

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    def span(self, leaf: str) -> slice:
        """The rows of `table` that go to a leaf."""
        start, count = self.spans[leaf]
        return slice(start, start + count)

    def where(self, rows: int) -> Positions:
        """Row of `table` by row of the flush, which has so many; -1 for those left out."""
        where = np.full(rows, -1, np.int64)
        where[self.source] = np.arange(self.source.size)
        return where


class Placing:
    """Assigns the rows of a flush to leaves, as often as the layout changes."""

    def __init__(self, rows: Rows, schema: pa.Schema, identity: Identity, budget: MemoryBudget) -> None:
        self._rows = rows
        self._schema = schema
        self._identity = identity
        self._hold = rows.decoded_bytes * 2 <= min(budget.merge_bytes, HELD_BYTES_MAX)

    def placed(self, layout: Layout, keep: Mask | None) -> Incoming:
        """The rows that `keep` marks (None: all). Memory: twice their decoded bytes where they are held."""
        if not self._hold:
            return Incoming(layout, self.count(layout.leaves, layout.interior, keep), None, NONE, {})
        batches: list[pa.RecordBatch] = []
        names: list[pl.Series] = []
        for batch, leaf in self.batches(layout, keep):
            batches.append(batch)
            names.append(leaf)
        if not batches:
            return Incoming(layout, {}, None, NONE, {})
        table = pa.Table.from_batches(batches).combine_chunks()
        order = sort_order(table, pl.concat(names), self._identity.primary_key)
        spans = spans_of(pl.concat(names).gather(order))
        source = np.flatnonzero(keep)[order.to_numpy()] if keep is not None else order.to_numpy().astype(np.int64)
        counts = {leaf: count for leaf, (_, count) in spans.items()}
        return Incoming(layout, counts, table.take(order.to_arrow()), source, spans)

    def count(self, leaves: Collection[str], interior: Collection[str], keep: Mask | None) -> Counter[str]:
        """Rows per leaf, read from nothing but the columns that place them."""
        layout, found = Layout(frozenset(leaves), frozenset(interior)), Counter[str]()
        for _, names in self.batches(layout, keep, only_placing=True):
            found.update(dict(names.value_counts().iter_rows()))
        return found

    def batches(
        self, layout: Layout, keep: Mask | None, *, only_placing: bool = False
    ) -> Iterator[tuple[pa.RecordBatch, pl.Series]]:
        """Batches with the leaf of every row; `only_placing` reads no column that does not decide a leaf."""
        identity = self._identity
        columns = placing_columns(identity.partition, identity.primary_key) if only_placing else None
        schema = self._schema if columns is None else pa.schema([self._schema.field(name) for name in columns])
        at = 0
        for raw in self._rows.batches(columns):
            batch = conform(raw, schema)
            if keep is not None:
                batch = batch.filter(arrow_array(keep[at : at + raw.num_rows]))
            at += raw.num_rows
            if not batch.num_rows:
                continue
            yield batch, assigned(identity, batch, layout.leaves, layout.interior)

    def by_leaf(self, batch: pa.RecordBatch, names: pl.Series) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The rows of each leaf of a batch, in key order."""
        order = sort_order(pa.Table.from_batches([batch]), names, self._identity.primary_key)
        ordered = batch.take(order.to_arrow())
        for leaf, (start, count) in spans_of(names.gather(order)).items():
            yield leaf, ordered.slice(start, count)

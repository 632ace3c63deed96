"""Rows on their way into leaves: which columns place a row, its order inside a leaf, and many writers under one cap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import polars as pl
import pyarrow as pa

from import_platform.core.identity import Identity
from import_platform.core.split import placing_columns
from import_platform.io.parquet import LeafWriter, WrittenFile
from import_platform.io.store import Store

OPEN_WRITERS = 64


class TableFiles(Protocol):
    """Where the files of a table lie, and what places its rows."""

    @property
    def store(self) -> Store: ...

    @property
    def path(self) -> str: ...

    @property
    def identity(self) -> Identity: ...


class LeafWriters:
    """Writers of many leaves under one cap on buffered bytes and open files."""

    def __init__(self, make: Callable[[str], LeafWriter], limit_bytes: int) -> None:
        self._make = make
        self._limit_bytes = limit_bytes
        self._open: dict[str, LeafWriter] = {}
        self._files: list[WrittenFile] = []

    def write(self, leaf: str, batch: pa.RecordBatch) -> None:
        """Buffers rows of a leaf; may close the file that was written to longest ago, or encode the largest buffer."""
        writer = self._open.pop(leaf, None) or self._make(leaf)
        self._open[leaf] = writer  # last in the dictionary = used last
        writer.write(batch)
        if len(self._open) > OPEN_WRITERS:
            oldest = next(iter(self._open))
            self._files += self._open.pop(oldest).close()
        while sum(w.pending_bytes for w in self._open.values()) > self._limit_bytes:
            max(self._open.values(), key=lambda w: w.pending_bytes).drain()

    def close(self) -> list[WrittenFile]:
        """The finished files of all leaves."""
        for writer in self._open.values():
            self._files += writer.close()
        self._open = {}
        return self._files


def placing_frame(batch: pa.RecordBatch, identity: Identity) -> pl.DataFrame:
    """Only the columns that decide the leaf; all of them where a keyless table's content is hashed."""
    columns = placing_columns(identity.partition, identity.primary_key)
    chosen = batch if columns is None else batch.select(columns)
    return pl.DataFrame(pl.from_arrow(pa.Table.from_batches([chosen])))


def sort_order(table: pa.Table, leaves: pl.Series, primary_key: Sequence[str]) -> pl.Series:
    """Row numbers in the order of leaf, then primary key."""
    keys = {f"k{i}": pl.from_arrow(table[name]) for i, name in enumerate(primary_key)}
    frame = pl.DataFrame({"__leaf": leaves, **keys})
    return frame.select(pl.arg_sort_by(frame.columns)).to_series()


def spans_of(sorted_leaves: pl.Series) -> dict[str, tuple[int, int]]:
    """leaf -> (start, count) of its run in a sorted series."""
    runs = (
        pl.DataFrame({"leaf": sorted_leaves})
        .with_row_index("at")
        .group_by("leaf", maintain_order=True)
        .agg(pl.col("at").first(), pl.len())
    )
    return {str(leaf): (int(at), int(count)) for leaf, at, count in runs.iter_rows()}

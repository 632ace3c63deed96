"""Merging source rows into a snapshot by rewriting whole files, inside a memory budget.

Only keys are held for all rows of a flush; the rows themselves are held when they fit and streamed when they do not.
Outputs are remembered by their inputs, so that after a lost commit only what really changed is written again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.core.deleted import marked
from import_platform.core.identity import Identity
from import_platform.core.merge import (
    ROW,
    MergePlan,
    Positions,
    Rewrite,
    ascends,
    candidate_files,
    keys_in_bounds,
    last_versions,
    plan_rewrites,
)
from import_platform.core.split import placing_columns
from import_platform.io.delta import Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import (
    ROW_GROUP_BYTES,
    LeafWriter,
    WrittenFile,
    conform,
    read_batches,
    without_rows,
)
from import_platform.io.store import Store
from import_platform.pipeline.counting import assigned
from import_platform.pipeline.growth import Growth, Layout
from import_platform.pipeline.leaves import LeafWriters, sort_order, spans_of
from import_platform.pipeline.scatter import Scatter

PROBE_BATCH_BYTES = 4 << 20
DECODE_BATCH_BYTES = 2 << 20
"""Small decoded batches stay in the processor's cache: 16 MB ones took 1.5 times as long and 60 MB more."""

WORKER_BYTES = 2 * ROW_GROUP_BYTES + 3 * DECODE_BATCH_BYTES
"""What one rewriting worker holds: a buffered row group and its encoding, and a few decoded batches."""


class Rows(Protocol):
    """Source rows of one flush: the same batches in the same order each time they are asked for."""

    @property
    def decoded_bytes(self) -> int: ...

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]: ...


@dataclass(frozen=True)
class Target:
    """The table that rows go to, as fixed in the lake: where, which columns, how placed and identified.

    `deleted` names a column of the staged rows that marks deleted ones: they take the row of their key away and leave
    none behind.
    """

    store: Store
    path: str
    schema: pa.Schema
    identity: Identity
    cursor: str | None
    deleted: str | None = None


@dataclass(frozen=True)
class Merged:
    """Files written for one plan, not committed yet."""

    plan: MergePlan
    adds: tuple[WrittenFile, ...]
    incoming_rows: int


class Merge:
    """One flush being merged. `plan` and `write` may be called again for a newer snapshot; work is reused.

    `by_key` False writes the rows as they are (append, full swap); True replaces what has the same primary key.
    """

    def __init__(
        self,
        target: Target,
        rows: Rows,
        *,
        by_key: bool,
        budget: MemoryBudget,
        on_rows: Callable[[int], None] = lambda rows: None,
        watch: MemoryWatch | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        self._target = target
        self._rows = rows
        self._by_key = by_key
        self._budget = budget
        self._on_rows = on_rows
        self._watch = watch or MemoryWatch()
        self._keep: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None
        self._keys = self._reduce() if by_key else None
        if target.deleted is not None:
            self._keep = self._alive(target.deleted)
        self._hits: dict[str, tuple[Positions, Positions]] = {}
        self._incoming: _Incoming | None = None
        self._growth = Growth(target, limit_bytes, rows.decoded_bytes) if limit_bytes else None
        self._outputs: dict[tuple[object, ...], tuple[WrittenFile, ...]] = {}
        self._workers = max(1, min(os.cpu_count() or 1, budget.rewrite_bytes // WORKER_BYTES))

    def plan(
        self, snapshot: Snapshot | None, *, dropped: Sequence[str] = (), gone: Mapping[str, Positions] | None = None
    ) -> MergePlan:
        """Finds the rows to replace by reading key columns only.

        `dropped` files go away whole (swap, backfill), and so do the rows at the positions `gone` of other files.
        """
        leaves = snapshot.leaves if snapshot is not None else frozenset[str]()
        self._incoming = self._placed(Layout(leaves))
        files = snapshot.files if snapshot is not None else _NO_FILES
        kept = files.filter(~pl.col("path").is_in(list(dropped))) if dropped else files
        candidates = self._candidates(kept)
        self._probe(candidates)
        hits = {path: self._hits[path][0] for path in candidates["path"] if self._hits[path][0].size}
        found = np.unique(np.concatenate([np.empty(0, np.int64), *(self._hits[path][1] for path in hits)]))
        if self._keep is not None:
            found = found[self._keep[found]]
        for path, positions in (gone or {}).items():
            hits[path] = np.union1d(hits[path], positions) if path in hits else positions
        dropped_rows = int(files.filter(pl.col("path").is_in(list(dropped)))["rows"].sum()) if dropped else 0
        if self._growth is not None:
            layout = self._growth.layout(snapshot, kept, self._incoming.counts, hits, self._count_incoming)
            self._incoming = self._placed(layout)
        splits = {leaf: split.targets for leaf, split in self._incoming.layout.splits.items()}
        rewrites = plan_rewrites(files, hits, dropped, self._incoming.leaves, splits)
        return MergePlan(
            rewrites=rewrites,
            dropped=tuple(dropped),
            considered_files=files.height,
            probed_files=candidates.height,
            updated_rows=len(found),
            removed_rows=dropped_rows + sum(p.size for p in hits.values()),
            leaves=tuple(self._incoming.leaves),
        )

    def write(self, plan: MergePlan) -> Merged:
        """Writes the plan's files. Peak memory: `merge_bytes` for source rows plus WORKER_BYTES per worker."""
        assert self._incoming is not None
        streamed = self._incoming.table is None and bool(self._incoming.leaves)
        tasks = [r for r in plan.rewrites if not (streamed and r.incoming and not r.inputs) and not r.children]
        with ThreadPoolExecutor(self._workers, thread_name_prefix="rewrite") as pool:
            written = [file for files in pool.map(self._rewrite, tasks) for file in files]
        for split in plan.rewrites:
            written += self._take_apart(split) if split.children else ()
        if streamed:
            written += self._stream_incoming()
        return Merged(plan, tuple(written), self._incoming.rows)

    def discard(self, committed: Sequence[WrittenFile]) -> None:
        """Deletes files of earlier plans that no commit names."""
        names = {file.path for file in committed}
        orphans = {file.path for files in self._outputs.values() for file in files} - names
        self._target.store.delete(f"{self._target.path}/{path}" for path in sorted(orphans))

    def _reduce(self) -> pl.DataFrame:
        """The key of every row that counts, with ROW, in the order of the first key column (nulls first)."""
        primary_key = list(self._target.identity.primary_key)
        keys = self._columns(primary_key)
        names = keys.columns
        if not ascends(keys, names):
            cursor = self._target.cursor
            columns = list(dict.fromkeys([*primary_key, *([cursor] if cursor else [])]))
            every = self._columns(columns) if cursor else keys
            by = every.columns[columns.index(cursor)] if cursor else None
            last = last_versions(every.with_row_index(ROW), names, by)
            if last.height < every.height:
                self._keep = np.zeros(every.height, dtype=bool)
                self._keep[last[ROW].to_numpy()] = True
            return last.select(*names, ROW).sort(names[0], nulls_last=False)
        return keys.with_row_index(ROW).select(*names, ROW)

    def _alive(self, deleted: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Rows to write: those that count and are not marked as deleted."""
        parts = [np.empty(0, np.bool_), *(~marked(batch.column(0)) for batch in self._rows.batches([deleted]))]
        alive = np.concatenate(parts)
        return alive if self._keep is None else self._keep & alive

    def _columns(self, names: Sequence[str]) -> pl.DataFrame:
        empty = _numbered(self._target.schema.empty_table(), names)
        parts = (_numbered(batch, names).cast(empty.schema) for batch in self._rows.batches(names))
        return pl.concat([empty, *parts])

    def _candidates(self, files: pl.DataFrame) -> pl.DataFrame:
        if self._keys is None or not self._keys.height:
            return files.clear()
        assert self._incoming is not None
        # A deleted row goes to no leaf, so the leaves of the rows do not say where its old version lies.
        stable = self._target.identity.partition.stable and self._target.deleted is None
        searched = self._incoming.covering(files["leaf"].unique().to_list()) if stable else None
        first = self._keys.to_series(0).alias(self._target.identity.primary_key[0])
        return candidate_files(files, first, leaves=searched)

    def _probe(self, candidates: pl.DataFrame) -> None:
        first = self._target.identity.primary_key[0] if self._target.identity.primary_key else ""
        bounded = f"min.{first}" in candidates.columns
        todo = [
            (row["path"], row[f"min.{first}"] if bounded else None, row[f"max.{first}"] if bounded else None)
            for row in candidates.iter_rows(named=True)
            if row["path"] not in self._hits
        ]
        with ThreadPoolExecutor(self._workers, thread_name_prefix="probe") as pool:
            found = pool.map(lambda file: self._probe_file(*file), todo)
            self._hits.update(zip((path for path, _, _ in todo), found, strict=True))

    def _probe_file(self, path: str, low: object, high: object) -> tuple[Positions, Positions]:
        assert self._keys is not None
        names = list(self._target.identity.primary_key)
        keys = keys_in_bounds(self._keys, self._keys.columns[0], low, high)
        on = keys.columns[: len(names)]
        types = keys.select(on).schema
        positions, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for at, batch in read_batches(
            self._target.store, f"{self._target.path}/{path}", columns=names, limit_bytes=PROBE_BATCH_BYTES
        ):
            frame = _numbered(batch, names).cast(types)
            hit = frame.with_row_index("at").join(keys, on=on, how="inner", nulls_equal=True).sort("at")
            positions.append(hit["at"].to_numpy().astype(np.int64) + at)
            rows.append(hit[ROW].to_numpy().astype(np.int64))
        return np.concatenate(positions), np.concatenate(rows)

    def _placed(self, layout: Layout) -> _Incoming:
        """The rows in the leaves of the layout, placed again only where it changed."""
        if self._incoming is not None and self._incoming.layout == layout:
            return self._incoming
        self._incoming = None  # before its successor takes the same memory
        return self._place(layout)

    def _count_incoming(self, leaves: Collection[str], interior: Collection[str]) -> Counter[str]:
        layout, found = Layout(frozenset(leaves), frozenset(interior)), Counter[str]()
        for _, names in self._placed_batches(layout, sort=False, only_placing=True):
            found.update(dict(names.value_counts().iter_rows()))
        return found

    def _place(self, layout: Layout) -> _Incoming:
        """Assigns rows to leaves; holds them, sorted, when they fit into their share twice."""
        if self._rows.decoded_bytes * 2 > self._budget.merge_bytes:
            found = self._count_incoming(layout.leaves, layout.interior)
            return _Incoming(layout, sorted(found), found.total(), None, {}, found)
        batches: list[pa.RecordBatch] = []
        names: list[pl.Series] = []
        for batch, leaf in self._placed_batches(layout, sort=False):
            batches.append(batch)
            names.append(leaf)
        if not batches:
            return _Incoming(layout, [], 0, None, {}, {})
        table = pa.Table.from_batches(batches).combine_chunks()
        order = sort_order(table, pl.concat(names), self._target.identity.primary_key)
        spans = spans_of(pl.concat(names).gather(order))
        counts = {leaf: count for leaf, (_, count) in spans.items()}
        return _Incoming(layout, sorted(spans), table.num_rows, table.take(pa.array(order.to_numpy())), spans, counts)

    def _placed_batches(
        self, layout: Layout, *, sort: bool, only_placing: bool = False
    ) -> Iterator[tuple[pa.RecordBatch, pl.Series]]:
        """Batches with the leaf of every row; `only_placing` reads no column that does not decide a leaf."""
        identity = self._target.identity
        columns = placing_columns(identity.partition, identity.primary_key) if only_placing else None
        schema = self._target.schema if columns is None else pa.schema([self._target.schema.field(c) for c in columns])
        at = 0
        for raw in self._rows.batches(columns):
            batch = conform(raw, schema)
            if self._keep is not None:
                batch = batch.filter(pa.array(self._keep[at : at + raw.num_rows]))
            at += raw.num_rows
            if not batch.num_rows:
                continue
            names = assigned(identity, batch, layout.leaves, layout.interior)
            if sort:
                order = sort_order(pa.Table.from_batches([batch]), names, identity.primary_key)
                batch, names = batch.take(pa.array(order.to_numpy())), names.gather(order)
            yield batch, names

    def _rewrite(self, task: Rewrite) -> tuple[WrittenFile, ...]:
        assert self._incoming is not None
        token = (task.leaf, tuple(sorted(task.inputs)), self._incoming.layout if task.incoming else None)
        if token in self._outputs:
            return self._outputs[token]
        writer = self._writer(task.leaf)
        for path, gone in task.inputs.items():
            full_path = f"{self._target.path}/{path}"
            for at, batch in read_batches(self._target.store, full_path, limit_bytes=DECODE_BATCH_BYTES):
                with self._watch.breathe():
                    kept = without_rows(batch, at, gone)
                    if kept.num_rows:
                        writer.write(conform(kept, self._target.schema))
                self._on_rows(batch.num_rows)
        if task.incoming and self._incoming.table is not None:
            for batch in self._incoming.of(task.leaf):
                writer.write(batch)
        self._outputs[token] = tuple(writer.close())
        return self._outputs[token]

    def _take_apart(self, task: Rewrite) -> tuple[WrittenFile, ...]:
        """The surviving rows of a leaf that outgrows its limit, in its children. Runs alone: see Scatter."""
        assert self._incoming is not None
        identity, layout = self._target.identity, self._incoming.layout
        token = (task.leaf, tuple(sorted(task.inputs)), layout)
        if token not in self._outputs:
            scatter = Scatter(
                self._target,
                self._target.schema,
                lambda batch: assigned(identity, batch, layout.leaves, layout.interior),
                targets=task.children,
                statistics_first=self._statistics_first,
                budget=self._budget,
                watch=self._watch,
                on_rows=self._on_rows,
                gone=task.inputs,
            )
            self._outputs[token] = tuple(scatter.write(list(task.inputs)))
        return self._outputs[token]

    def _stream_incoming(self) -> list[WrittenFile]:
        assert self._incoming is not None
        token = ("streamed", self._incoming.layout)
        if token not in self._outputs:
            writers = LeafWriters(self._writer, self._budget.merge_bytes // 2)
            for batch, names in self._placed_batches(self._incoming.layout, sort=True):
                with self._watch.breathe():
                    for leaf, (start, count) in spans_of(names).items():
                        writers.write(leaf, batch.slice(start, count))
                self._on_rows(batch.num_rows)
            self._outputs[token] = tuple(writers.close())
        return list(self._outputs[token])

    def _writer(self, leaf: str) -> LeafWriter:
        first = self._statistics_first
        return LeafWriter(self._target.store, self._target.path, leaf, self._target.schema, statistics_first=first)

    @property
    def _statistics_first(self) -> list[str]:
        cursor = self._target.cursor
        return [*self._target.identity.primary_key, *([cursor] if cursor else [])]


def _numbered(rows: pa.Table | pa.RecordBatch, names: Sequence[str]) -> pl.DataFrame:
    """The named columns in this order, called c0, c1, ..: a source's names may look like Polars' patterns or ours."""
    return pl.DataFrame({f"c{i}": pl.from_arrow(rows.column(name)) for i, name in enumerate(names)})


@dataclass(frozen=True)
class _Incoming:
    """Source rows by leaf for one layout, `counts` per leaf. `table` is None when they are streamed, not held."""

    layout: Layout
    leaves: list[str]
    rows: int
    table: pa.Table | None
    spans: Mapping[str, tuple[int, int]]
    counts: Mapping[str, int]

    def of(self, leaf: str) -> list[pa.RecordBatch]:
        assert self.table is not None
        start, count = self.spans[leaf]
        return list(self.table.slice(start, count).to_batches())

    def covering(self, leaves: Sequence[str]) -> list[str]:
        """Existing leaves that can hold a row whose leaf never changes: exactly those it is assigned to."""
        return [leaf for leaf in leaves if leaf in set(self.leaves)]


_NO_FILES = pl.DataFrame(
    schema={"path": pl.String, "leaf": pl.String, "size_bytes": pl.Int64, "rows": pl.Int64, "modified_ms": pl.Int64}
)

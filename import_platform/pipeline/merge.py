"""Merging source rows into a snapshot by rewriting whole files, inside a memory budget.

Only keys are held for all rows of a flush; the rows themselves are held when they fit and streamed when they do not.
A row that is held takes the place of its old version, so files keep their order. Outputs are remembered by their
inputs, so that after a lost commit only what really changed is written again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.arrow import arrow_array
from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.identity import Identity
from import_platform.core.merge import Mask, MergePlan, Rewrite, candidate_files, plan_rewrites, put_back
from import_platform.core.splice import NONE, NOTHING, Positions, Replaced, spliced
from import_platform.io.delta import Snapshot
from import_platform.io.encoding import Encodings
from import_platform.io.key_filter import KeyFilters
from import_platform.io.memory import MemoryWatch, trim
from import_platform.io.parquet import ROW_GROUP_BYTES, LeafWriter, WrittenFile, conform, read_batches
from import_platform.io.read_once import ReadOnce
from import_platform.io.store import REQUESTS, Store
from import_platform.pipeline.counting import assigned
from import_platform.pipeline.growth import Growth, Layout
from import_platform.pipeline.incoming import Incoming, Placing, Rows
from import_platform.pipeline.keys import ROW_BYTES, FlushKeys, KeyColumns, alive
from import_platform.pipeline.leaves import LeafWriters
from import_platform.pipeline.probe import PROBE_BATCH_BYTES, Probe
from import_platform.pipeline.scatter import Scatter, buffered_bytes, open_leaves_max, passes_of, read_ahead
from import_platform.pipeline.shares import LeafShare, both

DECODE_BATCH_BYTES = 2 << 20
"""Small decoded batches stay in the processor's cache: 16 MB ones took 1.5 times as long and 60 MB more."""

WORKER_BYTES = 2 * ROW_GROUP_BYTES + 3 * DECODE_BATCH_BYTES
"""What one rewriting worker holds: a buffered row group and its encoding, and a few decoded batches."""

DECODED_SHARE = 8
"""A small file is taken to decode to at most this many times its size when workers are counted."""


@dataclass(frozen=True)
class Target:
    """The table that rows go to, as fixed in the lake: where, which columns, how placed and identified.

    `deleted` names a column of the staged rows that marks deleted ones: they take the row of their key away and leave
    none behind. `sets` are the columns, if any, by which rows are replaced as a set instead of one by one.
    """

    store: Store
    path: str
    schema: pa.Schema
    identity: Identity
    cursor: str | None
    deleted: str | None = None
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merged:
    """Files written for one plan, not committed yet."""

    plan: MergePlan
    adds: tuple[WrittenFile, ...]
    incoming_rows: int

    @property
    def counts(self) -> dict[str, int]:
        """What committing it does, by the names of a report."""
        updated = self.plan.updated_rows
        return {
            "rows_inserted": self.incoming_rows - updated,
            "rows_updated": updated,
            "rows_deleted": self.plan.removed_rows - updated,
            "bytes_written": sum(file.size_bytes for file in self.adds),
            "files_added": len(self.adds),
            "files_removed": len(self.plan.removes),
        }


class Merge:
    """One flush being merged. `plan` and `write` may be called again for a newer snapshot; work is reused.

    `by_key` False writes the rows as they are (append, full swap); True replaces what has the same primary key. With a
    `share` only its leaves are looked at, rewritten and written to; the keys are those of all rows still.
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
        share: LeafShare | None = None,
    ) -> None:
        self._target = target
        self._budget = budget
        self._share = share
        mine: Mask | None = None
        if share is not None:
            rows, mine = share.cut(rows, target.schema, target.identity, budget)
        self._decoded_bytes = rows.decoded_bytes
        self._on_rows = on_rows
        self._encodings = Encodings()
        self._watch = watch or MemoryWatch()
        self._inputs = ReadOnce(target.store, budget.merge_bytes // 2)
        self._placing = Placing(rows, target.schema, target.identity, budget)
        self._keys = self._keys_of(rows) if by_key else None
        self._probe = self._probe_of(self._keys) if self._keys is not None else None
        self._keep = both(self._keys.keep if self._keys is not None else alive(rows, target.deleted), mine)
        self._incoming: Incoming | None = None
        self._left: Mask = np.empty(0, dtype=bool)
        self._where = NONE
        self._ahead = False
        self._sizes: dict[str, int] = {}
        self._growth = Growth(target, limit_bytes, rows.decoded_bytes) if limit_bytes else None
        self._outputs: dict[tuple[object, ...], tuple[WrittenFile, ...]] = {}

    def plan(
        self, snapshot: Snapshot | None, *, dropped: Sequence[str] = (), gone: Mapping[str, Positions] | None = None
    ) -> MergePlan:
        """Finds the rows to replace by reading key columns only.

        `dropped` files go away whole (swap, backfill), and so do the rows at the positions `gone` of other files.
        """
        leaves = snapshot.leaves if snapshot is not None else frozenset[str]()
        incoming = self._placed(Layout(leaves))
        files, dropped = self._mine(snapshot.files if snapshot is not None else _NO_FILES, dropped)
        self._sizes = dict(files.select("path", "size_bytes").iter_rows())
        kept = files.filter(~pl.col("path").is_in(list(dropped))) if dropped else files
        candidates = self._candidates(kept, incoming)
        looked = self._probe.hits(candidates) if self._probe is not None else {}
        found = {path: hit.found for path, hit in looked.items() if hit.found.positions.size}
        hits = {path: rows.positions for path, rows in found.items()}
        for path, positions in (gone or {}).items():
            hits[path] = np.union1d(hits[path], positions) if path in hits else positions
        incoming = self._grown(snapshot, kept, incoming, hits)
        splits = {leaf: split.targets for leaf, split in incoming.layout.splits.items()}
        replaced = self._put_back(files, found, incoming, in_place=not gone and not self._target.sets)
        rest = {path: np.setdiff1d(p, replaced[path].positions) if path in replaced else p for path, p in hits.items()}
        rewrites = plan_rewrites(
            files,
            rest,
            dropped,
            self._left_leaves(incoming),
            splits=splits,
            replaced=replaced,
            row_bytes=self._decoded_bytes / max(incoming.rows, 1),
        )
        return MergePlan(
            rewrites=rewrites,
            dropped=tuple(dropped),
            considered_files=files.height,
            probed_files=sum(hit.was_read for hit in looked.values()),
            updated_rows=sum(hit.updated_rows for hit in looked.values()),
            removed_rows=_count_rows(files, dropped) + sum(p.size for p in hits.values()),
            leaves=tuple(incoming.leaves),
            filtered_files=sum(not hit.was_read for hit in looked.values()),
            filter_bytes=sum(hit.filter_bytes for hit in looked.values()),
            predicted_bytes=self._predicted_bytes(incoming, rewrites),
        )

    def write(self, plan: MergePlan) -> Merged:
        """Writes the plan's files. Peak memory: `merge_bytes` for source rows plus WORKER_BYTES per worker."""
        assert self._incoming is not None
        streamed = self._incoming.table is None and bool(self._incoming.leaves)
        tasks = [r for r in plan.rewrites if not (streamed and r.incoming and not r.inputs) and not r.children]
        workers = self._workers(tasks)
        self._ahead = len(tasks) < workers
        with ThreadPoolExecutor(workers, thread_name_prefix="rewrite") as pool:
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

    def _mine(self, files: pl.DataFrame, dropped: Sequence[str]) -> tuple[pl.DataFrame, Sequence[str]]:
        if self._share is None:
            return files, dropped
        files = files.filter(self._share.share.of(files["leaf"]))
        return files, files.filter(pl.col("path").is_in(list(dropped)))["path"].to_list()

    def _keys_of(self, rows: Rows) -> FlushKeys:
        target = self._target
        key = target.sets or target.identity.primary_key
        columns = KeyColumns(key, target.cursor, target.deleted, is_set=bool(target.sets))
        return FlushKeys(rows, target.schema, columns, limit_bytes=self._budget.merge_bytes)

    def _probe_of(self, keys: FlushKeys) -> Probe:
        target = self._target
        at_once = (os.cpu_count() or 1) if target.store.is_local else REQUESTS
        return Probe(
            keys,
            self._inputs,
            target.path,
            None if target.sets else KeyFilters(target.store, target.path, self._inputs),
            workers=max(1, min(at_once, self._budget.rewrite_bytes // (2 * PROBE_BATCH_BYTES))),
            watch=self._watch,
        )

    def _workers(self, tasks: Sequence[Rewrite]) -> int:
        """As many as the budget feeds: one per core, or more on a remote store where files are small."""
        if self._target.store.is_local:
            return max(1, min(os.cpu_count() or 1, self._budget.rewrite_bytes // WORKER_BYTES))
        largest = max((self._sizes[path] for task in tasks for path in task.inputs), default=0)
        each = min(WORKER_BYTES, DECODED_SHARE * largest + 2 * MIB)
        return max(1, min(REQUESTS, self._budget.rewrite_bytes // each))

    def _predicted_bytes(self, incoming: Incoming, rewrites: Sequence[Rewrite]) -> int:
        """Rows held, what is remembered of each, and the workers, on top of what the process held before."""
        held = buffered_bytes(self._budget) if incoming.table is None else 2 * incoming.table.nbytes
        remembered = self._keys.count * ROW_BYTES if self._keys is not None else 0
        return self._budget.base_bytes + held + remembered + min(self._workers(rewrites), len(rewrites)) * WORKER_BYTES

    def _candidates(self, files: pl.DataFrame, incoming: Incoming) -> pl.DataFrame:
        if self._keys is None or not self._keys.count:
            return files.clear()
        # A deleted row goes to no leaf, so the leaves of the rows do not say where its old version lies.
        stable = self._target.identity.partition.stable and self._target.deleted is None
        searched = incoming.leaves if stable else None
        return candidate_files(files, self._keys.first, leaves=searched, upto=self._keys.upto)

    def _placed(self, layout: Layout) -> Incoming:
        """The rows in the leaves of the layout, placed again only where it changed."""
        if self._incoming is None or self._incoming.layout != layout:
            self._incoming = None  # before its successor takes the same memory
            self._incoming = self._placing.placed(layout, self._keep)
        return self._incoming

    def _grown(
        self, snapshot: Snapshot | None, kept: pl.DataFrame, incoming: Incoming, hits: Mapping[str, Positions]
    ) -> Incoming:
        """The rows placed anew where the merge would push a leaf past its limit."""
        if self._growth is None:
            return incoming

        def count(leaves: Collection[str], interior: Collection[str]) -> Counter[str]:
            return self._placing.count(leaves, interior, self._keep)

        return self._placed(self._growth.layout(snapshot, kept, incoming.counts, hits, count))

    def _put_back(
        self, files: pl.DataFrame, found: Mapping[str, Replaced], incoming: Incoming, *, in_place: bool
    ) -> dict[str, Replaced]:
        self._left = np.ones(incoming.source.size, dtype=bool)
        if self._keys is None or self._keys.passes > 1 or incoming.table is None or not found or not in_place:
            return {}
        leaf_of = dict(zip(files["path"], files["leaf"], strict=True))
        self._where = incoming.where(self._keys.count)
        back, self._left = put_back(found, leaf_of, incoming.spans, self._where)
        return back

    def _left_leaves(self, incoming: Incoming) -> list[str]:
        if incoming.table is None:
            return incoming.leaves
        return [leaf for leaf in incoming.leaves if self._left[incoming.span(leaf)].any()]

    def _left_of(self, leaf: str) -> Iterator[pa.RecordBatch]:
        """The held rows of a leaf that took nobody's place."""
        assert self._incoming is not None
        assert self._incoming.table is not None
        span = self._incoming.span(leaf)
        rows, left = self._incoming.table.slice(span.start, span.stop - span.start), self._left[span]
        yield from (rows if left.all() else rows.filter(arrow_array(left))).to_batches()

    def _rewrite(self, task: Rewrite) -> tuple[WrittenFile, ...]:
        assert self._incoming is not None
        token = self._token(task)
        if token in self._outputs:
            return self._outputs[token]
        writer, source = self._writer(task.leaf), self._incoming.table
        for path, gone in task.inputs.items():
            full_path = f"{self._target.path}/{path}"
            replaced = self._rows_placed(task.replaced.get(path))
            batches = read_batches(self._inputs, full_path, limit_bytes=DECODE_BATCH_BYTES)
            for at, batch in read_ahead(batches) if self._ahead else batches:
                with self._watch.breathe():
                    whole = conform(batch, self._target.schema)
                    for piece in spliced(whole, at, gone=gone, replaced=replaced, source=source):
                        writer.write(piece, is_shared=True)
                self._on_rows(batch.num_rows)
            self._inputs.forget(full_path)
        if task.incoming and source is not None:
            for batch in self._left_of(task.leaf):
                with self._watch.breathe():
                    writer.write(batch)
        self._outputs[token] = tuple(writer.close())
        if sum(file.decoded_bytes for file in self._outputs[token]) > ROW_GROUP_BYTES:
            trim()  # else a table of many files peaks a tenth higher than one of two
        return self._outputs[token]

    def _rows_placed(self, replaced: Replaced | None) -> Replaced:
        """With rows of the held table instead of rows of the flush."""
        if replaced is None:
            return NOTHING
        return Replaced(replaced.positions, self._where[replaced.rows])

    def _token(self, task: Rewrite) -> tuple[object, ...]:
        """What an output depends on, in rows of the flush, whose numbers no layout changes."""
        assert self._incoming is not None
        digest = hashlib.blake2b(digest_size=16)
        for path in sorted(task.inputs):
            replaced = task.replaced.get(path, NOTHING)
            digest.update(path.encode())
            for part in (task.inputs[path], replaced.positions, replaced.rows):
                digest.update(len(part).to_bytes(8))
                digest.update(np.ascontiguousarray(part).data)
        if task.incoming and self._incoming.table is not None:
            span = self._incoming.span(task.leaf)
            digest.update(self._incoming.source[span][self._left[span]].tobytes())
        placed = self._incoming.layout if task.incoming or task.children else None
        return task.leaf, placed, digest.digest()

    def _take_apart(self, task: Rewrite) -> tuple[WrittenFile, ...]:
        """The surviving rows of a leaf that outgrows its limit, in its children. Runs alone: see Scatter."""
        assert self._incoming is not None
        identity, layout = self._target.identity, self._incoming.layout
        token = self._token(task)
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
            open_max = open_leaves_max(self._budget, is_local=self._target.store.is_local)
            pass_of, passes = passes_of(self._incoming.leaves, open_max)
            written: list[WrittenFile] = []
            for number in range(passes):
                written += self._stream_pass(self._incoming.layout, pass_of, number)
            self._outputs[token] = tuple(written)
        return list(self._outputs[token])

    def _stream_pass(self, layout: Layout, pass_of: Mapping[str, int], number: int) -> list[WrittenFile]:
        """The rows of as many leaves as may be open at once; the others are staged still and come with another pass."""
        writers = LeafWriters(self._writer, buffered_bytes(self._budget))
        leaves = [leaf for leaf, at in pass_of.items() if at == number]
        for batch, names in self._placing.batches(layout, self._keep):
            mine = names.is_in(leaves)
            with self._watch.breathe():
                for leaf, rows in self._placing.by_leaf(batch.filter(mine.to_arrow()), names.filter(mine)):
                    writers.write(leaf, rows)
            if number == 0:
                self._on_rows(batch.num_rows)
        return writers.close()

    def _writer(self, leaf: str) -> LeafWriter:
        first = self._statistics_first
        target = self._target
        return LeafWriter(
            target.store, target.path, leaf, target.schema, statistics_first=first, encodings=self._encodings
        )

    @property
    def _statistics_first(self) -> list[str]:
        cursor = self._target.cursor
        return [*self._target.identity.primary_key, *([cursor] if cursor else [])]


def _count_rows(files: pl.DataFrame, paths: Sequence[str]) -> int:
    return int(files.filter(pl.col("path").is_in(list(paths)))["rows"].sum()) if paths else 0


_NO_FILES = pl.DataFrame(
    schema={"path": pl.String, "leaf": pl.String, "size_bytes": pl.Int64, "rows": pl.Int64, "modified_ms": pl.Int64}
)

"""The same rows in other files: splits, coarsenings and compactions as one streaming rewrite and one commit.

Inputs are rewritten in groups with outputs of their own, so a sync that commits in between costs only the groups it
touched. Readers see the same rows before and after; `data_change` is False.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.errors import CommitConflict, CommitOutcomeUnknown, InvariantBroken
from import_platform.io.delta import Commit, Snapshot
from import_platform.io.parquet import LeafWriter, WrittenFile, conform, read_batches
from import_platform.pipeline.context import LakeTable
from import_platform.pipeline.leaves import LeafWriters, sort_order, spans_of
from import_platform.pipeline.ordered import ordered_batches

GROUP_BYTES = 256 << 20
TRIES = 20
LOSSES_BEFORE_LEASE = 3
BACKOFF_SECONDS = 0.1

Select = Callable[[Snapshot], Sequence[str]]
Place = Callable[[pa.RecordBatch, Snapshot], pl.Series]


@dataclass(frozen=True)
class Relayouted:
    """What a relayout did; zero files when there was nothing to do. Bytes are at rest."""

    files_removed: int = 0
    files_added: int = 0
    rows: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    rounds: int = 0


class Relayout:
    """One relayout of a table.

    `select` names the input files of a snapshot (asked again after every lost race); `place` gives the leaf of every
    row of a batch. `ordered` merges the inputs of a group by primary key, so that later merges prune better.
    """

    def __init__(
        self,
        table: LakeTable,
        select: Select,
        place: Place,
        *,
        budget: MemoryBudget,
        ordered: bool = False,
        group_bytes: int = GROUP_BYTES,
    ) -> None:
        self._table = table
        self._select = select
        self._place = place
        self._budget = budget
        self._ordered = ordered
        self._group_bytes = group_bytes
        self._done: dict[frozenset[str], list[WrittenFile]] = {}

    def run(self) -> Relayouted:
        """Rewrites and commits.

        Raises:
            CommitConflict: twenty rounds were lost, three of them before the table's lease was taken (try later).
        """
        leased = False
        try:
            for round_ in range(1, TRIES + 1):
                snapshot = self._table.log.snapshot()
                inputs = list(self._select(snapshot)) if snapshot is not None else []
                if snapshot is None or not inputs:
                    return Relayouted(rounds=round_)
                groups = self._groups(snapshot, inputs)
                adds = [file for group in groups for file in self._written(snapshot, group)]
                self._check(snapshot, inputs, adds)
                try:
                    facts = {"import_platform.kind": "relayout"}
                    self._table.log.commit(snapshot, Commit(adds, inputs, data_change=False, facts=facts))
                except (CommitConflict, CommitOutcomeUnknown):
                    if round_ >= LOSSES_BEFORE_LEASE and not leased:
                        leased = self._table.staging.take_lease("relayout")
                    time.sleep(random.uniform(0, BACKOFF_SECONDS * 2 ** min(round_, 5)))
                    continue
                self._delete({file.path for files in self._done.values() for file in files} - {f.path for f in adds})
                chosen = snapshot.files.filter(pl.col("path").is_in(inputs))
                return Relayouted(
                    len(inputs),
                    len(adds),
                    int(chosen["rows"].sum()),
                    int(chosen["size_bytes"].sum()),
                    sum(file.size_bytes for file in adds),
                    round_,
                )
        finally:
            if leased:
                self._table.staging.release_lease("relayout")
        self._delete({file.path for files in self._done.values() for file in files})
        raise CommitConflict(
            "other writers won every round",
            table=self._table.id,
            rounds=TRIES,
            remedy="Try again when the table is quieter.",
        )

    def _groups(self, snapshot: Snapshot, inputs: Sequence[str]) -> list[frozenset[str]]:
        """Groups already written whose inputs are all still there, and new ones for the rest."""
        wanted = set(inputs)
        kept = [group for group in self._done if group <= wanted]
        left = wanted.difference(*kept) if kept else wanted
        sizes = dict(snapshot.files.select("path", "size_bytes").iter_rows())
        groups: list[list[str]] = []
        total = self._group_bytes
        for path in (path for path in inputs if path in left):
            if total + sizes[path] > self._group_bytes:
                groups.append([])
                total = 0
            groups[-1].append(path)
            total += sizes[path]
        return [*kept, *(frozenset(group) for group in groups)]

    def _written(self, snapshot: Snapshot, group: frozenset[str]) -> list[WrittenFile]:
        if group not in self._done:
            writers = LeafWriters(lambda leaf: self._writer(snapshot, leaf), self._budget.merge_bytes // 2)
            for batch in self._rows(snapshot, sorted(group)):
                leaves = self._place(batch, snapshot)
                order = sort_order(pa.Table.from_batches([batch]), leaves, ()) if leaves.n_unique() > 1 else None
                ordered = batch if order is None else batch.take(pa.array(order.to_numpy()))
                for leaf, (start, count) in spans_of(leaves if order is None else leaves.gather(order)).items():
                    writers.write(leaf, ordered.slice(start, count))
            self._done[group] = writers.close()
        return self._done[group]

    def _rows(self, snapshot: Snapshot, paths: Sequence[str]) -> Iterator[pa.RecordBatch]:
        full = [f"{self._table.path}/{path}" for path in paths]
        if self._ordered and self._table.identity.primary_key:
            batches = ordered_batches(
                self._table.store,
                full,
                self._table.identity.primary_key,
                schema=snapshot.schema,
                limit_bytes=self._budget.merge_bytes // 2,
            )
            yield from batches
            return
        for path in full:
            for _, batch in read_batches(self._table.store, path):
                yield conform(batch, snapshot.schema)

    def _writer(self, snapshot: Snapshot, leaf: str) -> LeafWriter:
        return LeafWriter(
            self._table.store,
            self._table.path,
            leaf,
            snapshot.schema,
            statistics_first=self._table.identity.primary_key,
        )

    def _check(self, snapshot: Snapshot, inputs: Sequence[str], adds: Sequence[WrittenFile]) -> None:
        before = int(snapshot.files.filter(pl.col("path").is_in(list(inputs)))["rows"].sum())
        after = sum(file.rows for file in adds)
        if before != after:
            raise InvariantBroken(
                "a rewrite would change the number of rows", table=self._table.id, rows_before=before, rows_after=after
            )

    def _delete(self, paths: set[str]) -> None:
        self._table.store.delete(f"{self._table.path}/{path}" for path in sorted(paths))

"""Staged chunks into the table: merge, claim the next state, commit; again on conflict."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from import_platform.core.identity import check_identity
from import_platform.core.merge import MergePlan
from import_platform.core.report import Stage, SyncReport
from import_platform.core.state import (
    Attempt,
    AttemptKind,
    Checkpoint,
    TableState,
    content_of,
    is_finished,
    is_overtaken,
    next_state,
    swapped,
)
from import_platform.core.table import SyncMode
from import_platform.errors import CommitConflict, CommitOutcomeUnknown, InvariantBroken, Overtaken
from import_platform.io.delta import Commit, Snapshot
from import_platform.io.staging import Staging
from import_platform.pipeline.context import OpenTable, stored_identity
from import_platform.pipeline.extract import TAIL_ROWS
from import_platform.pipeline.fitting import evolution_of
from import_platform.pipeline.incoming import Rows
from import_platform.pipeline.ledger import commit_facts
from import_platform.pipeline.merge import Merge, Merged, Target
from import_platform.pipeline.replace_range import PartlyInRange, range_files, whole_files
from import_platform.pipeline.shares import LeafShare
from import_platform.pipeline.widen import widen_columns

TRIES = 20
BACKOFF_SECONDS = 0.05
LEASE_WAIT_SECONDS = 120.0
"""Longer than a rewrite of one leaf takes. A flush that waited this long goes on: commits are safe in any order."""
LEASE_POLL_SECONDS = 0.25


class RangeChanged(CommitConflict):
    """Another writer changed the range of a backfill since its pass began; the pass starts over."""


@dataclass(frozen=True)
class StagedRows:
    """The rows of consecutive chunks of one attempt."""

    staging: Staging
    attempt_id: str
    chunks: Sequence[Checkpoint]

    @property
    def decoded_bytes(self) -> int:
        return sum(chunk.decoded_bytes for chunk in self.chunks)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        for chunk in self.chunks:
            yield from self.staging.batches(self.attempt_id, chunk, columns)


class Flush:
    """One flush of an attempt. `complete` says that its chunks are the last: the cursor moves and a swap happens."""

    def __init__(
        self,
        table: OpenTable,
        attempt: Attempt,
        chunks: Sequence[Checkpoint],
        report: SyncReport,
        *,
        complete: bool,
        tail: tuple[int, ...] = (),
    ) -> None:
        self._table = table
        self._attempt = attempt
        self._chunks = chunks
        self._report = report
        self._complete = complete
        self._tail = tail if len(tail) <= TAIL_ROWS or table.spec.sync is SyncMode.APPEND else ()
        self._content = content_of(attempt, chunks) if attempt.kind is AttemptKind.FULL_REFRESH else ""
        self._id = uuid.uuid4().hex
        self._merge: Merge | None = None
        self._merging: pa.Schema | None = None
        self._claimed: tuple[int, TableState] | None = None
        self._sent: tuple[Snapshot | None, Merged] | None = None
        self._rows_done = 0
        self._partly = PartlyInRange(table, attempt.key) if attempt.replaces_range else None
        self._patience_seconds = LEASE_WAIT_SECONDS

    def run(self) -> None:
        """Commits, or finds that it was committed already.

        Raises:
            Overtaken: another sync of this table committed first; its rows stand.
            CommitConflict: twenty rounds were lost to other writers (try again later).
        """
        for round_ in range(TRIES):
            if round_:
                time.sleep(random.uniform(0, BACKOFF_SECONDS * 2 ** min(round_, 6)))
            self._give_way()
            snapshot = self._table.log.snapshot()
            state = self._table.staging.state(snapshot.transaction if snapshot else 0)
            if state.flush == self._id:  # it had landed, though the store or deltalake said otherwise
                self._finish()
                return
            self._check_turn(state)
            self._check_layout(snapshot)
            try:
                if self._attempt_once(snapshot, state):
                    return
            except RangeChanged:
                raise
            except (CommitConflict, CommitOutcomeUnknown) as error:
                self._table.context.observer.note(self._table.spec.id, f"{error.message}; looking again")
        raise CommitConflict(
            "other writers won every round",
            table=self._table.spec.id,
            rounds=TRIES,
            remedy="Run the sync again when the table is quieter; it goes on from here.",
        )

    def _give_way(self) -> None:
        """Waits while a rewrite that lost every race holds the table's lease; what is staged stays staged."""
        if self._table.staging.lease_held():
            self._table.context.observer.note(self._table.spec.id, "waiting for a rewrite of this table to commit")
        while self._patience_seconds > 0 and not self._table.context.stop() and self._table.staging.lease_held():
            time.sleep(LEASE_POLL_SECONDS)
            self._patience_seconds -= LEASE_POLL_SECONDS

    def _check_layout(self, snapshot: Snapshot | None) -> None:
        """Raises ConfigError when `repartition --to` gave the table another partition since it was opened."""
        stored = stored_identity(snapshot)
        if stored is not None:
            check_identity(stored, self._table.spec)

    def _check_turn(self, state: TableState) -> None:
        done = state.progress.get(self._attempt.id, 0)
        elsewhere = is_overtaken(self._attempt, state) or is_finished(self._attempt, state)
        if elsewhere or (self._chunks and done >= self._chunks[0].number):
            raise Overtaken(
                "another sync of this table committed first",
                table=self._table.spec.id,
                remedy="Run the sync again; it starts from the newer state.",
            )

    def _attempt_once(self, snapshot: Snapshot | None, state: TableState) -> bool:
        schema = evolved_schema(self._table, self._attempt, snapshot)
        if schema is None:
            return False
        merged = self._merged(snapshot, schema, self._dropped(snapshot))
        if not merged.adds and not merged.plan.removes:
            needed = self._creates_empty() if snapshot is None else self._moves_state(state)
            if not needed:
                return True
        commit = Commit(merged.adds, merged.plan.removes, number=self._claim(state, merged))
        facts = {"import_platform.attempt": self._attempt.id, "import_platform.kind": self._attempt.kind.value}
        commit = replace(commit, facts=facts | commit_facts(merged.counts, self._chunks))
        spec = self._table.spec
        self._table.context.observer.progress(
            spec.id, Stage.COMMITTING, rows=merged.incoming_rows, bytes_=0, total_rows=merged.incoming_rows
        )
        self._sent = (snapshot, merged)
        if snapshot is None:
            self._table.log.create(schema, commit, identity=self._table.identity.to_json())
        elif schema != snapshot.schema:
            self._table.log.commit_schema(snapshot, commit, schema)
        else:
            self._table.log.commit(snapshot, commit)
        self._verify(snapshot, merged)
        self._finish()
        return True

    def _merged(self, snapshot: Snapshot | None, schema: pa.Schema, dropped: Sequence[str]) -> Merged:
        """The files of this round, written; those of earlier rounds are used again where nothing changed for them."""
        merge = self._merge_into(schema)
        gone = self._partly.rows(snapshot) if self._partly is not None and snapshot is not None else {}
        plan = merge.plan(snapshot, dropped=dropped, gone=gone)
        self._check_moves(snapshot, plan)
        return merge.write(plan)

    def _finish(self) -> None:
        """Deletes the files of lost rounds and reports the one that was committed last."""
        if self._sent is not None:
            snapshot, merged = self._sent
            if self._merge is not None:
                self._merge.discard(merged.adds)
            self._count(snapshot, merged)

    def _dropped(self, snapshot: Snapshot | None) -> list[str]:
        """Files that go away whole: all of them in a swap, those of the range in a backfill."""
        if snapshot is None:
            return []
        if self._attempt.kind is AttemptKind.FULL_REFRESH:
            return snapshot.files["path"].to_list()
        if self._attempt.replaces_range:
            now = range_files(self._table, snapshot, self._attempt.key)
            if set(now) != set(self._attempt.range_files):
                raise self._range_changed()
            return whole_files(self._table, snapshot, self._attempt.key)
        return []

    def _check_moves(self, snapshot: Snapshot | None, plan: MergePlan) -> None:
        """A backfill takes its keys out of other leaves too, but not from where a sync has put them since it began:
        that row is the newer one."""
        if not self._attempt.replaces_range or snapshot is None:
            return
        hit = {path for rewrite in plan.rewrites for path, positions in rewrite.inputs.items() if positions.size}
        if hit and snapshot.version != self._attempt.start_version:
            known = self._table.log.paths_at(self._attempt.start_version)
            if known is None or not hit <= known:
                raise self._range_changed()

    def _range_changed(self) -> RangeChanged:
        return RangeChanged(
            "the range changed while it was read",
            table=self._table.spec.id,
            partition=self._attempt.key,
            remedy="Run the backfill again.",
        )

    def _merge_into(self, schema: pa.Schema) -> Merge:
        if self._merge is None or self._merging != schema:
            self._merge = self._merge_of(schema)
            self._merging = schema
        return self._merge

    def _merge_of(self, schema: pa.Schema, share: LeafShare | None = None) -> Merge:
        context = self._table.context
        return Merge(
            self._target(schema),
            self._rows(),
            by_key=by_key(self._table, self._attempt),
            budget=context.budget,
            on_rows=self._progressed,
            watch=context.watch,
            limit_bytes=context.partition_max_bytes,
            share=share,
        )

    def _target(self, schema: pa.Schema) -> Target:
        return target_of(self._table, schema)

    def _rows(self) -> Rows:
        return StagedRows(self._table.staging, self._attempt.id, self._chunks)

    def _progressed(self, rows: int) -> None:
        self._rows_done += rows
        self._table.context.observer.progress(
            self._table.spec.id, Stage.MERGING, rows=self._rows_done, bytes_=0, total_rows=None
        )

    def _moves_state(self, state: TableState) -> bool:
        """True when an empty flush still has a cursor to make durable."""
        return (
            self._complete
            and self._attempt.kind is not AttemptKind.BACKFILL
            and self._attempt.ceiling is not None
            and (state.cursor, state.settled) != (self._attempt.ceiling, self._attempt.settled)
        )

    def _creates_empty(self) -> bool:
        return self._complete and self._attempt.kind is not AttemptKind.BACKFILL

    def _tombstones(self, state: TableState) -> tuple[str, ...]:
        """What names the deleted keys that the table remembers after this flush; durable already."""
        return state.tombstones

    def _claim(self, state: TableState, merged: Merged) -> int:
        """Puts the next state and returns its number; a number that anybody else put is burnt."""
        if self._claimed is not None and self._claimed[1] == state:
            return self._claimed[0]
        number = max(state.number, self._table.staging.last_claimed()) + 1
        last = self._chunks[-1].number if self._chunks else state.progress.get(self._attempt.id, 0)
        tombstones = self._tombstones(state)
        while not self._table.staging.claim(
            next_state(
                state,
                number=number,
                attempt=self._attempt,
                flush=self._id,
                last_chunk=last,
                complete=self._complete,
                tail=self._tail,
                content=self._content and swapped(self._content, sum(file.rows for file in merged.adds)),
                tombstones=tombstones,
            )
        ):
            number += 1
        self._claimed = (number, state)
        return number

    def _verify(self, before: Snapshot | None, merged: Merged) -> None:
        after = self._table.log.snapshot()
        if after is None or after.version != (before.version + 1 if before else 0):
            return  # others committed meanwhile; their snapshots build on ours
        expected = (before.rows if before else 0) + sum(f.rows for f in merged.adds) - _removed_rows(before, merged)
        if after.rows != expected:
            raise InvariantBroken(
                "row counts do not add up after a commit",
                table=self._table.spec.id,
                expected_rows=expected,
                found_rows=after.rows,
            )

    def _count(self, before: Snapshot | None, merged: Merged) -> None:
        report, plan = self._report, merged.plan
        report.add(merged.counts)
        report.files_considered += plan.considered_files
        report.files_probed += plan.probed_files
        report.filter_bytes += plan.filter_bytes
        report.predicted_memory_bytes = max(report.predicted_memory_bytes, plan.predicted_bytes)
        leaves = {file.leaf for file in merged.adds}
        if before is not None and plan.removes:
            leaves |= set(before.files.filter(pl.col("path").is_in(plan.removes))["leaf"])
        report.partitions_touched += len(leaves)


def evolved_schema(table: OpenTable, attempt: Attempt, snapshot: Snapshot | None) -> pa.Schema | None:
    """The schema to write; None after adding or widening columns, which are commits of their own.

    A swap widens columns with its own commit, because no old file stays.
    """
    evolution = evolution_of(table.spec, snapshot)
    if snapshot is not None and evolution.added:
        table.log.add_columns(snapshot, evolution.added)
        return None
    if evolution.widened and attempt.kind is not AttemptKind.FULL_REFRESH:
        context = table.context
        widen_columns(table, evolution.widened, budget=context.budget, watch=context.watch)
        names = ", ".join(field.name for field in evolution.widened)
        context.observer.note(table.spec.id, f"widened in place: {names}")
        return None
    return evolution.schema


def target_of(table: OpenTable, schema: pa.Schema) -> Target:
    spec, versions, store = table.spec, table.spec.info.versions, table.context.lake.store
    sets = versions.key if versions is not None and versions.is_set else ()
    return Target(store, table.path, schema, table.identity, spec.cursor, spec.deleted, sets)


def by_key(table: OpenTable, attempt: Attempt) -> bool:
    """Whether rows of the pass take the place of those with the same key, in the lake or among themselves."""
    spec = table.spec
    # A key that a person declared may repeat within a full read, and some sources' own keys; of versions only the
    # greatest are left.
    unique = spec.info.versions is not None or (spec.primary_key == spec.info.primary_key and not spec.info.key_repeats)
    swaps = attempt.kind is AttemptKind.FULL_REFRESH and unique
    return bool(spec.primary_key) and attempt.kind is not AttemptKind.APPEND and not swaps


def _removed_rows(before: Snapshot | None, merged: Merged) -> int:
    if before is None or not merged.plan.removes:
        return 0
    return int(before.files.filter(pl.col("path").is_in(merged.plan.removes))["rows"].sum())

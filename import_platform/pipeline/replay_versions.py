"""Rejected rows put into a table whose rows have versions: through the flush of a sync, so that what the lake has in a
later version stays, and what it remembers as deleted stays deleted."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.arrow import arrow_array
from import_platform.core.deleted import marked
from import_platform.core.report import SyncReport
from import_platform.core.state import Attempt, AttemptKind, Checkpoint
from import_platform.io.delta import Snapshot
from import_platform.pipeline.context import OpenTable
from import_platform.pipeline.flush import target_of
from import_platform.pipeline.merge import Target
from import_platform.pipeline.versioned import VersionedFlush


class ReplayFlush(VersionedFlush):
    """Single rows of a set join the rows of their version, which are in the lake, instead of replacing them."""

    def _target(self, schema: pa.Schema) -> Target:
        return replace(target_of(self._table, schema), sets=())


@dataclass
class VersionedReplay:
    """Rows gathered for one flush; `discard` them in the end, whatever happened. Mutable: `put` adds to it.

    Memory: one staged chunk, then that of a flush.
    """

    table: OpenTable
    snapshot: Snapshot
    schema: pa.Schema
    _attempt: Attempt = field(init=False)
    _chunks: list[Checkpoint] = field(default_factory=list)
    _pending: list[pa.RecordBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        now, version = datetime.now(UTC), self.snapshot.version
        state = self.table.staging.state(self.snapshot.transaction)
        self._attempt = Attempt(
            f"replay-{uuid.uuid4().hex}", AttemptKind.BACKFILL, state.sync_attempt, version, started_at=now
        )

    def fit(self, rows: pa.RecordBatch, fit: pa.Array) -> pa.Array:
        """`fit` without rows that lack a part of their version, so that nobody knows whether they are the latest."""
        versions = self.table.spec.info.versions
        for name in versions.order if versions is not None else ():
            fit = pc.and_(fit, pc.is_valid(rows.column(name)))
        return fit

    def put(self, rows: pa.RecordBatch) -> None:
        """Rows in `schema` that fit."""
        info, deleted = self.table.spec.info, self.table.spec.deleted
        if info.versions is not None and info.versions.is_set and deleted is not None:
            # A child that is marked went away with its record, whose own row says so.
            rows = rows.filter(arrow_array(~marked(rows.column(deleted))))
        if rows.num_rows:
            self._pending.append(rows)
        if sum(batch.nbytes for batch in self._pending) >= self.table.context.budget.chunk_bytes:
            self._stage()

    def flush(self, report: SyncReport) -> int:
        """How many of the rows were not superseded; the report gets what changed.

        Raises:
            CommitConflict: other writers won every round (try again later).
        """
        self._stage()
        if not self._chunks:
            return 0
        flush = ReplayFlush(self.table, self._attempt, self._chunks, report, complete=True)
        flush.run()
        return sum(chunk.rows for chunk in self._chunks) - flush.left_out

    def discard(self) -> None:
        self.table.staging.discard(self._attempt.id)

    def _stage(self) -> None:
        if not self._pending:
            return
        rows, size = sum(batch.num_rows for batch in self._pending), sum(batch.nbytes for batch in self._pending)
        previous = self._chunks[-1].id if self._chunks else ""
        chunk = Checkpoint(
            len(self._chunks) + 1, rows, size, None, end=True, id=uuid.uuid4().hex[:12], previous=previous
        )
        self.table.staging.stage(self._attempt.id, chunk, self.schema, self._pending, ())
        self._chunks.append(chunk)
        self._pending = []

"""Single rows put into a table or taken out of it, in one commit that is none of a sync: state and cursor stay.

Rows are staged like a sync's, in the table's schema and one more column that marks those whose key goes away.
"""

from __future__ import annotations

import random
import time
import uuid
from types import TracebackType
from typing import Self

import pyarrow as pa

from import_platform.core.report import SyncReport
from import_platform.core.state import Checkpoint
from import_platform.errors import CommitConflict, CommitOutcomeUnknown
from import_platform.io.delta import Commit, Snapshot
from import_platform.io.parquet import conform
from import_platform.pipeline.context import OpenTable, stored_identity
from import_platform.pipeline.flush import StagedRows
from import_platform.pipeline.ledger import commit_facts
from import_platform.pipeline.merge import Merge, Merged, Target

GONE = "_gone"
TRIES = 20
BACKOFF_SECONDS = 0.1


class TableMoved(CommitConflict):
    """A sync committed while the rows of an edit were gathered; what they say may be older than the lake now."""


class Edit:
    """Rows gathered for one edit of a table; a context manager, because what is staged goes away with it.

    Where the table has no key rows are only added, and only on top of the very version that they were judged by.

    Memory: one staged chunk, then that of a merge.
    """

    def __init__(self, table: OpenTable, snapshot: Snapshot, *, kind: str) -> None:
        self._table = table
        self._snapshot = snapshot
        self._kind = kind
        self._id = f"{kind}-{uuid.uuid4().hex}"
        self._schema = pa.schema([*snapshot.schema, pa.field(GONE, pa.bool_())])
        self._chunks: list[Checkpoint] = []
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.staging.discard(self._id)

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self._chunks) + self._pending_rows

    def put(self, rows: pa.RecordBatch) -> None:
        """Inserts these rows, in place of those with the same key. Columns the table lacks are left out."""
        self._take(conform(rows, self._snapshot.schema), gone=False)

    def remove(self, keys: pa.RecordBatch) -> None:
        """Takes the rows with these primary keys away; other columns do not count. Not for tables without a key."""
        self._take(conform(keys, self._snapshot.schema), gone=True)

    def commit(self, report: SyncReport) -> None:
        """All of it or nothing; the report gets the counts. Nothing to change commits nothing.

        Raises:
            TableMoved: a sync committed since the snapshot (gather the rows again).
            CommitConflict: other writers won every round.
        """
        self._stage()
        if not self._chunks:
            return
        context = self._table.context
        rows = StagedRows(self._table.staging, self._id, self._chunks)
        store, path, identity = context.lake.store, self._table.path, self._table.identity
        target = Target(store, path, self._snapshot.schema, identity, self._table.spec.cursor, GONE)
        merge = Merge(
            target,
            rows,
            by_key=bool(identity.primary_key),
            budget=context.budget,
            watch=context.watch,
            limit_bytes=context.partition_max_bytes,
        )
        for round_ in range(1, TRIES + 1):
            if self._round(merge, report):
                return
            time.sleep(random.uniform(0, BACKOFF_SECONDS * min(round_, 10)))
        merge.discard(())
        raise CommitConflict(
            "other writers won every round",
            table=self._table.id,
            rounds=TRIES,
            remedy="Try again when the table is quieter.",
        )

    def _round(self, merge: Merge, report: SyncReport) -> bool:
        snapshot = self._table.log.snapshot()
        moved = snapshot is None or snapshot.transaction != self._snapshot.transaction
        if snapshot is not None and not self._table.identity.primary_key:
            moved = snapshot.version != self._snapshot.version
        if snapshot is None or moved or snapshot.schema != self._snapshot.schema:
            merge.discard(())
            raise TableMoved("another run changed the table meanwhile", table=self._table.id, remedy="Run it again.")
        if stored_identity(snapshot) != self._table.identity:
            merge.discard(())
            raise TableMoved("the table got another partition meanwhile", table=self._table.id, remedy="Run it again.")
        merged = merge.write(merge.plan(snapshot))
        if not merged.adds and not merged.plan.removes:
            return True
        facts = {"import_platform.kind": self._kind, "import_platform.edit": self._id, **commit_facts(merged.counts)}
        try:
            self._table.log.commit(snapshot, Commit(merged.adds, merged.plan.removes, facts=facts))
        except (CommitConflict, CommitOutcomeUnknown):
            if not self._table.log.holds(snapshot.version + 1, self._id):
                return False
        merge.discard(merged.adds)
        _count(merged, report)
        return True

    def _take(self, rows: pa.RecordBatch, *, gone: bool) -> None:
        if not rows.num_rows:
            return
        marks = pa.repeat(pa.scalar(gone), rows.num_rows)
        self._pending.append(pa.RecordBatch.from_arrays([*rows.columns, marks], schema=self._schema))
        self._pending_bytes += rows.nbytes
        if self._pending_bytes >= self._table.context.budget.chunk_bytes:
            self._stage()

    @property
    def _pending_rows(self) -> int:
        return sum(int(batch.num_rows) for batch in self._pending)

    def _stage(self) -> None:
        if not self._pending:
            return
        chunk = Checkpoint(
            len(self._chunks) + 1, self._pending_rows, self._pending_bytes, None, id=uuid.uuid4().hex[:12]
        )
        self._table.staging.stage(self._id, chunk, self._schema, self._pending, ())
        self._chunks.append(chunk)
        self._pending, self._pending_bytes = [], 0


def _count(merged: Merged, report: SyncReport) -> None:
    report.add(merged.counts)
    report.partitions_touched += len({file.leaf for file in merged.adds})

"""Rejected rows put into the lake once they fit: the column was widened, or the policy changed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.arrow import arrow_array
from import_platform.core.deleted import marked
from import_platform.core.rejected import spelled_rows
from import_platform.core.report import Status, SyncReport
from import_platform.errors import ConfigError
from import_platform.io.delta import Snapshot
from import_platform.io.ledger import RejectedId, forget_rejected, rejected_batches
from import_platform.io.memory import MemoryWatch
from import_platform.pipeline.context import OpenTable, TableContext, open_table
from import_platform.pipeline.edit import Edit
from import_platform.pipeline.lookup import newer_than_lake
from import_platform.pipeline.measured import measured


def replay_rejected(context: TableContext) -> SyncReport:
    """Puts the rejected rows of a table that fit its columns now into the lake, in one commit, and forgets them.

    A row that the lake has in the same or a newer version is forgotten only. `rows_read` counts the rows of the ledger,
    `rows_rejected` those that stay there. The cursor does not move.

    Raises:
        ConfigError: the table has no primary key, so that a row could not be told from one that is there.
        CommitConflict: syncs won every race (try again).
    """

    def work(report: SyncReport, watch: MemoryWatch) -> None:
        table = open_table(context)
        if table.snapshot is None or not table.identity.primary_key:
            raise ConfigError(
                "rejected rows are replayed into tables that are in the lake and have a primary key",
                table=table.id,
                remedy=f"Read the table anew: import-platform sync {table.id} --full-refresh.",
            )
        _replay(table, table.snapshot, report, watch)
        after = table.log.snapshot()
        report.delta_version = after.version if after is not None else None

    return measured(context.table_id, context.budget, work)


def _replay(table: OpenTable, snapshot: Snapshot, report: SyncReport, watch: MemoryWatch) -> None:
    done: list[RejectedId] = []
    with Edit(table, snapshot, kind="replay") as edit:
        for ids, rows, fit in _read(table, snapshot.schema):
            with watch.breathe():
                report.rows_read += len(ids)
                report.rows_rejected += len(ids) - sum(fit.to_pylist())
                fitting = rows.filter(fit)
                if fitting.num_rows:
                    newer = newer_than_lake(table, snapshot, fitting).to_arrow()
                    _put(table, edit, fitting.filter(newer))
                done += [each for each, is_fit in zip(ids, fit.to_pylist(), strict=True) if is_fit]
        put = edit.rows
        with table.context.turns() as turns:
            turns.flush()
            edit.commit(report)
    forget_rejected(table.context.lake, table.spec.source, table.spec.name, done)
    report.status = Status.DONE if done else Status.UNCHANGED
    note = f"{put} rejected rows replayed, {len(done) - put} superseded, {report.rows_rejected} still do not fit"
    table.context.observer.note(table.id, note)


def _put(table: OpenTable, edit: Edit, rows: pa.RecordBatch) -> None:
    if table.spec.deleted is None or table.spec.deleted not in rows.schema.names:
        edit.put(rows)
        return
    gone = arrow_array(marked(rows.column(table.spec.deleted)))
    edit.remove(rows.filter(gone))
    edit.put(rows.filter(pc.invert(gone)))


def _read(table: OpenTable, schema: pa.Schema) -> Iterator[tuple[list[RejectedId], pa.RecordBatch, pa.Array]]:
    for batch in rejected_batches(table.context.lake, table.spec.source, table.spec.name):
        found = batch.to_pylist()
        ids = [RejectedId(row["attempt"], row["chunk"], row["row_number"]) for row in found]
        texts = [None if row["row"] is None else json.loads(row["row"]) for row in found]
        yield ids, *spelled_rows(texts, schema)

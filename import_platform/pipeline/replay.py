"""Rejected rows put into the lake once they fit: the column was widened, or the policy changed.

With a key a row comes back unless the lake has it in the same or a newer version. Without one it is added as often as
the lake lacks it. Where tables have versions of their own, see `replay_versions`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.arrow import arrow_array
from import_platform.core.deleted import marked
from import_platform.core.merge import candidate_files
from import_platform.core.rejected import spelled_rows
from import_platform.core.report import Status, SyncReport
from import_platform.core.table import SyncMode
from import_platform.core.wording import counted
from import_platform.errors import ConfigError
from import_platform.io.delta import Snapshot
from import_platform.io.ledger import RejectedId, forget_rejected, open_rejected, resolved_rejected
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import conform, read_batches
from import_platform.pipeline.context import OpenTable, TableContext, open_table
from import_platform.pipeline.edit import Edit
from import_platform.pipeline.extract import row_hashes
from import_platform.pipeline.fitting import evolution_of
from import_platform.pipeline.lookup import BATCH_BYTES, newer_than_lake
from import_platform.pipeline.measured import measured
from import_platform.pipeline.replay_versions import VersionedReplay


def replay_rejected(context: TableContext) -> SyncReport:
    """Puts the rejected rows of a table that fit its columns now into the lake, in one commit, and forgets them.

    A row that the lake has already, or in a newer version, is forgotten only, and so is one that a sync resolved (see
    `settle`). `rows_read` counts the rows that were open, `rows_rejected` those that stay. The cursor does not move.

    Raises:
        ConfigError: the table is not in the lake, or it has no key and is swapped whole, so that its next full refresh
            brings the rows and would take replayed ones away.
        CommitConflict: other runs won every race (try again).
    """

    def work(report: SyncReport, watch: MemoryWatch) -> None:
        table = open_table(context)
        if table.snapshot is None:
            raise ConfigError(
                "the lake has no such table", table=table.id, remedy=f"Import it first: import-platform sync {table.id}"
            )
        if not table.identity.primary_key and table.spec.sync is not SyncMode.APPEND:
            raise ConfigError(
                "a table without a key that is swapped whole gets its rejected rows with its next full refresh",
                table=table.id,
                remedy=f"Read it now: import-platform sync {table.id} --full-refresh.",
            )
        replay = _replay if table.spec.info.versions is None else _replay_versions
        replay(table, table.snapshot, report, watch)
        after = table.log.snapshot()
        report.delta_version = after.version if after is not None else None

    return measured(context.table_id, context.budget, work)


def _replay(table: OpenTable, snapshot: Snapshot, report: SyncReport, watch: MemoryWatch) -> None:
    done: list[RejectedId] = []
    lacking = None if table.identity.primary_key else _Lacking(table, snapshot)
    with Edit(table, snapshot, kind="replay") as edit:
        for ids, rows, fit in _read(table, snapshot.schema):
            with watch.breathe():
                report.rows_read += len(ids)
                report.rows_rejected += len(ids) - sum(fit.to_pylist())
                fitting = rows.filter(fit)
                if lacking is not None:
                    edit.put(fitting.filter(lacking.take(fitting)))
                elif fitting.num_rows:
                    newer = newer_than_lake(table, snapshot, fitting).to_arrow()
                    _put(table, edit, fitting.filter(newer))
                done += [each for each, is_fit in zip(ids, fit.to_pylist(), strict=True) if is_fit]
        put = edit.rows
        with table.context.turns() as turns:
            turns.flush()
            edit.commit(report)
    _conclude(table, report, done, put)


def _replay_versions(table: OpenTable, snapshot: Snapshot, report: SyncReport, watch: MemoryWatch) -> None:
    done: list[RejectedId] = []
    replay = VersionedReplay(table, snapshot, evolution_of(table.spec, snapshot).schema)
    try:
        for ids, rows, fitting in _read(table, replay.schema):
            with watch.breathe():
                fit = replay.fit(rows, fitting)
                report.rows_read += len(ids)
                report.rows_rejected += len(ids) - sum(fit.to_pylist())
                replay.put(rows.filter(fit))
                done += [each for each, is_fit in zip(ids, fit.to_pylist(), strict=True) if is_fit]
        with table.context.turns() as turns:
            turns.flush()
            put = replay.flush(report)
    finally:
        replay.discard()
    _conclude(table, report, done, put)


def _conclude(table: OpenTable, report: SyncReport, done: list[RejectedId], put: int) -> None:
    lake, source, name = table.context.lake, table.spec.source, table.spec.name
    done = [*done, *resolved_rejected(lake, source, name)]
    forget_rejected(lake, source, name, done)
    report.status = Status.DONE if done else Status.UNCHANGED
    note = f"{counted(put, 'rejected row')} replayed, {len(done) - put} superseded"
    note += f", {report.rows_rejected} still open: they do not fit yet"
    table.context.observer.note(table.id, note)


class _Lacking:
    """How many copies of each rejected row without a key the lake lacks.

    Rows at a cursor value that was not settled are read, and rejected, by several passes, each of which sees all copies
    of them. So a row belongs into the lake as often as one pass rejected it at most, and copies that are there count,
    however they came: by a later pass that they fitted, or by a replay that died before the ledger forgot them.
    Memory: a hash per rejected row, and a batch of the files that can hold one.
    """

    def __init__(self, table: OpenTable, snapshot: Snapshot) -> None:
        seen: Counter[tuple[str, int]] = Counter()
        cursors = [pl.from_arrow(pa.nulls(0, snapshot.schema.field(str(table.spec.cursor)).type))]
        for ids, rows, fit in _read(table, snapshot.schema):
            fitting = rows.filter(fit)
            attempts = [each.attempt for each, is_fit in zip(ids, fit.to_pylist(), strict=True) if is_fit]
            seen.update(zip(attempts, row_hashes(fitting).tolist(), strict=True))
            cursors.append(pl.from_arrow(fitting.column(str(table.spec.cursor))))
        self._left: Counter[int] = Counter()
        for (_, hash_), count in seen.items():
            self._left[hash_] = max(self._left[hash_], count)
        values = pl.concat(map(pl.Series, cursors)).sort(nulls_last=False).alias(str(table.spec.cursor))
        for path in candidate_files(snapshot.files, values, leaves=None)["path"]:
            self._find(table, snapshot.schema, f"{table.path}/{path}")

    def take(self, rows: pa.RecordBatch) -> pa.Array:
        """A mask of the rows to add; each that it gives is lacked no more."""
        mask = []
        for hash_ in row_hashes(rows).tolist():
            mask.append(self._left[hash_] > 0)
            self._left[hash_] -= 1
        return pa.array(mask, pa.bool_())

    def _find(self, table: OpenTable, schema: pa.Schema, path: str) -> None:
        wanted = np.fromiter(self._left, np.uint64, len(self._left))
        for _, batch in read_batches(table.store, path, limit_bytes=BATCH_BYTES):
            hashes = row_hashes(conform(batch, schema))
            self._left.subtract(hashes[np.isin(hashes, wanted)].tolist())


def _put(table: OpenTable, edit: Edit, rows: pa.RecordBatch) -> None:
    if table.spec.deleted is None or table.spec.deleted not in rows.schema.names:
        edit.put(rows)
        return
    gone = arrow_array(marked(rows.column(table.spec.deleted)))
    edit.remove(rows.filter(gone))
    edit.put(rows.filter(pc.invert(gone)))


def _read(table: OpenTable, schema: pa.Schema) -> Iterator[tuple[list[RejectedId], pa.RecordBatch, pa.Array]]:
    for batch in open_rejected(table.context.lake, table.spec.source, table.spec.name):
        found = batch.to_pylist()
        ids = [RejectedId(row["attempt"], row["chunk"], row["row_number"]) for row in found]
        texts = [None if row["row"] is None else json.loads(row["row"]) for row in found]
        yield ids, *spelled_rows(texts, schema)

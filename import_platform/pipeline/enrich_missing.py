"""Rows of the lake whose enrichment has no answer, asked for again; nothing is read from the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.arrow import arrow_array, numpy_mask
from import_platform.core.enriched_rows import missing
from import_platform.core.enrichment import Enrichment, check_asked, enriched_schema
from import_platform.core.lattice import widened
from import_platform.core.report import Stage, Status, SyncReport
from import_platform.core.schema import evolve
from import_platform.errors import ConfigError
from import_platform.io.delta import Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import conform, read_batches
from import_platform.pipeline.context import OpenTable, TableContext, open_table
from import_platform.pipeline.edit import Edit, TableMoved
from import_platform.pipeline.enrich import Enriching
from import_platform.pipeline.measured import measured
from import_platform.pipeline.versioned import refuse_versions

TRIES = 3
BATCH_BYTES = 4 << 20
COMMIT_BYTES = 256 << 20
"""Decoded rows after which a commit is made, behind the partition that reached it."""


def enrich_missing(context: TableContext) -> SyncReport:
    """Asks for the rows that failed, or that came before the enrichment was declared, and merges them by key.

    `rows_read` counts the rows asked for, `rows_updated` those that changed. A commit holds whole partitions, so what
    was answered stays whatever stops it later. The cursor does not move.

    Raises:
        ConfigError: the table declares no enrichment, has no key, or is not in the lake.
        CommitConflict: syncs changed the table during every try (try again when it is quieter).
        Interrupted: stopped on request; answers are remembered.
    """

    def work(report: SyncReport, watch: MemoryWatch) -> None:
        here = replace(context, watch=watch)
        table = open_table(here)
        leaves = sorted(set(_checked(table).files["leaf"]))
        tries = 0
        while leaves:
            try:
                leaves = leaves[_Round(open_table(here), report).run(leaves) :]
                tries = 0
            except TableMoved:
                tries += 1
                if tries == TRIES:
                    raise
                context.observer.note(context.table_id, "a sync changed the table meanwhile; looking again")
        after = table.log.snapshot()
        report.delta_version = after.version if after is not None else None
        report.status = Status.DONE if report.files_added else Status.UNCHANGED

    return measured(context.table_id, context.budget, work)


def _checked(table: OpenTable) -> Snapshot:
    if table.snapshot is None:
        raise ConfigError(
            "the lake has no such table", table=table.id, remedy=f"Import it first: import-platform sync {table.id}"
        )
    if not table.spec.enrich:
        raise ConfigError(
            "the table declares no enrichment", table=table.id, remedy="Declare enrich: in its defs.yaml, or leave it."
        )
    if not table.identity.primary_key:
        raise ConfigError(
            "rows without a primary key cannot be found again to be enriched",
            table=table.id,
            remedy=f"Declare primary_key:, or read it anew: import-platform sync {table.id} --full-refresh.",
        )
    refuse_versions(table, "an enrichment of stored rows")
    return table.snapshot


class _Round:
    """Some partitions of one snapshot of a table, enriched in one commit."""

    def __init__(self, table: OpenTable, report: SyncReport) -> None:
        self._table = table
        self._report = report
        self._snapshot = _with_columns(table, _checked(table))
        for each in table.spec.enrich:
            check_asked(each, each.key, self._snapshot.schema.names)
        told = [name for each in table.spec.enrich for name in (each.status, *each.key)]
        # Files from before the enrichment lack its columns, and have the primary key.
        names = dict.fromkeys([*table.identity.primary_key, *told])
        self._narrow = pa.schema([self._snapshot.schema.field(name) for name in names])

    def run(self, leaves: list[str]) -> int:
        """Enriches rows of the first leaves and returns how many of them are done, at least one."""
        context, table = self._table.context, self._table
        done, put_bytes = 0, 0
        with ExitStack() as stack:
            edit = stack.enter_context(Edit(table, self._snapshot, kind="enrich"))
            enriching = stack.enter_context(Enriching(table, context.stop))
            turns = stack.enter_context(context.turns())
            turns.read()
            while done < len(leaves) and put_bytes < COMMIT_BYTES:
                for rows in self._changed(leaves[done], enriching):
                    edit.put(rows)
                    put_bytes += rows.nbytes
                done += 1
            turns.flush()
            edit.commit(self._report)
        return done

    def _changed(self, leaf: str, enriching: Enriching) -> Iterator[pa.RecordBatch]:
        """Rows of a leaf that were asked for and are told something else than before."""
        files = self._snapshot.files
        for path in files.filter(files["leaf"] == leaf)["path"]:
            for rows in self._without_answer(f"{self._table.path}/{path}"):
                with self._table.context.watch.breathe():
                    after = rows
                    for each in self._table.spec.enrich:
                        after = _asked(after, each, enriching)
                    changed = after.filter(_differing(rows, after, self._table.spec.enrich))
                self._report.rows_read += rows.num_rows
                count = self._report.rows_read
                self._table.context.observer.progress(
                    self._table.id, Stage.READING, rows=count, bytes_=0, total_rows=None
                )
                yield changed

    def _without_answer(self, path: str) -> Iterator[pa.RecordBatch]:
        """Memory: one batch. Of a file in which every row has its answers only status and keys are read."""
        store, schema = self._table.store, self._snapshot.schema
        looked = read_batches(store, path, columns=self._narrow.names, limit_bytes=BATCH_BYTES)
        if not any(pc.any(self._mask(conform(batch, self._narrow))).as_py() for _, batch in looked):
            return
        for _, batch in read_batches(store, path, limit_bytes=BATCH_BYTES):
            rows = conform(batch, schema)
            found = rows.filter(self._mask(rows))
            if found.num_rows:
                yield found

    def _mask(self, rows: pa.RecordBatch) -> pa.Array:
        first, *others = self._table.spec.enrich
        found = missing(rows, first)
        for each in others:
            found = pc.or_(found, missing(rows, each))
        return found


def _with_columns(table: OpenTable, snapshot: Snapshot) -> Snapshot:
    """The table with the columns of its enrichments, which it lacks when no sync has brought a row since."""
    evolution = evolve(snapshot.schema, enriched_schema(table.spec.enrich), table=table.id)
    if evolution.widened:
        raise ConfigError(
            "the type of an enrichment's column changed since the last sync",
            table=table.id,
            columns=[field.name for field in evolution.widened],
            remedy=f"Read the table anew: import-platform sync {table.id} --full-refresh.",
        )
    if evolution.added:
        table.log.add_columns(snapshot, evolution.added)
        found = table.log.snapshot()
        assert found is not None, "the table was there a moment ago"
        return found
    return snapshot


def _asked(rows: pa.RecordBatch, enrichment: Enrichment, enriching: Enriching) -> pa.RecordBatch:
    """The rows, those without an answer of this enrichment asked for."""
    mask = missing(rows, enrichment)
    told = enriching.enrich(rows.filter(mask), [enrichment.name])
    from_told = numpy_mask(mask)
    places = np.arange(rows.num_rows)
    places[from_told] = rows.num_rows + np.arange(int(from_told.sum()))
    columns = []
    for field in rows.schema:
        column = rows.column(field.name)
        if field.name in enrichment.schema.names:
            new = widened(told.column(field.name), field.type)
            column = pa.concat_arrays([column, new]).take(arrow_array(places))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def _differing(before: pa.RecordBatch, after: pa.RecordBatch, enrichments: Sequence[Enrichment]) -> pa.Array:
    names = [name for each in enrichments for name in (each.status, each.error)]
    first, *others = [
        pc.not_equal(pc.fill_null(before.column(name), ""), pc.fill_null(after.column(name), "")) for name in names
    ]
    for mask in others:
        first = pc.or_(first, mask)
    return first

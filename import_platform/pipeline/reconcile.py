"""The lake against its source, row by row: what is missing, extra or different, found by streaming and repaired.

First count and sum of hashes per range of the key, on both sides; then only the ranges that differ are read again, and
only their keys and hashes are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.arrow import arrow_array
from import_platform.core.budget import key_row_bytes
from import_platform.core.columns import read_schema
from import_platform.core.compare import SAMPLE_EVERY, Places, Ranges, Tally, bounds_of, can_cut, groups, runs
from import_platform.core.deleted import marked
from import_platform.core.lattice import fitted
from import_platform.core.layout import ColumnRange
from import_platform.core.rejected import RejectedRow
from import_platform.core.report import Stage, Status, SyncReport
from import_platform.core.wording import counted
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.delta import Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import conform, read_batches
from import_platform.pipeline.context import OpenTable, TableContext, open_table
from import_platform.pipeline.edit import Edit, TableMoved
from import_platform.pipeline.extract import row_hashes
from import_platform.pipeline.fitting import Fitting, evolution_of
from import_platform.pipeline.measured import measured
from import_platform.pipeline.turns import Turns
from import_platform.pipeline.versioned import refuse_versions
from import_platform.sources.protocol import ReadRequest

TRIES = 3
LAKE_BATCH_BYTES = 4 << 20
HELD_ROW_BYTES = 64
"""What a row of a differing range costs beside its key: its hash, its place, and the tables of a join."""


@dataclass
class ReconcileReport(SyncReport):
    """The report of a comparison: `rows_read` counts the source's rows; the others what was found, and repaired unless
    only looked for. `ranges_differing` of the key had to be read again."""

    rows_missing: int = 0
    rows_extra: int = 0
    rows_differing: int = 0
    ranges_differing: int = 0


def reconcile(context: TableContext, *, repair: bool = True) -> SyncReport:
    """Makes the lake hold exactly the source's rows, in one commit. The cursor does not move.

    Rows that changed at the source since the last sync count as different: sync first to see only what syncs miss.
    Memory: keys and hashes of some differing ranges at a time, and a staged chunk.

    Raises:
        ConfigError: no primary key, never synced, or columns changed since the last sync (sync first).
        CommitConflict: syncs changed the table during every try (try again when it is quieter).
        Interrupted: stopped on request; nothing was changed.
    """
    report = ReconcileReport(context.table_id)

    def work(_report: SyncReport, watch: MemoryWatch) -> None:
        for round_ in range(1, TRIES + 1):
            _clear(report)
            table = open_table(replace(context, watch=watch))
            try:
                with context.turns() as turns:
                    _Comparison(table, _checked(table), report, turns).run(repair=repair)
                break
            except TableMoved:
                if round_ == TRIES:
                    raise
                context.observer.note(context.table_id, "a sync changed the table meanwhile; comparing again")

    done = measured(context.table_id, context.budget, work)
    report.seconds, report.peak_memory_bytes = done.seconds, done.peak_memory_bytes
    return report


def _clear(report: ReconcileReport) -> None:
    report.__dict__.update(ReconcileReport(report.table).__dict__)


def _checked(table: OpenTable) -> Snapshot:
    snapshot = table.snapshot
    if snapshot is None:
        raise ConfigError(
            "the table was never synced", table=table.id, remedy=f"Import it: import-platform sync {table.id}"
        )
    if not table.identity.primary_key:
        raise ConfigError(
            "rows can be compared by a primary key only",
            table=table.id,
            remedy=f"Declare primary_key:, or read it anew: import-platform sync {table.id} --full-refresh.",
        )
    refuse_versions(table, "a comparison")
    evolution = evolution_of(table.spec, snapshot)
    if evolution.added or evolution.widened:
        changed = [field.name for field in (*evolution.added, *evolution.widened)]
        raise ConfigError(
            "columns changed at the source since the last sync",
            table=table.id,
            columns=changed[:10],
            remedy=f"Sync first: import-platform sync {table.id}",
        )
    return snapshot


class _Comparison:
    """One comparison of an open table with one snapshot of it."""

    def __init__(self, table: OpenTable, snapshot: Snapshot, report: ReconcileReport, turns: Turns) -> None:
        self._table = table
        self._snapshot = snapshot
        self._report = report
        self._turns = turns
        self._key = table.identity.primary_key
        self._fitting = Fitting(table.spec, snapshot)
        self._names = [name for name in read_schema(table.spec).names if name in snapshot.schema.names]
        self._schema = pa.schema([snapshot.schema.field(name) for name in self._names])
        self._first = table.spec.info.column(self._key[0])
        self._unread: list[RejectedRow] = []

    def run(self, *, repair: bool) -> None:
        """Finds the differences; with `repair` mends them in one commit."""
        self._turns.read()
        ranges = self._ranges()
        lake, source = Tally.of(ranges), Tally.of(ranges)
        for rows in self._lake_rows(None):
            lake.add(ranges.places(rows), row_hashes(rows))
        for rows in self._source_rows(None, keep_rejected=True):
            self._report.rows_read += rows.num_rows
            same = rows.select(self._names)
            source.add(ranges.places(same), row_hashes(same))
            self._progress()
        wrong = lake.differing(source)
        self._report.ranges_differing = len(wrong)
        with Edit(self._table, self._snapshot, kind="reconcile") as edit:
            rows_max = self._table.context.budget.merge_bytes // self._held_bytes()
            per_range = np.maximum(lake.rows, source.rows)
            for group in groups(wrong, per_range, rows_max=max(rows_max, 1)):
                self._look_into(ranges, group, edit)
            if repair and wrong:
                self._turns.flush()
                edit.commit(self._report)
        self._conclude(repair=repair)

    def _ranges(self) -> Ranges:
        dtype = self._snapshot.schema.field(self._key[0]).type
        if self._first is None or not can_cut(dtype, nullable=self._first.nullable):
            return Ranges(self._key, None, dtype)
        sample = []
        for path in self._snapshot.files["path"]:
            full = f"{self._table.path}/{path}"
            for _, batch in read_batches(self._table.store, full, columns=[self._key[0]], limit_bytes=LAKE_BATCH_BYTES):
                values = pl.Series(values=pl.from_arrow(batch.column(0).cast(dtype)))
                sample.append(values.gather_every(SAMPLE_EVERY))
        known = pl.concat(sample) if sample else pl.Series(values=pl.from_arrow(pa.nulls(0, dtype)))
        return Ranges(self._key, bounds_of(known), dtype)

    def _look_into(self, ranges: Ranges, group: list[int], edit: Edit) -> None:
        """Compares the rows of some ranges by key."""
        held = _Held(self._key, self._lake_rows(_inside(ranges, group)))
        # A key that a person declared may repeat at the source; then its last version counts, which the merge finds.
        spec = self._table.spec
        unique = spec.primary_key == spec.info.primary_key and not spec.info.key_repeats
        for rows in self._source_rows_of(ranges, group):
            inside = rows.filter(arrow_array(np.isin(ranges.places(rows.select(self._names)), group)))
            found = held.judge(inside.select(self._names))
            self._report.rows_missing += int(np.count_nonzero(found == _MISSING))
            self._report.rows_differing += int(np.count_nonzero(found == _DIFFERENT))
            wrong = found != _SAME if unique else np.full(inside.num_rows, bool((found != _SAME).any()))
            edit.put(inside.filter(arrow_array(wrong)))
        extra = held.unseen(self._protected())
        self._report.rows_extra += extra.num_rows
        nulls = {name: pa.nulls(extra.num_rows, self._schema.field(name).type) for name in self._names}
        columns = nulls | dict(zip(extra.schema.names, extra.columns, strict=True))
        edit.remove(pa.RecordBatch.from_arrays([columns[name] for name in self._names], schema=self._schema))

    def _protected(self) -> pa.RecordBatch:
        """Keys of rows that the source has and cannot give: their last version in the lake stays."""
        columns = []
        for name in self._key:
            texts = pa.array([row.key.get(name) for row in self._unread], pa.string())
            columns.append(fitted(texts, self._schema.field(name).type)[0])
        return pa.RecordBatch.from_arrays(columns, names=list(self._key))

    def _lake_rows(self, inside: Callable[[pa.RecordBatch], pa.Array] | None) -> Iterator[pa.RecordBatch]:
        for path in self._snapshot.files["path"]:
            full = f"{self._table.path}/{path}"
            for _, raw in read_batches(self._table.store, full, limit_bytes=LAKE_BATCH_BYTES):
                with self._table.context.watch.breathe():
                    rows = conform(raw, self._schema)
                    yield rows if inside is None else rows.filter(inside(rows))

    def _source_rows_of(self, ranges: Ranges, group: list[int]) -> Iterator[pa.RecordBatch]:
        """At least the rows of these ranges, each once; the lake was read once for all of them."""
        for run in runs(group) if ranges.bounds is not None else [group]:
            yield from self._source_rows(ranges.column_range(run))

    def _source_rows(self, range_: ColumnRange | None, *, keep_rejected: bool = False) -> Iterator[pa.RecordBatch]:
        """Rows of the source as a sync would store them, without those that it marks as deleted."""
        context, spec = self._table.context, self._table.spec
        request = ReadRequest(
            spec.info,
            tuple(column.name for column in spec.info.columns),
            spec.primary_key,
            range=range_,
            page_bytes=context.budget.page_bytes,
            row_bytes_max=context.budget.row_bytes_max,
        )
        for page in context.source.read(request):
            if context.stop():
                raise Interrupted("stopped while comparing; nothing was changed", remedy="Run it again.")
            rows, rejected = self._fitting.fit(page)
            if keep_rejected:
                self._unread += rejected
            if spec.deleted is not None:
                rows = rows.filter(arrow_array(~marked(rows.column(spec.deleted))))
            if rows.num_rows:
                yield conform(rows, self._conformed(rows.schema))

    def _conformed(self, staged: pa.Schema) -> pa.Schema:
        return pa.schema([
            self._schema.field(field.name) if field.name in self._names else field for field in staged
        ])  # fmt: skip

    def _held_bytes(self) -> int:
        return HELD_ROW_BYTES + 2 * key_row_bytes([self._schema.field(name).type for name in self._key])

    def _progress(self) -> None:
        total = self._table.spec.info.row_estimate
        self._table.context.observer.progress(
            self._table.id,
            Stage.READING,
            rows=self._report.rows_read,
            bytes_=0,
            total_rows=total if total >= 0 else None,
        )

    def _conclude(self, *, repair: bool) -> None:
        report = self._report
        wrong = report.rows_missing + report.rows_extra + report.rows_differing
        report.rows_rejected = len(self._unread)
        report.status = Status.DONE if repair and report.files_added + report.files_removed else Status.UNCHANGED
        after = self._table.log.snapshot()
        report.delta_version = after.version if after is not None else None
        what = f"{counted(report.rows_missing, 'row')} missing"
        what += f", {report.rows_extra} extra, {report.rows_differing} different"
        end = "" if not wrong else "; repaired" if repair else "; nothing was changed"
        self._table.context.observer.note(self._table.id, f"compared {counted(report.rows_read, 'row')}: {what}{end}")


_SAME, _DIFFERENT, _MISSING = 0, 1, 2


class _Held:
    """Keys and hashes of the lake's rows of some ranges, and which of them the source has."""

    def __init__(self, key: tuple[str, ...], batches: Iterator[pa.RecordBatch]) -> None:
        self._names = [f"k{i}" for i in range(len(key))]
        self._key = key
        frames = [self._keyed(rows).with_columns(hash=pl.Series(row_hashes(rows))) for rows in batches if rows.num_rows]
        rows = pl.concat(frames) if frames else None
        # A key that the lake holds twice is wrong whatever its rows are: its row is put again, once.
        self._rows = (
            None
            if rows is None
            else rows.group_by(self._names, maintain_order=True)
            .agg(pl.col("hash").first(), (pl.len() > 1).alias("doubled"))
            .with_row_index("at")
        )
        self._seen = np.zeros(0 if self._rows is None else self._rows.height, dtype=bool)

    def judge(self, rows: pa.RecordBatch) -> Places:
        """_SAME, _DIFFERENT or _MISSING in the lake, per row."""
        if self._rows is None:
            return np.full(rows.num_rows, _MISSING, dtype=np.int64)
        mine = (
            self._keyed(rows)
            .cast({n: self._rows.schema[n] for n in self._names})
            .with_columns(mine=pl.Series(row_hashes(rows)))
        )
        found = mine.join(self._rows, on=self._names, how="left", nulls_equal=True, maintain_order="left")
        self._seen[found["at"].drop_nulls().to_numpy()] = True
        same = ((found["mine"] == found["hash"]) & ~found["doubled"]).fill_null(False)
        judged = pl.select(pl.when(found["at"].is_null()).then(_MISSING).when(same).then(_SAME).otherwise(_DIFFERENT))
        return judged.to_series().cast(pl.Int64).to_numpy()

    def unseen(self, protected: pa.RecordBatch) -> pa.RecordBatch:
        """Keys that the source did not give, without the protected ones."""
        if self._rows is None:
            return protected.slice(0, 0)
        left = self._rows.filter(~pl.Series(self._seen)).select(self._names)
        spared = self._keyed(protected).cast(left.schema)
        left = left.join(spared, on=self._names, how="anti", nulls_equal=True)
        arrays = [
            left[n].to_arrow().cast(protected.schema.field(k).type) for n, k in zip(self._names, self._key, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, names=list(self._key))

    def _keyed(self, rows: pa.RecordBatch) -> pl.DataFrame:
        return pl.DataFrame({n: pl.from_arrow(rows.column(k)) for n, k in zip(self._names, self._key, strict=True)})


def _inside(ranges: Ranges, group: list[int]) -> Callable[[pa.RecordBatch], pa.Array]:
    return lambda rows: arrow_array(np.isin(ranges.places(rows), group))

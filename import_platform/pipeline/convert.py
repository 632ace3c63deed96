"""Another partition for a table in place: every row to its leaf under the new one, in one commit.

The same log entry carries the files and the table's new identity, so no reader and no killed writer ever sees leaves of
one partition under the properties of another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import polars as pl
import pyarrow as pa

from import_platform.core.arrow import polars_type
from import_platform.core.budget import MemoryBudget, format_bytes
from import_platform.core.column_range import check_partition_column
from import_platform.core.identity import Identity
from import_platform.core.layout import children
from import_platform.core.report import Observer, Silent, Stage, Status, SyncReport
from import_platform.core.split import SplitPlan, finest_granularity
from import_platform.core.table import HashPartition, PartitionSpec
from import_platform.core.wording import counted
from import_platform.errors import ConfigError
from import_platform.io.delta import Commit, Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.pipeline.context import LakeTable, stored_identity
from import_platform.pipeline.counting import assigned, column_type, count_files, grown
from import_platform.pipeline.measured import count, measured
from import_platform.pipeline.relayout import Relayout, Scattered
from import_platform.pipeline.repartition import Change


def plan_conversion(table: LakeTable, partition: PartitionSpec, *, limit_bytes: int) -> SplitPlan:
    """The leaves that the table's rows go to, from the base level of the partition down to the limit.

    Reads the columns that place a row only. The plan's `leaf` is empty: it takes the whole table apart.

    Raises:
        ConfigError: the table has no such column, or its type does not suit the partition.
    """
    converted, snapshot = _as_converted(table, partition), table.snapshot
    if snapshot is None:
        return SplitPlan("", 0, 0, {}, (), ())
    paths = snapshot.files["path"].to_list()

    def counted(targets: Sequence[str], interior: Collection[str]) -> Mapping[str, int]:
        return count_files(converted, snapshot.schema, paths, targets, interior)

    rows = counted((), ())
    plan = SplitPlan("", snapshot.rows, snapshot.size_bytes, rows, (), ())
    finest = finest_granularity(column_type(converted.identity, snapshot.schema))
    still = tuple(
        leaf
        for leaf, number in rows.items()
        if number > 1 and plan.bytes_of(leaf) * 2 > limit_bytes and children(leaf, partition, finest=finest)
    )
    return grown(replace(plan, open=still), converted.identity, snapshot.schema, counted, limit_bytes=limit_bytes)


def planned_conversion(table: LakeTable, partition: PartitionSpec, *, limit_bytes: int) -> list[Change]:
    """The conversion as one change of no leaf in particular; none when the table has that partition already."""
    if table.identity.partition == partition:
        return []
    plan = plan_conversion(table, partition, limit_bytes=limit_bytes)
    return [Change("", "convert", plan.total_bytes, plan.total_rows, tuple(plan.targets))]


def convert(
    table: LakeTable,
    partition: PartitionSpec,
    *,
    limit_bytes: int,
    budget: MemoryBudget,
    observer: Observer | None = None,
) -> SyncReport:
    """Rewrites every row under the new partition. Readers see the same rows before and after; memory as Relayout.

    Raises:
        ConfigError: as `plan_conversion`.
        CommitConflict: a busy table won every race (try later).
    """
    watched = observer or Silent()

    def work(report: SyncReport, watch: MemoryWatch) -> None:
        if table.snapshot is None or table.identity.partition == partition:
            report.delta_version = table.snapshot.version if table.snapshot else None
            return
        plan = plan_conversion(table, partition, limit_bytes=limit_bytes)
        progressed = _progressing(watched, table.id, plan.total_rows)
        done = _Conversion(table, partition, plan, budget=budget, watch=watch, on_rows=progressed).run()
        count(done, report)
        report.status = Status.DONE
        after = table.log.snapshot()
        report.delta_version = after.version if after is not None else None
        watched.note(table.id, f"placed {format_bytes(done.bytes_written)} in {counted(len(done.leaves), 'leaf')}")

    return measured(table.id, budget, work)


class _Conversion(Relayout):
    """A relayout of the whole table whose commit changes the identity with it."""

    def __init__(
        self,
        table: LakeTable,
        partition: PartitionSpec,
        plan: SplitPlan,
        *,
        budget: MemoryBudget,
        watch: MemoryWatch,
        on_rows: Callable[[int], None],
    ) -> None:
        converted = _as_converted(table, partition)

        def place(batch: pa.RecordBatch, _: Snapshot) -> pl.Series:
            return assigned(converted.identity, batch, set(plan.targets), plan.interior)

        def select(snapshot: Snapshot) -> Sequence[str]:
            return list(snapshot.files.sort("leaf", "modified_ms", "path")["path"])

        how = Scattered(place, plan.targets)
        super().__init__(converted, select, how, kind="convert", budget=budget, watch=watch, on_rows=on_rows)
        self._before = table.identity

    def _is_done(self, snapshot: Snapshot, inputs: Sequence[str]) -> bool:
        return stored_identity(snapshot) == self._table.identity

    def _stored(self) -> Identity:
        return self._before

    def _commit(self, base: Snapshot, commit: Commit) -> None:
        self._table.log.commit_identity(base, commit, identity=self._table.identity.to_json())


def _as_converted(table: LakeTable, partition: PartitionSpec) -> LakeTable:
    if not isinstance(partition, HashPartition) and table.snapshot is not None:
        names = table.snapshot.schema.names
        if partition.column not in names:
            raise ConfigError(
                "the table has no such column", table=table.id, column=partition.column, remedy=f"It has {names[:30]}."
            )
        check_partition_column(partition, polars_type(table.snapshot.schema.field(partition.column).type))
    return replace(table, identity=replace(table.identity, partition=partition))


def _progressing(observer: Observer, table_id: str, total_rows: int) -> Callable[[int], None]:
    rows_done = 0

    def progressed(rows: int) -> None:
        nonlocal rows_done
        rows_done += rows
        observer.progress(table_id, Stage.MERGING, rows=rows_done, bytes_=0, total_rows=total_rows)

    return progressed

"""A table's leaves brought back inside the limit: the oversized ones split, scattered small ones merged back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from import_platform.core.budget import MemoryBudget, format_bytes
from import_platform.core.layout import ancestors
from import_platform.core.repartition import (
    RepartitionRecord,
    coarsenable,
    leaves_of,
    oversized,
    record_from_json,
)
from import_platform.core.report import Observer, Silent, Stage, Status, SyncReport
from import_platform.core.split import SplitPlan
from import_platform.core.wording import counted
from import_platform.io.delta import Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.io.store import Store
from import_platform.pipeline.context import LakeTable
from import_platform.pipeline.measured import count, measured
from import_platform.pipeline.scatter import batch_bytes, buffered_bytes
from import_platform.pipeline.split import coarsen, plan_split, split_leaf

WARM_UP_BYTES = 100 << 20
WORKING_BATCHES = 8
"""What a rewrite holds beside its buffers: pages of libraries that are used for the first time, batches decoded ahead,
their copies by leaf, one row group being encoded. Measured above base and buffers, a 300 MB leaf into 28 of them:
158 MB at a budget of 320 MiB, 203 MB at 512 MiB, 251 MB at 1 GiB."""


@dataclass(frozen=True)
class Change:
    """One leaf to split (`targets` are its children with rows, `bytes` what is rewritten) or node to merge back
    (`targets` is the node alone). `unsplittable` leaves stay as they are."""

    leaf: str
    action: str
    bytes: int
    rows: int
    targets: tuple[str, ...]
    unsplittable: bool = False


def predicted_peak_bytes(budget: MemoryBudget) -> int:
    """Of a rewrite, whatever the leaf: see Relayout."""
    return budget.base_bytes + buffered_bytes(budget) + WARM_UP_BYTES + WORKING_BATCHES * batch_bytes(budget)


def read_record(store: Store, table_path: str) -> RepartitionRecord:
    """What earlier repartitions of the table found out; the empty record when there was none."""
    data = store.get(_record_path(table_path))
    return record_from_json(data) if data is not None else RepartitionRecord()


def plan_repartition(table: LakeTable, *, limit_bytes: int, now: datetime) -> list[Change]:
    """What `repartition` would do now. Reads the columns that place a row in the leaves to split, and writes nothing.

    Leaves known to be unsplittable are looked at again, because a person asked.
    """
    if table.snapshot is None:
        return []
    leaves = leaves_of(table.snapshot.files)
    changes = []
    for name in oversized(leaves, RepartitionRecord(), limit_bytes=limit_bytes):
        plan = plan_split(table, name, limit_bytes=limit_bytes)
        changes.append(_split_change(plan))
    for node in coarsenable(leaves, table.identity.partition, limit_bytes=limit_bytes, now=now):
        below = [leaf for name, leaf in leaves.items() if node in ancestors(name, table.identity.partition)]
        size, rows = sum(leaf.size_bytes for leaf in below), sum(leaf.rows for leaf in below)
        changes.append(Change(node, "coarsen", size, rows, (node,)))
    return changes


def _split_change(plan: SplitPlan) -> Change:
    return Change(plan.leaf, "split", plan.total_bytes, plan.total_rows, tuple(plan.targets), plan.unsplittable)


@dataclass
class Repartition:
    """One repartition of a table. Mutable: it lives for one run and fills the report.

    `by_hand` looks again at leaves that were found unsplittable.
    """

    table: LakeTable
    limit_bytes: int
    budget: MemoryBudget
    observer: Observer
    stop: Callable[[], bool]
    by_hand: bool = False

    def run(self) -> SyncReport:
        """Splits and merges leaf by leaf, one commit each, until none is left or `stop` says so.

        In the report rows and bytes are those rewritten. A killed run counts as a failure, a stopped one does not.

        Raises:
            ImportPlatformError: with the report so far as its `report` attribute; what was committed stays.
        """
        return measured(self.table.id, self.budget, self._work)

    def _work(self, report: SyncReport, watch: MemoryWatch) -> None:
        store, path = self.table.store, _record_path(self.table.path)
        record = read_record(store, self.table.path)
        snapshot = self._reload()
        if snapshot is None:
            return
        leaves, now = leaves_of(snapshot.files), datetime.now(UTC)
        known = replace(record, unsplittable={}) if self.by_hand else record
        large = oversized(leaves, known, limit_bytes=self.limit_bytes)
        nodes = coarsenable(leaves, self.table.identity.partition, limit_bytes=self.limit_bytes, now=now)
        report.delta_version = snapshot.version
        if not large and not nodes:
            return
        store.put(path, record.beginning(leaves[large[0]].size_bytes if large else 0, now=now).to_json())
        for leaf in large:
            if not self.stop():
                record = self._split(leaf, record, report, watch)
        for node in nodes:
            if not self.stop():
                done = coarsen(self.table, node, budget=self.budget, watch=watch, on_rows=self._progressing(None))
                count(done, report)
                self.observer.note(self.table.id, f"merged the leaves below {node} back into it")
        store.put(path, record.ended_well().to_json())
        last = self._reload()
        report.delta_version = last.version if last is not None else None
        report.status = Status.DONE if report.files_added else Status.UNCHANGED
        if self.stop():
            report.status = Status.CHECKPOINTED

    def _split(self, leaf: str, record: RepartitionRecord, report: SyncReport, watch: MemoryWatch) -> RepartitionRecord:
        snapshot = self._reload()
        if snapshot is None or leaf not in snapshot.leaves:
            return record  # somebody else split it meanwhile
        plan = plan_split(self.table, leaf, limit_bytes=self.limit_bytes)
        size = format_bytes(plan.total_bytes)
        if plan.unsplittable:
            if leaf not in record.unsplittable:
                self.observer.note(self.table.id, f"{leaf} ({size}) cannot be split: all its rows share one key")
            return record.with_unsplittable(leaf, plan.total_bytes)
        progressed = self._progressing(plan.total_rows)
        done = split_leaf(self.table, plan, budget=self.budget, watch=watch, on_rows=progressed)
        count(done, report)
        self.observer.note(self.table.id, f"split {leaf} ({size}) into {counted(len(done.leaves), 'leaf')}")
        return record

    def _progressing(self, total_rows: int | None) -> Callable[[int], None]:
        rows_done = 0

        def progressed(rows: int) -> None:
            nonlocal rows_done
            rows_done += rows
            self.observer.progress(self.table.id, Stage.MERGING, rows=rows_done, bytes_=0, total_rows=total_rows)

        return progressed

    def _reload(self) -> Snapshot | None:
        snapshot = self.table.log.snapshot()
        self.table = replace(self.table, snapshot=snapshot)
        return snapshot


def repartition(
    table: LakeTable,
    *,
    limit_bytes: int,
    budget: MemoryBudget,
    observer: Observer | None = None,
    stop: Callable[[], bool] = lambda: False,
    by_hand: bool = False,
) -> SyncReport:
    """Brings every leaf inside the limit. See Repartition.run."""
    return Repartition(table, limit_bytes, budget, observer or Silent(), stop, by_hand).run()


def _record_path(table_path: str) -> str:
    return f"_staging/{table_path}/repartition.json"

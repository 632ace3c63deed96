"""Keeping a table quick to read and to merge into: small files compacted in key order, dead files deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from import_platform.core.budget import MemoryBudget, format_bytes
from import_platform.core.maintenance import compactable
from import_platform.core.report import Observer, Status, SyncReport
from import_platform.core.wording import counted
from import_platform.io.delta import Snapshot
from import_platform.io.key_filter import KeyFilters
from import_platform.io.memory import MemoryWatch
from import_platform.io.releases import spared_versions
from import_platform.pipeline.context import LakeTable
from import_platform.pipeline.measured import count, measured
from import_platform.pipeline.relayout import Gathered, Relayout, Relayouted

VACUUM_AGE = timedelta(days=7)
"""As long as an attempt may be resumed: readers of older versions and open attempts never lose a file."""


@dataclass(frozen=True)
class Maintained:
    """What maintenance did: compactions per leaf, and deleted objects with their bytes at rest."""

    compactions: tuple[Relayouted, ...]
    deleted_files: int
    deleted_bytes: int


def maintain(
    table: LakeTable, *, budget: MemoryBudget, vacuum_age: timedelta = VACUUM_AGE, watch: MemoryWatch | None = None
) -> Maintained:
    """Compacts every leaf with many small files and deletes what no reader or open attempt can need: dead files,
    attempts that nobody goes on with, and states that are no longer in force.

    Raises:
        CommitConflict: a busy table won every race (try later).
    """
    leaves = compactable(table.snapshot.files) if table.snapshot is not None else {}
    done = [compact_leaf(table, leaf, budget=budget, watch=watch) for leaf in leaves]
    table.staging.forget_attempts(older_than=vacuum_age)
    files, size = vacuum(table, older_than=vacuum_age)
    snapshot = table.log.snapshot()
    if snapshot is not None:
        table.staging.forget_states(before=snapshot.transaction, older_than=vacuum_age)
        living = table.staging.state(snapshot.transaction).tombstones
        table.staging.tombstones.forget(living, older_than=vacuum_age)
    return Maintained(tuple(done), files, size)


def maintain_table(
    table: LakeTable, *, budget: MemoryBudget, observer: Observer | None = None, vacuum_age: timedelta = VACUUM_AGE
) -> SyncReport:
    """`maintain` with a report, where rows and bytes are those rewritten.

    Raises:
        ImportPlatformError: with the report so far as its `report` attribute; what was committed stays.
    """

    def work(report: SyncReport, watch: MemoryWatch) -> None:
        done = maintain(table, budget=budget, vacuum_age=vacuum_age, watch=watch)
        for compaction in done.compactions:
            count(compaction, report)
        after = table.log.snapshot()
        report.delta_version = after.version if after is not None else None
        report.status = Status.DONE if done.compactions or done.deleted_files else Status.UNCHANGED
        if observer is not None:
            deleted = f"deleted {counted(done.deleted_files, 'dead file')}, {format_bytes(done.deleted_bytes)}"
            observer.note(table.id, f"compacted {counted(len(done.compactions), 'leaf')}; {deleted}")

    return measured(table.id, budget, work)


def compact_leaf(table: LakeTable, leaf: str, *, budget: MemoryBudget, watch: MemoryWatch | None = None) -> Relayouted:
    """Merges the small files of a leaf into full ones in key order."""

    def select(snapshot: Snapshot) -> list[str]:
        return compactable(snapshot.files).get(leaf, [])

    return Relayout(table, select, Gathered(leaf), kind="compact", budget=budget, watch=watch).run()


def vacuum(table: LakeTable, *, older_than: timedelta) -> tuple[int, int]:
    """Deletes files of the table that no recent version names, orphans of killed writers included.

    Spared: every file named by a version younger than `older_than`, every younger file, and the files of open
    attempts and of the newest releases. Returns the number of deleted files and their bytes.
    """
    snapshot = table.log.snapshot()
    if snapshot is None:
        return 0, 0
    spared = {path for attempt in table.staging.attempts() for path in attempt.range_files}
    for version in spared_versions(table.store, *table.id.split("/", 1)):
        spared |= table.log.paths_at(version) or frozenset()
    KeyFilters(table.store, table.path).forget(snapshot.files["path"])
    young = datetime.now(UTC) - older_than
    dead = table.log.dead_files(older_than) - spared
    entries = [
        entry
        for entry in table.store.entries(table.path)
        if entry.path.removeprefix(f"{table.path}/") in dead and entry.modified_at < young
    ]
    table.store.delete(entry.path for entry in entries)
    return len(entries), sum(entry.size_bytes for entry in entries)

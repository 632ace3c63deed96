"""Tables of the lake brought to PostgreSQL: a group in one transaction, changed rows only where that is possible.

The database itself records, in that transaction, which Delta version it holds; so after a kill at any moment the next
run sees either the version before or the new one, and does what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.core.publication import PublishMode, PublishReport, ToPostgres
from import_platform.core.report import Observer, Silent, Stage, Status
from import_platform.errors import ConfigError, Interrupted, TableBusy, TargetRejected, TargetUnavailable
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.memory import MemoryWatch
from import_platform.io.postgres_target import publishing_transaction
from import_platform.io.published_table import GONE, STAGING, Counts, Published, PublishedTable
from import_platform.pipeline.context import stored_identity
from import_platform.pipeline.lake_changes import Files, LakeChanges


@dataclass(frozen=True)
class Publishing:
    """What one publication works with. `stop` is asked once per batch."""

    lake: Lake
    source: str
    budget: MemoryBudget
    observer: Observer = Silent()  # noqa: RUF009  it holds nothing
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class _Table:
    name: str
    to: ToPostgres
    changes: LakeChanges
    key: tuple[str, ...]
    report: PublishReport

    @property
    def target_name(self) -> str:
        return self.to.table or self.name


def publish_group(work: Publishing, tables: Sequence[tuple[str, ToPostgres]], dsn: str) -> list[PublishReport]:
    """Publishes the tables, all or none. Memory: a few batches of 4 MiB, and hashes within the merge's share.

    Raises:
        ConfigError: a table is not in the lake, or its target holds what did not come from here.
        TargetUnavailable, TableBusy, StoreUnavailable: try again; TargetRejected: the target's owner has to act.
        Interrupted: stopped on request. After any of them the target is as it was.
    """
    started = time.monotonic()
    opened = [_opened(work, name, to) for name, to in tables]
    with MemoryWatch(work.budget.total_bytes) as watch, publishing_transaction(dsn) as transaction:
        targets = {table.name: PublishedTable(transaction, table.to.schema, table.target_name) for table in opened}
        for table in sorted(opened, key=lambda table: targets[table.name].full_name):
            with _told_of(table):
                targets[table.name].lock()  # in one order, so that two publishers never wait for each other
        for table in opened:
            with _told_of(table):
                _TableToPostgres(work, table, targets[table.name], watch).publish()
    for table in opened:
        table.report.seconds = round(time.monotonic() - started, 3)
        table.report.peak_memory_bytes = watch.peak_bytes
    return [table.report for table in opened]


@contextmanager
def _told_of(table: _Table) -> Iterator[None]:
    """Adds to what the target says which table it was about, because a group has several."""
    try:
        yield
    except (TargetRejected, TargetUnavailable, TableBusy) as error:
        facts = {"table": table.report.table, "target": table.report.target, **error.facts}
        raise type(error)(error.message, remedy=error.remedy, **facts) from None


def _opened(work: Publishing, name: str, to: ToPostgres) -> _Table:
    snapshot = DeltaLog(work.lake.store, work.lake.table_path(work.source, name)).snapshot()
    if snapshot is None:
        raise ConfigError(
            "the table is not in the lake yet",
            table=f"{work.source}/{name}",
            remedy=f"Import it first: import-platform sync {work.source}/{name}",
        )
    identity = stored_identity(snapshot)
    changes = LakeChanges(work.lake, work.source, name, snapshot, merge_bytes=work.budget.merge_bytes)
    key = identity.primary_key if identity is not None and to.mode is not PublishMode.SWAP else ()
    if to.mode is PublishMode.MERGE and not key:
        raise ConfigError(
            "a table without primary key cannot be merged",
            table=f"{work.source}/{name}",
            remedy="Write mode: swap under publish, or declare its primary_key.",
        )
    report = PublishReport(
        f"{work.source}/{name}", delta_version=snapshot.version, target=f"{to.schema}.{to.table or name}"
    )
    return _Table(name, to, changes, key, report)


class _TableToPostgres:
    """One table inside the group's transaction."""

    def __init__(self, work: Publishing, table: _Table, target: PublishedTable, watch: MemoryWatch) -> None:
        self._work = work
        self._table = table
        self._target = target
        self._watch = watch
        self._schema = table.changes.snapshot.schema
        self._id = f"{work.source}/{table.name}"

    def publish(self) -> None:
        report, snapshot = self._table.report, self._table.changes.snapshot
        lake_id = self._table.changes.id()
        before = self._target.published()
        if not self._target.exists():
            self._create()
        else:
            self._check_owned(before)
            same = before is not None and before.lake_id == lake_id
            since = before.version if before is not None and same else None
            if since == snapshot.version:
                return
            for done in self._target.evolve(self._schema, self._table.to.types):
                self._work.observer.note(self._id, f"{report.target}: {done}")
            self._change(since)
        self._target.record(Published(self._id, lake_id, snapshot.version))

    def _check_owned(self, before: Published | None) -> None:
        if before is None and not self._target.is_empty():
            raise ConfigError(
                "the target holds rows that were not published from here",
                target=self._table.report.target,
                remedy="Empty or drop it, or publish to another name.",
            )
        if before is not None and before.lake_table != self._id:
            raise ConfigError(
                "another table is published to this target",
                target=self._table.report.target,
                other=before.lake_table,
                remedy="Publish to another name, or drop the target.",
            )

    def _create(self) -> None:
        self._target.create(self._schema, self._table.to.types)
        counts = self._swapped()
        if self._table.key:
            self._target.add_key(self._table.key)
        self._count("create", counts)

    def _change(self, since: int | None) -> None:
        changes, key = self._table.changes, self._table.key
        files = changes.since(since) if since is not None else None
        self._table.report.since = None if files is None or not key else since
        if files is not None and not files.came and not files.went:
            return
        if files is not None and key:
            self._merge(files)
            return
        if not self._target.is_referenced():
            self._count("swap", self._swapped())
        elif key:
            self._target.stage(STAGING, self._schema, self._batches(changes.rows(changes.whole())))
            self._count("merge", self._target.merge(self._schema, key, is_whole=True))
        else:
            raise ConfigError(
                "a foreign key points to the target, and without a primary key its rows cannot be told apart",
                target=self._table.report.target,
                remedy="Declare the table's primary_key, or drop the foreign key.",
            )

    def _swapped(self) -> Counts:
        rows = self._batches(self._table.changes.rows(self._table.changes.whole()))
        if self._target.fits(self._schema):
            return self._target.fill(self._schema, rows)
        self._target.stage(STAGING, self._schema, rows)
        return self._target.swap(self._schema)

    def _merge(self, files: Files) -> None:
        changes, key = self._table.changes, self._table.key
        known, present = changes.known(files, key)
        self._target.stage(STAGING, self._schema, self._batches(changes.rows(files, known=known)))
        gone = self._batches(changes.keys_gone(files, key, present=present), is_counted=False)
        self._target.stage(GONE, changes.key_schema(key), gone)
        self._count("merge", self._target.merge(self._schema, key, is_whole=False))

    def _count(self, how: str, counts: Counts) -> None:
        report = self._table.report
        report.how = how
        report.rows_inserted, report.rows_updated = counts.inserted, counts.updated
        report.rows_deleted = counts.deleted
        if counts != Counts() or how == "create":
            report.status = Status.DONE

    def _batches(self, batches: Iterator[pa.RecordBatch], *, is_counted: bool = True) -> Iterator[pa.RecordBatch]:
        """Decoded one ahead while the driver sends the last; told, counted, and ended where somebody asks for it."""
        report = self._table.report
        for batch in _one_ahead(batches):
            if self._work.stop():
                raise Interrupted("stopped before the end; the target is as it was", remedy="Publish again.")
            with self._watch.breathe():
                yield batch
            if is_counted:
                report.rows_read += batch.num_rows
                report.bytes_read += batch.nbytes
                self._work.observer.progress(
                    self._id, Stage.READING, rows=report.rows_read, bytes_=report.bytes_read, total_rows=None
                )


def _one_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with ExitStack() as stack:
        worker = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="publish"))
        coming = worker.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = worker.submit(next, batches, None)
            yield batch


def grouped(tables: Sequence[tuple[str, ToPostgres]]) -> list[list[tuple[str, ToPostgres]]]:
    """Tables that are published together, in the order of the first of each group.

    Raises:
        ConfigError: tables of a group name different databases, or two tables the same target.
    """
    groups: dict[str, list[tuple[str, ToPostgres]]] = {}
    targets: dict[tuple[str, str, str], str] = {}
    for name, to in tables:
        groups.setdefault(f"group {to.group}" if to.group else f"table {name}", []).append((name, to))
        other = targets.setdefault((to.dsn_variable, to.schema, to.table or name), name)
        if other != name:
            raise ConfigError(
                "two tables are published to one target", tables=[other, name], remedy="Name another table for one."
            )
    for group in groups.values():
        variables = {to.dsn_variable for _, to in group}
        if len(variables) > 1:
            raise ConfigError(
                "tables of one group are published to different databases",
                group=group[0][1].group,
                variables=sorted(variables),
                remedy="A transaction is of one database: give each its own group.",
            )
    return list(groups.values())

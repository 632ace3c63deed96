"""Syncs and backfills started from this process but run through Dagster, so that the UI shows run, log and
partitions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any, Self

import dagster as dg
from dagster._core.execution.plan.objects import ErrorSource

from import_platform.core.report import Observer, Silent, Status, SyncReport
from import_platform.errors import (
    ConfigError,
    ImportPlatformError,
    Interrupted,
    SourceRejected,
    SourceUnavailable,
    TableBusy,
)
from import_platform.jobs.dead_runs import WAIT_SECONDS, end_dead_runs, wait_for_pools
from import_platform.jobs.discovery import discover_source
from import_platform.jobs.in_process import QUIET
from import_platform.jobs.selection import Declarations, DeclaredSource, Selected, select
from import_platform.jobs.source_pass import SourcePass, next_pass, shares
from import_platform.resources.home import open_instance
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.naming import (
    BILLABLE_TAG,
    REPOSITORY_TAGS,
    asset_key,
    op_name,
    partitions_def,
    pool,
    sync_job,
    table_id,
)
from import_platform.resources.platform import PlatformResource
from import_platform.resources.process import process_tags
from import_platform.resources.project import read_settings
from import_platform.resources.session import UNLIMITED_SECONDS, Session, session
from import_platform.resources.snapshots import Snapshot


@dataclass(frozen=True)
class Order:
    """How tables are to be synced; with `files` those are read again instead. `billable` None leaves it to the kind of
    run who pays."""

    full_refresh: bool = False
    drop: bool = False
    billable: bool | None = None
    files: tuple[str, ...] = ()

    @property
    def tags(self) -> dict[str, str]:
        return {} if self.billable is None else {BILLABLE_TAG: str(self.billable).lower()}

    def config(self, source: str, names: Sequence[str]) -> dict[str, Any]:
        asked: dict[str, Any] = {"files": list(self.files)} if self.files else {}
        if self.full_refresh:
            asked = {"full_refresh": True} | ({"drop": True} if self.drop else {})
        if not asked:
            return {}
        return {"ops": {op_name(source, name): {"config": asked} for name in names}}


SYNC = Order()


def launch_sync(
    selection: Sequence[str],
    *,
    sources: Declarations,
    order: Order = SYNC,
    observer: Observer | None = None,
    wait_seconds: float = WAIT_SECONDS,
    parallel: int = 1,
) -> list[SyncReport]:
    """Syncs the selected tables (`shop`, `shop/orders`; nothing means everything), one Dagster run per source.

    With `parallel` more than 1 a source has so many runs in threads of this process, which share its memory budget. A
    whole source whose last sync failed or was killed in the middle goes on with the tables that are missing.

    One report per table, in order; a failed one says so and leaves the others alone. Broken sources give a failed
    report too when everything was selected.

    Raises:
        ConfigError: an unknown or broken source or table was named, or settings are wrong; nothing ran.
        Interrupted: stopped after a checkpoint; its `reports` holds what is known of the tables until then.
    """
    chosen = select(sources, selection)
    with _Launcher(observer, wait_seconds) as launcher:
        reports = [] if selection else [_failed(broken.name, str(broken.error)) for broken in sources.broken]
        for part in chosen:
            reports += launcher.sync(part, order, parallel=parallel)
            launcher.check_interrupted(reports)
    return reports


def launch_backfill(
    table: str,
    keys: Sequence[str],
    *,
    sources: Declarations,
    observer: Observer | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> list[SyncReport]:
    """Re-imports the ranges of partition `keys` of `SOURCE/TABLE`, one Dagster run and one report per key, in order.

    Raises as `launch_sync`.
    """
    if "/" not in table:
        raise ConfigError("a backfill needs SOURCE/TABLE", found=table[:200], remedy="Write it like shop/orders.")
    [part] = select(sources, [table])
    with _Launcher(observer, wait_seconds) as launcher:
        reports: list[SyncReport] = []
        for key in dict.fromkeys(keys):
            reports.append(launcher.backfill(part, key))
            launcher.check_interrupted(reports)
    return reports


_POLL_SECONDS = 0.1
LOOKS_AGAIN_AFTER = timedelta(hours=1)
"""A sync of a whole source imports tables that are new since; thousands of tables are found in seconds."""


class _Launcher:
    """One open instance and one session for all runs of a command."""

    def __init__(self, observer: Observer | None, wait_seconds: float) -> None:
        # A person who started a sync wants it done; only scheduled ones end at a time limit.
        self._session = Session(observer or Silent(), max_run_seconds=UNLIMITED_SECONDS, patient=False)
        self._wait_seconds = wait_seconds
        self._home = read_settings().home

    def __enter__(self) -> Self:
        self._instance = open_instance(self._home, keep_output=False)
        end_dead_runs(self._instance)
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.dispose()

    def check_interrupted(self, reports: list[SyncReport]) -> None:
        if self._session.interrupted:
            error = Interrupted("stopped after a checkpoint", remedy="The next sync goes on from there.")
            error.report = reports
            raise error

    def sync(self, part: Selected, order: Order, *, parallel: int) -> list[SyncReport]:
        """Reports of the part's tables, in order; a source that cannot even be listed gives one report by its name."""
        source = part.source
        try:
            self._discover(part)
        except ImportPlatformError as error:
            return [_failed(source.name, str(error))]
        names = part.tables or tuple(table.name for table in source.known_tables())
        begun = self._pass(source, names) if part.tables is None and not order.full_refresh else None
        done = begun.done if begun else frozenset[str]()
        busy = self._wait(source, [name for name in names if name not in done])
        free = [name for name in names if name not in busy and name not in done]
        if free:
            parts = shares(free, _sizes(source), parts=1 if source.config.connection.depths else parallel)
            self._run_beside(source, parts, order, tags=order.tags | dict(begun.tags if begun else {}))
        return [_done_before(source, name) if name in done else self._report(source, name, busy) for name in names]

    def _pass(self, source: DeclaredSource, names: Sequence[str]) -> SourcePass:
        begun = next_pass(self._instance, source.name, names)
        if begun.done and self._session.observer is not None:
            left = f"{len(begun.done)} of its {len(names)} tables are done, the others follow"
            self._session.observer.note(source.name, f"going on with the sync of {begun.begun_at:%H:%M} UTC: {left}")
        return begun

    def _run_beside(
        self, source: DeclaredSource, parts: Sequence[Sequence[str]], order: Order, *, tags: Mapping[str, str]
    ) -> None:
        """One run per part, in threads where there are several. Signals reach the main thread, which tells the others.

        The threads are daemons, so that a second signal ends the process at once.
        """

        job = source.definitions().resolve_job_def(sync_job(source.name))  # building definitions is not for threads
        problems: list[BaseException] = []

        def run(names: Sequence[str]) -> None:
            try:
                self._run(source, names, order.config(source.name, names), tags=tags, job=job)
            except BaseException as error:  # noqa: BLE001  raised again below, in the thread of the caller
                problems.append(error)

        if len(parts) == 1:
            run(parts[0])
        else:
            if not self._instance.get_python_log_dagster_handler_config():
                # Each run would configure Python's logging anew, which locks up beside another run that writes a line.
                self._instance.get_yaml_python_handlers = list  # type: ignore[method-assign]
            with stop_on_signals() as stop:
                self._session.stop = stop
                self._join([Thread(target=run, args=(part,), daemon=True) for part in parts])
                self._session.interrupted |= stop()
                self._session.stop = None
        for problem in problems:
            raise problem

    def _join(self, threads: Sequence[Thread]) -> None:
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            self._session.interrupted = True

    def backfill(self, part: Selected, key: str) -> SyncReport:
        source, [name] = part.source, part.tables or ()
        busy = self._wait(source, [name])
        if not busy:
            keys = str(partitions_def(source.name, name).name)
            new = not self._instance.has_dynamic_partition(keys, key)
            if new:
                self._instance.add_dynamic_partitions(keys, [key])
            self._run(source, [name], {}, partition_key=key)
            if new and isinstance(self._session.errors.get(table_id(source.name, name)), ConfigError):
                self._instance.delete_dynamic_partition(keys, key)
        return self._report(source, name, busy)

    def _discover(self, part: Selected) -> None:
        """Looks for the tables of a source that names none, and for new ones when it is to be synced whole."""
        source = part.source
        found = source.snapshot() if source.config.patterns is not None else None
        if source.lacks_discovery:
            discover_source(PlatformResource(), source.config, source.tables, instance=self._instance)
        elif found is not None and part.tables is None and _age(found) > LOOKS_AGAIN_AFTER:
            with suppress(SourceUnavailable, SourceRejected):  # each table then says so itself
                discover_source(PlatformResource(), source.config, source.tables, instance=self._instance)

    def _wait(self, source: DeclaredSource, names: Iterable[str]) -> dict[str, str]:
        """Tables still held by another run after the waiting time, with that run's id."""
        pools = {pool(source.name, name): name for name in names}
        with stop_on_signals() as stop:
            held = wait_for_pools(self._instance, pools, stop=stop, wait_seconds=self._wait_seconds)
            self._session.interrupted |= stop()
        return {pools[name]: run for name, run in held.items()}

    def _run(
        self,
        source: DeclaredSource,
        names: Sequence[str],
        run_config: dict[str, Any],
        *,
        partition_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        job: dg.JobDefinition | None = None,
    ) -> None:
        for name in names:
            self._session.reports.pop(table_id(source.name, name), None)
        if self._session.interrupted:
            return
        job = job or source.definitions().resolve_job_def(sync_job(source.name))
        try:
            with session(self._session):
                result = job.execute_in_process(
                    instance=self._instance,
                    asset_selection=[asset_key(source.name, name) for name in names],
                    run_config={**run_config, **QUIET},
                    tags={**process_tags(), **REPOSITORY_TAGS, **(tags or {})},
                    partition_key=partition_key,
                    raise_on_error=False,
                )
            self._note_interruption(result)
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
            self._session.interrupted = True

    def _note_interruption(self, result: dg.ExecuteInProcessResult) -> None:
        """A signal between two tables is swallowed by Dagster, which then calls the run a failure."""
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        if any(failure.error_source is ErrorSource.INTERRUPT for failure in failures):
            self._session.interrupted = True
            run = self._instance.get_run_by_id(result.run_id)
            if run is not None and run.status is dg.DagsterRunStatus.FAILURE:
                self._instance.report_run_canceled(run, "The process was asked to stop between two tables.")

    def _report(self, source: DeclaredSource, name: str, busy: dict[str, str]) -> SyncReport:
        known = self._session.reports.get(table_id(source.name, name))
        if name in busy:
            error = TableBusy(
                "another run is working on this table", run=busy[name], remedy="Wait for it, or terminate it in the UI."
            )
            return _failed(table_id(source.name, name), str(error))
        if known is None and self._session.interrupted:
            return SyncReport(table=table_id(source.name, name))
        return known or _failed(
            table_id(source.name, name), "the run ended before this table's turn; see its log in the UI"
        )


def _done_before(source: DeclaredSource, name: str) -> SyncReport:
    """A table that this pass has behind it: nothing was read of it now."""
    return SyncReport(table=table_id(source.name, name), status=Status.UNCHANGED)


def _age(found: Snapshot) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(found.discovered_at)


def _sizes(source: DeclaredSource) -> dict[str, int]:
    """Rows as discovery last estimated them."""
    found = source.snapshot()
    return {table.name: table.row_estimate for table in found.tables} if found else {}


def _failed(table: str, error: str) -> SyncReport:
    return SyncReport(table=table, status=Status.FAILED, error=error)

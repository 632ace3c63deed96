"""Repartitions and compactions started from this process but run through Dagster, so that the UI shows run and log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from import_platform.core.report import Observer, Silent, Status, SyncReport
from import_platform.errors import ConfigError, Interrupted, TableBusy
from import_platform.jobs.dead_runs import WAIT_SECONDS, wait_for_pools
from import_platform.jobs.in_process import came_through, history
from import_platform.jobs.selection import Declarations, select
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.naming import maintain_job, pool, table_id
from import_platform.resources.session import Session


def launch_maintenance(
    tables: Mapping[str, Sequence[str]],
    options: Mapping[str, Any],
    *,
    sources: Declarations,
    observer: Observer | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> list[SyncReport]:
    """Runs the maintenance job of each source for its tables; `options` are fields of the job's config.

    One report per table, in order; a failed one says so and leaves the others alone.

    Raises:
        Interrupted: stopped between two leaves; its `report` holds what is known of the tables until then.
    """
    state = Session(observer or Silent(), patient=False)
    reports: list[SyncReport] = []
    with history() as instance:
        for source, names in tables.items():
            busy = _wait(instance, source, names, state, wait_seconds)
            free = [name for name in names if name not in busy]
            if free and not state.interrupted:
                job = sources.source(source).definitions().resolve_job_def(maintain_job(source))
                came_through(job, instance, state, run_config={"tables": free, "quiet": True, **options})
            reports += [_report(state, source, name, busy) for name in names]
            if state.interrupted:
                error = Interrupted("stopped between two leaves", remedy="Run it again; it goes on with the next leaf.")
                error.report = reports
                raise error
    return reports


def tables_to_maintain(selection: str, *, sources: Declarations) -> dict[str, list[str]]:
    """source -> tables of `SOURCE` or `SOURCE/TABLE`.

    Raises:
        ConfigError: no such source or table is declared.
    """
    [part] = select(sources, [selection])
    names = part.tables or tuple(table.name for table in part.source.known_tables())
    if not names:
        raise ConfigError(
            "nothing is known of this source yet",
            source=part.source.name,
            remedy=f"Import it first: import-platform sync {part.source.name}",
        )
    return {part.source.name: list(names)}


def _wait(
    instance: dg.DagsterInstance, source: str, names: Sequence[str], state: Session, wait_seconds: float
) -> dict[str, str]:
    pools = {pool(source, name): name for name in names}
    with stop_on_signals() as stop:
        held = wait_for_pools(instance, pools, stop=stop, wait_seconds=wait_seconds)
        state.interrupted |= stop()
    return {pools[name]: run for name, run in held.items()}


def _report(state: Session, source: str, name: str, busy: Mapping[str, str]) -> SyncReport:
    table = table_id(source, name)
    if name in busy:
        error = TableBusy(
            "another run is working on this table", run=busy[name], remedy="Wait for it, or terminate it in the UI."
        )
        return SyncReport(table=table, status=Status.FAILED, error=str(error))
    if table in state.reports or state.interrupted:
        return state.reports.get(table) or SyncReport(table=table)
    return SyncReport(table=table, status=Status.FAILED, error="the run ended before this table's turn; see its log")

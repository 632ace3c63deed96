"""Publications started from this process but run through Dagster, so that the UI shows run and log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import dagster as dg

from import_platform.core.report import Observer, Silent, Status, SyncReport
from import_platform.errors import ConfigError, Interrupted
from import_platform.jobs.dead_runs import end_dead_runs
from import_platform.jobs.selection import Declarations, select
from import_platform.resources.home import open_instance
from import_platform.resources.naming import REPOSITORY_TAGS, table_id
from import_platform.resources.process import process_tags
from import_platform.resources.project import read_settings
from import_platform.resources.session import Session, session

Steps = Sequence[tuple[Sequence[str], Sequence[dg.AssetKey]]]


def launch_publish(
    selection: str,
    *,
    sources: Declarations,
    steps_of: Callable[[str], Steps],
    observer: Observer | None = None,
) -> list[SyncReport]:
    """Publishes what `SOURCE` or `SOURCE/TABLE` declares; a table takes the others of its group along.

    `steps_of` gives tables and asset keys of each group of a source. One report per table; a failed group leaves the
    other groups alone.

    Raises:
        ConfigError: nothing of it is declared to be published. Interrupted: stopped; its `report` holds what is known.
    """
    [part] = select(sources, [selection])
    steps = [step for step in steps_of(part.source.name) if part.tables is None or set(part.tables) & set(step[0])]
    if not steps:
        raise ConfigError(
            "nothing of it is declared to be published",
            selection=selection,
            remedy="Write publish: {dsn: ..} or publish: {folder: ..} at the table.",
        )
    state, reports = Session(observer or Silent(), patient=False), list[SyncReport]()
    instance = open_instance(read_settings().home, keep_output=False)
    try:
        end_dead_runs(instance)
        job = part.source.definitions().resolve_implicit_global_asset_job_def()
        for names, keys in steps:
            came_through = _run(job, instance, keys, state)
            told = [_report(state, part.source.name, name, names) for name in names]
            reports += told if came_through or state.interrupted else [_failed(report) for report in told]
            if state.interrupted:
                error = Interrupted("stopped; the targets are as they were", remedy="Publish again.")
                error.report = reports
                raise error
    finally:
        instance.dispose()
    return reports


def _run(job: dg.JobDefinition, instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], state: Session) -> bool:
    try:
        with session(state):
            return job.execute_in_process(
                instance=instance,
                asset_selection=list(keys),
                tags={**process_tags(), **REPOSITORY_TAGS},
                raise_on_error=False,
            ).success
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        state.interrupted = True
        return False


def _failed(report: SyncReport) -> SyncReport:
    """Of a run that failed behind its last step's work, which says nothing of that."""
    if report.status is Status.FAILED:
        return report
    return replace(report, status=Status.FAILED, error="published, but the run failed behind it; see its log")


def _report(state: Session, source: str, name: str, group: Sequence[str]) -> SyncReport:
    table = table_id(source, name)
    if table in state.reports or state.interrupted:
        return state.reports.get(table) or SyncReport(table=table)
    first = state.reports.get(table_id(source, group[0]))
    because = first.error if first is not None and first.error else "the run ended before its turn; see its log"
    return SyncReport(table=table, status=Status.FAILED, error=because)

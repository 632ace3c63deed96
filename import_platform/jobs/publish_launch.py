"""Publications started from this process but run through Dagster, so that the UI shows run and log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from import_platform.core.report import Observer, Silent, Status, SyncReport
from import_platform.errors import ConfigError, Interrupted
from import_platform.jobs.in_process import came_through, failed_behind, history
from import_platform.jobs.selection import Declarations, select
from import_platform.resources.naming import table_id
from import_platform.resources.session import Session

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
    with history() as instance:
        job = part.source.definitions().resolve_implicit_global_asset_job_def()
        for names, keys in steps:
            succeeded = came_through(job, instance, state, assets=keys)
            told = [_report(state, part.source.name, name, names) for name in names]
            reports += told if succeeded or state.interrupted else [failed_behind(each, "published") for each in told]
            if state.interrupted:
                error = Interrupted("stopped; the targets are as they were", remedy="Publish again.")
                error.report = reports
                raise error
    return reports


def _report(state: Session, source: str, name: str, group: Sequence[str]) -> SyncReport:
    table = table_id(source, name)
    if table in state.reports or state.interrupted:
        return state.reports.get(table) or SyncReport(table=table)
    first = state.reports.get(table_id(source, group[0]))
    because = first.error if first is not None and first.error else "the run ended before its turn; see its log"
    return SyncReport(table=table, status=Status.FAILED, error=because)

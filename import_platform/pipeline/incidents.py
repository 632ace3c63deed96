"""A table's failure at its source becomes an incident; a sync that comes through closes it."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

from import_platform.core.wording import counted, type_text
from import_platform.errors import ConfigError, ImportPlatformError, SourceRejected, SourceUnavailable
from import_platform.io.delta import DeltaLog
from import_platform.io.incidents import Incidents
from import_platform.pipeline.context import TableContext

FAULTS = (SourceRejected, ConfigError)


def record_failure(context: TableContext, error: ImportPlatformError) -> None:
    """Keeps what people need to mend it. Failures that are none of the source's are left to the run's own log."""
    if not isinstance(error, (*FAULTS, SourceUnavailable)):
        return
    try:
        _record(context, error)
    except ImportPlatformError as other:  # the lake is away as well: the first error is the one to tell
        context.observer.note(context.table_id, f"the incident could not be recorded: {other.message}")


def record_success(context: TableContext) -> None:
    incidents = Incidents(context.lake)
    name = context.declared.name
    if incidents.of_table(context.source_name, name) is not None:
        incidents.resolve(context.source_name, name)
        context.observer.note(context.table_id, "its incident is closed: the sync came through")


def _record(context: TableContext, error: ImportPlatformError) -> None:
    name = context.declared.name
    snapshot = DeltaLog(context.lake.store, context.lake.table_path(context.source_name, name)).snapshot()
    exchange: Any = getattr(error, "evidence", None)
    incident = Incidents(context.lake).record(
        context.source_name,
        name,
        error_class=type(error).__name__,
        error=str(error),
        is_fault=isinstance(error, FAULTS),
        facts={
            fact: value if isinstance(value, (int, float, bool)) else str(value) for fact, value in error.facts.items()
        },
        exchange=asdict(exchange) if is_dataclass(exchange) and not isinstance(exchange, type) else None,
        columns_in_lake={f.name: type_text(f.type) for f in snapshot.schema} if snapshot is not None else {},
    )
    seen = f"import-platform incidents show {incident.number}"
    what = f"incident {incident.number}, met {counted(incident.count, 'time')}; see: {seen}"
    context.observer.note(context.table_id, what)
    if incident.is_paused:
        context.observer.note(context.table_id, "schedules leave this table alone until a sync by hand comes through")

"""What the checks of a table need to know beyond its log: keys, rows at the source, changed columns, age."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from import_platform.core.check_state import CheckState, Counted, check_state_from_json
from import_platform.core.cursor import decode
from import_platform.core.drift import Drift, drift
from import_platform.core.report import UP_TO_DATE, Status, SyncReport
from import_platform.core.state import AttemptKind
from import_platform.core.table import CheckSettings, SyncMode
from import_platform.errors import ImportPlatformError
from import_platform.io.incidents import Incident, Incidents
from import_platform.io.memory import MemoryWatch
from import_platform.pipeline.check_keys import KeyCheck, KeyFindings
from import_platform.pipeline.context import TableContext, open_lake_table

KEY_IS_UNIQUE = "key_is_unique"
ROWS_MATCH_SOURCE = "rows_match_source"
KEY_SECONDS = 60.0
COUNT_SECONDS = 5.0


@dataclass(frozen=True)
class Findings:
    """`as_of` is when the source was as the lake has it now, None while the first load is under way; `begun_at` when
    that load began. `lag_seconds` is how far the cursor is behind that of the source when the sync began; None where
    the cursor is no time. `keys` None: not looked at. `appends`: what the source deletes stays in the lake.
    `incident` is the table's last one, open or not."""

    keys: KeyFindings | None = None
    drift: Drift = field(default_factory=Drift)
    counted: Counted | None = None
    as_of: datetime | None = None
    begun_at: datetime | None = None
    lag_seconds: float | None = None
    appends: bool = False
    incident: Incident | None = None


@dataclass(frozen=True)
class Wanted:
    """The checks that are to be made."""

    names: frozenset[str] = frozenset()
    settings: CheckSettings = field(default_factory=CheckSettings)


def find(context: TableContext, report: SyncReport, wanted: Wanted, *, troubled: Incident | None) -> Findings:
    """Looks after a sync, at no more than is wanted, and remembers what it saw for the next one. `troubled` is the
    incident that was open when the sync began.

    A failure to look is noted and finds nothing: the sync itself has done its work.
    """
    path = f"{context.lake.staging_path(context.source_name, context.declared.name)}/checks/state.json"
    try:
        data = context.lake.store.get(path)
        known = check_state_from_json(data) if data is not None else CheckState()
        if troubled is not None:
            known = replace(known, incident=troubled.number)
        found, state = _looked(context, report, known, wanted)
        if data is None or state.to_json() != data:
            context.lake.store.put(path, state.to_json())
    except Exception as error:  # noqa: BLE001  whatever it is: the sync itself has done its work
        reason = error.message if isinstance(error, ImportPlatformError) else type(error).__name__
        context.observer.note(context.table_id, f"its checks could not be made: {reason}")
        return Findings()
    return found


def _looked(
    context: TableContext, report: SyncReport, known: CheckState, wanted: Wanted
) -> tuple[Findings, CheckState]:
    now = datetime.now(UTC)
    columns = context.notes.source_columns
    state = replace(known, columns=columns or known.columns)
    # A backfill brings one range up to date, not the table.
    if report.status in UP_TO_DATE and context.notes.kind != AttemptKind.BACKFILL:
        state = replace(state, complete_at=context.notes.begun_at)
    keys, settings = None, wanted.settings
    if KEY_IS_UNIQUE in wanted.names:
        keys, state = _keys(context, report, state, seconds=settings.key_seconds or KEY_SECONDS, now=now)
    if ROWS_MATCH_SOURCE in wanted.names and report.status is not Status.CHECKPOINTED:
        state = replace(state, counted=_counted(context, state, settings.count_seconds or COUNT_SECONDS, now))
    attempt = context.notes.attempt
    found = Findings(
        keys=keys,
        drift=drift(known.columns, columns),
        counted=state.counted,
        as_of=state.complete_at,
        begun_at=attempt.started_at if attempt is not None else context.notes.begun_at,
        lag_seconds=_lag_seconds(context, report),
        appends=context.notes.spec is not None and context.notes.spec.sync is SyncMode.APPEND,
        incident=Incidents(context.lake).get(state.incident) if state.incident is not None else None,
    )
    return found, state


def _keys(
    context: TableContext, report: SyncReport, state: CheckState, *, seconds: float, now: datetime
) -> tuple[KeyFindings, CheckState]:
    table = open_lake_table(context.lake, context.source_name, context.declared.name)
    version = table.snapshot.version if table.snapshot is not None else None
    if version == state.version:
        return KeyFindings(), state
    watch = MemoryWatch(context.budget.total_bytes)
    check = KeyCheck(table, context.budget, watch, context.stop, seconds)
    with _granted(context, check.most_bytes), watch:
        keys, state = check.run(state, now=now)
    report.peak_memory_bytes = max(report.peak_memory_bytes, watch.peak_bytes)
    whole = not keys.rows_left and not keys.duplicates and not keys.nulls
    return keys, replace(state, version=version if whole else None)


@contextmanager
def _granted(context: TableContext, size_bytes: int) -> Iterator[None]:
    """Not a step of the table: what it holds says nothing of a flush."""
    if context.grants is None:
        yield
        return
    given = context.grants.take(size_bytes, stop=context.stop)
    try:
        yield
    finally:
        given.give_back()


def _counted(context: TableContext, state: CheckState, seconds: float, now: datetime) -> Counted | None:
    spec, last = context.notes.spec, state.counted
    snapshot = open_lake_table(context.lake, context.source_name, context.declared.name).snapshot
    if spec is None or snapshot is None or (last is not None and not last.is_due(now)):
        return last
    begun = time.monotonic()
    try:
        rows = context.source.row_count(spec.info, timeout_seconds=seconds)
    except ImportPlatformError:
        return Counted(now, round(time.monotonic() - begun, 3), None, snapshot.rows)
    return Counted(now, round(time.monotonic() - begun, 3), rows, snapshot.rows)


def _lag_seconds(context: TableContext, report: SyncReport) -> float | None:
    spec, attempt = context.notes.spec, context.notes.attempt
    column = spec.info.column(spec.cursor) if spec is not None and spec.cursor is not None else None
    if column is None or report.cursor_value is None or context.notes.kind == AttemptKind.BACKFILL:
        return None
    here = decode(report.cursor_value, column.type)
    there = here if attempt is None or attempt.ceiling is None else decode(attempt.ceiling, column.type)
    return max((there - here).total_seconds(), 0.0) if isinstance(here, date) else None

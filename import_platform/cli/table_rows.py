"""What `status` says of each table: its Delta log, its open incident, and what Dagster knows of it, as one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from import_platform.cli.declared import DeclaredSource
from import_platform.core.wording import close_names
from import_platform.errors import ConfigError, ImportPlatformError
from import_platform.io.incidents import Incident, Incidents
from import_platform.io.lake import Lake
from import_platform.jobs.outlook import Outlook, outlooks, scheduler_lives
from import_platform.pipeline.inspect import TableStatus, table_status
from import_platform.resources.home import open_instance

_READERS = 8
"""Reading a log is waiting for the store; eight at a time keep 300 tables on S3 under a few seconds."""


class State(StrEnum):
    """What a person wants to know first of a table, the most pressing first."""

    UNREADABLE = "unreadable"  # the log, or the defs.yaml
    PAUSED = "paused"  # the same fault again and again; `incidents` says which
    STALE = "stale"  # not brought up to date for two of its schedule's pauses and an hour
    UNFINISHED = "unfinished"  # a sync was interrupted; the next one goes on
    RUNNING = "running"
    NEVER_SYNCED = "never synced"
    NOT_DECLARED = "not declared"  # in the lake, in no defs.yaml
    REJECTS = "done with rejects"  # the last sync set rows apart; `rejected list` shows them
    OK = "ok"


@dataclass(frozen=True)
class Row:
    """The JSON object of one table. Bytes are those of the data files at rest; instants are ISO 8601 in UTC.

    `last_sync` is the end of the last sync that left nothing to do, where Dagster's history knows none that of the
    last commit, which is `last_change`. `incident` is the number of the open one, which happened `incident_count`
    times. `stale` is null without a schedule.
    """

    table: str
    state: State
    rows: int | None = None
    bytes: int | None = None
    files: int | None = None
    leaves: int | None = None
    largest_leaf: str | None = None
    largest_leaf_bytes: int | None = None
    last_sync: str | None = None
    next_sync: str | None = None
    stale: bool | None = None
    incident: int | None = None
    incident_count: int = 0
    last_change: str | None = None
    delta_version: int | None = None
    cursor_value: str | None = None
    uri: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class History:
    """What Dagster knows; `scheduler_lives` is None where it has no history yet."""

    outlooks: Mapping[tuple[str, str], Outlook]
    scheduler_lives: bool | None


def history(home: Path, sources: Sequence[DeclaredSource], *, now: datetime) -> History:
    """Reads Dagster's storage; makes none where there is none."""
    if not (home / "dagster.yaml").exists():
        return History({}, None)
    crons = {(source.name, table): source.cron(table) for source in sources for table in source.tables}
    with open_instance(home, keep_output=False) as instance:
        return History(outlooks(instance, crons, now=now), scheduler_lives(instance, now=now))


def gather(lake: Lake, sources: Sequence[DeclaredSource], known: History, selection: str | None = None) -> list[Row]:
    """A row per table, by name. One unreadable table or file costs its own row only.

    Raises:
        ConfigError: the selection, a source or SOURCE/TABLE, is known to nobody.
    """
    declared = {(source.name, table) for source in sources for table in source.tables}
    every = sorted(declared | set(lake.tables()))
    tables = [table for table in every if selection in (None, table[0], _name(*table))]
    if selection is not None and not tables and selection not in {source.name for source in sources}:
        raise _unknown(selection, every)

    def row(table: tuple[str, str]) -> Row:
        return _row(lake, *table, is_declared=table in declared, outlook=known.outlooks.get(table, Outlook()))

    with ThreadPoolExecutor(_READERS) as readers:
        rows = list(readers.map(row, tables))
    broken = [
        Row(source.name, State.UNREADABLE, error=f"{source.path} is not understood; run `import-platform check`")
        for source in sources
        if not source.is_readable and selection in (None, source.name)
    ]
    return rows + broken


def _name(source: str, table: str) -> str:
    return f"{source}/{table}"


def _unknown(selection: str, tables: Sequence[tuple[str, str]]) -> ConfigError:
    names = [name for table in tables for name in (_name(*table), table[0])]
    close = close_names(selection, names, most=1)
    remedy = f"Did you mean {close[0]}?" if close else "See every table with: import-platform status"
    return ConfigError("there is no such source or table", found=selection[:200], remedy=remedy)


def _row(lake: Lake, source: str, table: str, *, is_declared: bool, outlook: Outlook) -> Row:
    name = _name(source, table)
    try:
        found = table_status(lake, source, table)
        incident = Incidents(lake).of_table(source, table)
    except ImportPlatformError as error:
        return Row(name, State.UNREADABLE, error=str(error))
    state = _state(found, incident, outlook, is_declared=is_declared)
    row = Row(
        name,
        state,
        next_sync=_iso(outlook.next_sync_at) if state is not State.PAUSED else None,
        stale=outlook.is_stale,
        incident=incident.number if incident else None,
        incident_count=incident.count if incident else 0,
        error=incident.error if incident else None,
    )
    return row if found is None else _filled(row, found, outlook)


def _filled(row: Row, found: TableStatus, outlook: Outlook) -> Row:
    leaf, largest = max(found.leaves.items(), key=lambda item: item[1].bytes, default=(None, None))
    return replace(
        row,
        rows=found.rows,
        bytes=found.bytes,
        files=found.files,
        leaves=len(found.leaves),
        largest_leaf=leaf,
        largest_leaf_bytes=largest.bytes if largest else None,
        last_sync=_iso(outlook.synced_at or found.last_commit_at),
        last_change=_iso(found.last_commit_at),
        delta_version=found.delta_version,
        cursor_value=found.cursor_value,
        uri=found.uri,
    )


def _state(found: TableStatus | None, incident: Incident | None, outlook: Outlook, *, is_declared: bool) -> State:
    if outlook.is_running:
        return State.RUNNING
    if incident is not None and incident.is_paused:
        return State.PAUSED
    if found is None:
        return State.NEVER_SYNCED
    if not is_declared:
        return State.NOT_DECLARED
    if outlook.is_stale:
        return State.STALE
    ended = State.REJECTS if outlook.with_rejects else State.OK
    return State.UNFINISHED if found.open_attempts else ended


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds")

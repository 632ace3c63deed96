"""`status`: every declared or existing table on one screen, or the leaves of one, from the Delta logs alone."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from rich.text import Text

from import_platform.cli.declared import DeclaredSource, declared_sources
from import_platform.cli.leaf_map import LeafMap, as_json, leaf_map, show
from import_platform.cli.terminal import Terminal, grid
from import_platform.core.budget import format_bytes
from import_platform.errors import ConfigError, ImportPlatformError
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.pipeline.inspect import TableStatus, table_status
from import_platform.resources.project import read_settings

_READERS = 8
"""Reading a log is waiting for the store; eight at a time keep 300 tables on S3 under a few seconds."""


class State(StrEnum):
    """What a person wants to know first of a table."""

    OK = "ok"
    PAUSED = "paused"  # the same fault again and again; `incidents` says which
    UNFINISHED = "unfinished"  # a sync was interrupted; the next one goes on
    NEVER_SYNCED = "never synced"
    NOT_DECLARED = "not declared"  # in the lake, in no defs.yaml
    UNREADABLE = "unreadable"  # the log, or the defs.yaml


_COLOURS = {
    State.OK: "green",
    State.PAUSED: "red",
    State.UNFINISHED: "yellow",
    State.NEVER_SYNCED: "dim",
    State.NOT_DECLARED: "dim",
    State.UNREADABLE: "red",
}


@dataclass(frozen=True)
class Row:
    """The JSON object of one table. Bytes are those of the data files at rest; `last_sync` is ISO 8601 in UTC."""

    table: str
    state: State
    rows: int | None = None
    bytes: int | None = None
    files: int | None = None
    leaves: int | None = None
    largest_leaf: str | None = None
    largest_leaf_bytes: int | None = None
    last_sync: str | None = None
    delta_version: int | None = None
    cursor_value: str | None = None
    uri: str | None = None
    error: str | None = None


def run(screen: Terminal, selection: str | None = None) -> None:
    """Every table; those of SOURCE; or SOURCE/TABLE with its leaf map.

    Raises:
        ConfigError: neither a defs.yaml nor the lake knows the selection.
    """
    settings = read_settings()
    sources = declared_sources(settings.defs_folders, settings.snapshots_folder)
    lake = Lake(settings.lake_uri)
    head = screen.err if screen.is_json else screen.out
    head.print(f"lake {lake.uri}\nhome {settings.home}", markup=False, soft_wrap=True)
    limits = {_name(each.name, table): limit for each in sources for table, limit in each.limits.items()}
    rows = gather(lake, sources, selection)
    found = _leaf_map(lake, rows, limits.get(selection or "", settings.partition_max_bytes)) if selection else None
    if screen.is_json:
        for row in rows:
            screen.emit(asdict(row) | (as_json(found) if found is not None else {}))
    else:
        _print(screen, rows, sources, limits=limits, partition_max_bytes=settings.partition_max_bytes)
        if found is not None:
            show(screen, found)


def _leaf_map(lake: Lake, rows: Sequence[Row], limit_bytes: int) -> LeafMap | None:
    """Of the only table asked for, if the lake has it."""
    if len(rows) != 1 or rows[0].rows is None:
        return None
    source, _, table = rows[0].table.partition("/")
    status = table_status(lake, source, table)
    return leaf_map(lake, status, limit_bytes=limit_bytes) if status is not None else None


def gather(lake: Lake, sources: Sequence[DeclaredSource], selection: str | None = None) -> list[Row]:
    """A row per table, by name. One unreadable table or file costs its own row only.

    Raises:
        ConfigError: the selection, a source or SOURCE/TABLE, is known to nobody.
    """
    declared = {(source.name, table) for source in sources for table in source.tables}
    every = sorted(declared | set(lake.tables()))
    tables = [table for table in every if selection in (None, table[0], _name(*table))]
    if selection is not None and not tables and selection not in {source.name for source in sources}:
        raise _unknown(selection, every)
    with ThreadPoolExecutor(_READERS) as readers:
        rows = list(readers.map(lambda table: _row(lake, *table, is_declared=table in declared), tables))
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
    close = difflib.get_close_matches(selection, names, n=1)
    remedy = f"Did you mean {close[0]}?" if close else "See every table with: import-platform status"
    return ConfigError("there is no such source or table", found=selection[:200], remedy=remedy)


def _row(lake: Lake, source: str, table: str, *, is_declared: bool) -> Row:
    name = _name(source, table)
    try:
        found = table_status(lake, source, table)
    except ImportPlatformError as error:
        return Row(name, State.UNREADABLE, error=str(error))
    incident = Incidents(lake).of_table(source, table)
    is_paused = incident is not None and incident.is_paused
    if found is None:
        return Row(name, State.PAUSED if is_paused else State.NEVER_SYNCED, error=incident.error if incident else None)
    leaf, largest = max(found.leaves.items(), key=lambda item: item[1].bytes, default=(None, None))
    return Row(
        table=name,
        state=State.PAUSED if is_paused else _state(found, is_declared),
        error=incident.error if incident else None,
        rows=found.rows,
        bytes=found.bytes,
        files=found.files,
        leaves=len(found.leaves),
        largest_leaf=leaf,
        largest_leaf_bytes=largest.bytes if largest else None,
        last_sync=found.last_commit_at.isoformat(timespec="seconds"),
        delta_version=found.delta_version,
        cursor_value=found.cursor_value,
        uri=found.uri,
    )


def _state(found: TableStatus, is_declared: bool) -> State:
    if not is_declared:
        return State.NOT_DECLARED
    return State.UNFINISHED if found.open_attempts else State.OK


def _print(
    screen: Terminal,
    rows: Sequence[Row],
    sources: Sequence[DeclaredSource],
    *,
    limits: Mapping[str, int],
    partition_max_bytes: int,
) -> None:
    if not rows:
        declared = ", ".join(source.name for source in sources)
        screen.out.print(
            f"\nno table is known yet; run `import-platform tables {sources[0].name}` to look at {declared}"
            if sources
            else "\nno source is declared; run `import-platform demo` to see one",
            markup=False,
        )
        return
    names = ("table", "state", "rows", "bytes", "leaves", "largest leaf", "last sync", "version", "cursor")
    table = grid(*names, left=frozenset({"state", "largest leaf", "last sync", "cursor"}))
    for row in rows:
        table.add_row(
            Text(row.table),
            Text(row.state.value, style=_COLOURS[row.state]),
            _count(row.rows),
            _size(row.bytes),
            _count(row.leaves),
            _largest(row, limits.get(row.table, partition_max_bytes)),
            _ago(row.last_sync),
            _count(row.delta_version),
            Text(row.cursor_value or ""),
        )
    screen.out.print()
    screen.out.print(table)
    for row in rows:
        if row.error:
            screen.fail(f"{row.table}: {row.error}")


def _largest(row: Row, limit_bytes: int) -> Text:
    if row.largest_leaf is None or row.largest_leaf_bytes is None:
        return Text("")
    return Text(
        f"{row.largest_leaf} {format_bytes(row.largest_leaf_bytes)}",
        style="yellow" if row.largest_leaf_bytes > limit_bytes else "",
    )


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    return "" if value is None else format_bytes(value)


def _ago(moment: str | None) -> str:
    """`3 min ago`: what freshness means to a person; the JSON has the moment itself."""
    if moment is None:
        return ""
    seconds = max((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"

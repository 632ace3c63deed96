"""`status`: every declared or existing table on one screen, from the Delta logs alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from rich.text import Text

from import_platform.cli.declared import DeclaredSource, declared_sources
from import_platform.cli.terminal import Terminal, grid
from import_platform.core.budget import format_bytes
from import_platform.errors import ImportPlatformError
from import_platform.io.lake import Lake
from import_platform.pipeline.inspect import TableStatus, table_status
from import_platform.resources.project import read_settings

_READERS = 8
"""Reading a log is waiting for the store; eight at a time keep 300 tables on S3 under a few seconds."""


class State(StrEnum):
    """What a person wants to know first of a table."""

    OK = "ok"
    UNFINISHED = "unfinished"  # a sync was interrupted; the next one goes on
    NEVER_SYNCED = "never synced"
    NOT_DECLARED = "not declared"  # in the lake, in no defs.yaml
    UNREADABLE = "unreadable"  # the log, or the defs.yaml


_COLOURS = {
    State.OK: "green",
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


def run(screen: Terminal) -> None:
    settings = read_settings()
    sources = declared_sources(settings.defs_folders, settings.snapshots_folder)
    lake = Lake(settings.lake_uri)
    head = screen.err if screen.is_json else screen.out
    head.print(f"lake {lake.uri}\nhome {settings.home}", markup=False, soft_wrap=True)
    rows = gather(lake, sources)
    if screen.is_json:
        for row in rows:
            screen.emit(asdict(row))
    else:
        _print(screen, rows, sources, partition_max_bytes=settings.partition_max_bytes)


def gather(lake: Lake, sources: Sequence[DeclaredSource]) -> list[Row]:
    """A row per table, by name. One unreadable table or file costs its own row only."""
    declared = {(source.name, table) for source in sources for table in source.tables}
    tables = sorted(declared | set(lake.tables()))
    with ThreadPoolExecutor(_READERS) as readers:
        rows = list(readers.map(lambda table: _row(lake, *table, is_declared=table in declared), tables))
    broken = [
        Row(source.name, State.UNREADABLE, error=f"{source.path} is not understood; run `import-platform check`")
        for source in sources
        if not source.is_readable
    ]
    return rows + broken


def _row(lake: Lake, source: str, table: str, *, is_declared: bool) -> Row:
    name = f"{source}/{table}"
    try:
        found = table_status(lake, source, table)
    except ImportPlatformError as error:
        return Row(name, State.UNREADABLE, error=str(error))
    if found is None:
        return Row(name, State.NEVER_SYNCED)
    leaf, largest = max(found.leaves.items(), key=lambda item: item[1].bytes, default=(None, None))
    return Row(
        table=name,
        state=_state(found, is_declared),
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
    screen: Terminal, rows: Sequence[Row], sources: Sequence[DeclaredSource], *, partition_max_bytes: int
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
            _largest(row, partition_max_bytes),
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

"""`status`: every declared or existing table on one screen, or the leaves of one; once, or again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from import_platform.cli.declared import DeclaredSource, declared_sources
from import_platform.cli.leaf_map import LeafMap, as_json, leaf_map, show
from import_platform.cli.table_rows import Row, State, gather, history
from import_platform.cli.terminal import Terminal, grid
from import_platform.core.budget import format_bytes
from import_platform.io.lake import Lake
from import_platform.pipeline.inspect import table_status
from import_platform.resources.project import Settings, read_settings

_COLOURS = {
    State.OK: "green",
    State.RUNNING: "cyan",
    State.PAUSED: "red",
    State.STALE: "red",
    State.UNFINISHED: "yellow",
    State.REJECTS: "yellow",
    State.NEVER_SYNCED: "dim",
    State.NOT_DECLARED: "dim",
    State.UNREADABLE: "red",
}
_NO_DAEMON = "no scheduler is running, so nothing is synced by itself; start it with: import-platform ui"


@dataclass(frozen=True)
class Seen:
    """Everything `status` shows at one moment. `limits` has the leaf bytes of tables with their own."""

    rows: Sequence[Row]
    sources: Sequence[DeclaredSource]
    at: datetime
    partition_max_bytes: int
    scheduler_lives: bool | None = None
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def remark(self) -> str | None:
        """What holds for all tables and needs somebody."""
        scheduled = any(source.crons for source in self.sources)
        return _NO_DAEMON if scheduled and self.scheduler_lives is False else None


def look(settings: Settings, lake: Lake, selection: str | None = None) -> Seen:
    """Raises ConfigError where neither a defs.yaml nor the lake knows the selection."""
    sources, now = declared_sources(settings.defs_folders, settings.snapshots_folder), datetime.now(UTC)
    known = history(settings.home, sources, now=now)
    return Seen(
        rows=gather(lake, sources, known, selection),
        sources=sources,
        at=now,
        partition_max_bytes=settings.partition_max_bytes,
        scheduler_lives=known.scheduler_lives,
        limits={f"{each.name}/{table}": limit for each in sources for table, limit in each.limits.items()},
    )


def run(screen: Terminal, selection: str | None = None) -> None:
    """Every table; those of SOURCE; or SOURCE/TABLE with its leaf map.

    Raises:
        ConfigError: neither a defs.yaml nor the lake knows the selection.
    """
    settings = read_settings()
    lake = Lake(settings.lake_uri)
    head = screen.err if screen.is_json else screen.out
    head.print(f"lake {lake.uri}\nhome {settings.home}", markup=False, soft_wrap=True)
    seen = look(settings, lake, selection)
    found = _leaf_map(lake, seen, selection) if selection else None
    if screen.is_json:
        for row in seen.rows:
            screen.emit(asdict(row) | (as_json(found) if found is not None else {}))
    else:
        _print(screen, seen)
        if found is not None:
            show(screen, found)


def _leaf_map(lake: Lake, seen: Seen, selection: str) -> LeafMap | None:
    """Of the only table asked for, if the lake has it."""
    if len(seen.rows) != 1 or seen.rows[0].rows is None:
        return None
    source, _, table = seen.rows[0].table.partition("/")
    status = table_status(lake, source, table)
    limit = seen.limits.get(selection, seen.partition_max_bytes)
    return leaf_map(lake, status, limit_bytes=limit) if status is not None else None


def _print(screen: Terminal, seen: Seen) -> None:
    screen.out.print()
    if not seen.rows:
        screen.out.print(nothing_known(seen), markup=False)
        return
    screen.out.print(as_table(seen, seen.rows))
    if seen.remark:
        screen.out.print(Text(f"\n{seen.remark}", style="yellow"), soft_wrap=True)
    for row in seen.rows:
        if row.error:
            screen.fail(f"{row.table}: {row.error}")


def nothing_known(seen: Seen) -> str:
    if not seen.sources:
        return "no source is declared; run `import-platform demo` to see one"
    declared = ", ".join(source.name for source in seen.sources)
    return f"no table is known yet; run `import-platform tables {seen.sources[0].name}` to look at {declared}"


def as_table(seen: Seen, rows: Sequence[Row]) -> Table:
    """The rows as a person reads them; moments are told from `seen.at`."""
    names = ("state", "rows", "bytes", "leaves", "largest leaf", "last sync", "next sync", "incident", "cursor")
    table = grid("table", *names, left=frozenset({"state", "largest leaf", "last sync", "next sync", "cursor"}))
    for row in rows:
        table.add_row(
            Text(row.table),
            Text(row.state.value, style=_COLOURS[row.state]),
            _count(row.rows),
            _size(row.bytes),
            _count(row.leaves),
            _largest(row, seen.limits.get(row.table, seen.partition_max_bytes)),
            Text(ago(row.last_sync, seen.at), style="red" if row.stale else ""),
            Text(_next(row, seen)),
            Text(incident(row), style="red"),
            Text(row.cursor_value or ""),
        )
    return table


def incident(row: Row) -> str:
    """`#3 x5`: the number that `incidents show` takes, and how often it happened."""
    return "" if row.incident is None else f"#{row.incident} x{row.incident_count}"


def ago(moment: str | None, now: datetime) -> str:
    """`3 min ago`: what freshness means to a person; the JSON has the moment itself."""
    if moment is None:
        return ""
    return f"{_length((now - datetime.fromisoformat(moment)).total_seconds())} ago"


def _next(row: Row, seen: Seen) -> str:
    if row.state is State.PAUSED:
        return "paused"
    if row.next_sync is None:
        return ""
    return f"in {_length((datetime.fromisoformat(row.next_sync) - seen.at).total_seconds())}"


def _length(seconds: float) -> str:
    seconds = max(seconds, 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


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

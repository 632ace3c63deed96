"""`status --watch`: the same screen again and again until Ctrl-C; what needs somebody stands first.

Without a terminal every table is told once, and then again whenever something about it changed: lines that a log keeps.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

from rich.console import Group
from rich.live import Live
from rich.text import Text

from import_platform.cli.status import Seen, as_table, incident, look, nothing_known
from import_platform.cli.table_rows import Row, State
from import_platform.cli.terminal import Terminal
from import_platform.core.budget import format_bytes
from import_platform.core.wording import counted
from import_platform.errors import StoreUnavailable
from import_platform.io.lake import Lake
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.project import read_settings

EVERY_SECONDS = 5.0
SURROUNDINGS = 7
"""Lines of the screen that are no table."""

_PRESSING = {state: place for place, state in enumerate(State)}


def run(screen: Terminal, selection: str | None = None) -> None:
    """Ends with Ctrl-C or SIGTERM, and then well: watching has no end of its own.

    Raises:
        ConfigError: neither a defs.yaml nor the lake knows the selection.
    """
    settings = read_settings()
    lake = Lake(settings.lake_uri)
    first = look(settings, lake, selection)  # a mistake is a sentence, not a screen

    # The first signal is asked for between looks, as one in the middle of a database call may come out as anything.
    with contextlib.suppress(KeyboardInterrupt), stop_on_signals() as stop:

        def looks() -> Iterator[Seen]:
            yield first
            while _waited(EVERY_SECONDS, stop):
                try:
                    yield look(settings, lake, selection)
                except StoreUnavailable as error:
                    screen.fail(str(error))

        if screen.out.is_terminal and not screen.is_json:
            _live(screen, looks())
        else:
            _lines(screen, looks())


def _waited(seconds: float, stop: Callable[[], bool]) -> bool:
    """False once somebody asked to stop."""
    deadline = time.monotonic() + seconds
    while not stop() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not stop()


def _live(screen: Terminal, looks: Iterator[Seen]) -> None:
    with Live(console=screen.out, screen=True, auto_refresh=False) as live:
        for seen in looks:
            live.update(_page(seen, screen.out.height), refresh=True)


def _page(seen: Seen, height: int) -> Group:
    """As much as fits, the most pressing first."""
    rows = sorted(seen.rows, key=lambda row: (_PRESSING[row.state], row.table))
    room = max(height - SURROUNDINGS, 1)
    shown, rest = rows[:room], rows[room:]
    counts = ", ".join(f"{sum(row.state is state for row in rows):,} {state.value}" for state in _states(rows))
    head = Text(f"{seen.at:%H:%M:%S} UTC   {counts or nothing_known(seen)}   Ctrl-C leaves", style="bold")
    more = Text(f"and {len(rest):,} more, of which {_worst(rest)}" if rest else "", style="dim")
    return Group(head, Text(seen.remark or "", style="yellow"), as_table(seen, shown), more)


def _states(rows: Sequence[Row]) -> list[State]:
    present = {row.state for row in rows}
    return [state for state in State if state in present]


def _worst(rows: Sequence[Row]) -> str:
    state = _states(rows)[0]
    return f"{sum(row.state is state for row in rows):,} {state.value}"


def _lines(screen: Terminal, looks: Iterator[Seen]) -> None:
    told: dict[str, Row] = {}
    for seen in looks:
        for row in seen.rows:
            if told.get(row.table) != _lasting(row):
                told[row.table] = _lasting(row)
                _tell(screen, row, seen)


def _lasting(row: Row) -> Row:
    """Without what changes by the clock alone."""
    return replace(row, next_sync=None)


def _tell(screen: Terminal, row: Row, seen: Seen) -> None:
    if screen.is_json:
        screen.emit(asdict(row))
        return
    facts = [f"{seen.at:%Y-%m-%dT%H:%M:%SZ}", row.table, row.state.value]
    if row.rows is not None and row.bytes is not None:
        facts += [
            counted(row.rows, "row"),
            format_bytes(row.bytes),
            counted(row.leaves or 0, "leaf"),
            f"last sync {row.last_sync}",
        ]
    facts += [f"incident {incident(row)}"] if row.incident is not None else []
    screen.out.print("  ".join(facts), markup=False, soft_wrap=True)
    screen.stdout.flush()

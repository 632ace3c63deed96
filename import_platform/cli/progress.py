"""Progress of syncs on stderr: a bar per table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from import_platform.core.budget import format_bytes
from import_platform.core.report import Observer, Stage
from import_platform.core.wording import counted

BARS_MAX = 8
RATE_SECONDS = 0.5
"""A rate over less than this is noise."""
PLAIN_SECONDS = 5.0
"""A log keeps a line per table and this long, so that an hour of syncing stays readable."""


@contextmanager
def observing(console: Console, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Observer]:
    """An observer for the length of the block. Bars vanish with it; the summary that follows says how it ended."""
    if not console.is_terminal:
        yield PlainLines(console, clock=clock)
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[figures]}"),
        TextColumn("[dim]{task.fields[stage]}[/]"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        yield Bars(progress, clock=clock)


@dataclass
class _Pace:
    """When a stage of a table began; rates count from there, so that merging does not dilute reading."""

    stage: Stage
    since: float
    rows_before: int


class _Paces:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._paces: dict[str, _Pace] = {}

    def figures(self, table: str, stage: Stage, *, rows: int, bytes_: int, total_rows: int | None) -> str:
        """`120,000 of ~336,776 rows, 54,000 rows/s, 12.3 MB`."""
        now = self._clock()
        pace = self._paces.get(table)
        if pace is None or pace.stage is not stage or rows < pace.rows_before:
            pace = self._paces[table] = _Pace(stage, now, 0)
        parts = [f"{rows:,} of ~{counted(max(rows, total_rows), 'row')}" if total_rows else counted(rows, "row")]
        if rows and now - pace.since >= RATE_SECONDS:
            parts.append(f"{rows / (now - pace.since):,.0f} rows/s")
        pace.rows_before = rows
        return ", ".join([*parts, format_bytes(bytes_)] if bytes_ else parts)


class Bars:
    """One rich bar per table, the newest few of them; without an estimate of the rows a bar pulses."""

    def __init__(self, progress: Progress, *, clock: Callable[[], float]) -> None:
        self._progress = progress
        self._paces = _Paces(clock)
        self._tasks: dict[str, TaskID] = {}

    def progress(self, table: str, stage: Stage, *, rows: int, bytes_: int, total_rows: int | None) -> None:
        if table not in self._tasks:
            self._begin(table)
        known = bool(total_rows) and stage is not Stage.COMMITTING
        figures = self._paces.figures(table, stage, rows=rows, bytes_=bytes_, total_rows=total_rows)
        self._progress.update(
            self._tasks[table],
            completed=rows,
            total=max(rows, total_rows or 0) if known else None,
            figures=figures,
            stage=stage.value,
        )

    def _begin(self, table: str) -> None:
        for task in self._tasks.values():
            self._progress.stop_task(task)
        for task in list(self._tasks.values())[: 1 - BARS_MAX]:
            self._progress.update(task, visible=False)
        self._tasks[table] = self._progress.add_task(table, total=None, figures="", stage="")

    def note(self, table: str, message: str) -> None:
        self._progress.console.print(f"{table}: {message}", markup=False, soft_wrap=True)


class PlainLines:
    """A line when a table changes stage, then at most one every five seconds; notes at once."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._paces = _Paces(clock)
        self._printed: dict[str, tuple[Stage, float]] = {}

    def progress(self, table: str, stage: Stage, *, rows: int, bytes_: int, total_rows: int | None) -> None:
        figures = self._paces.figures(table, stage, rows=rows, bytes_=bytes_, total_rows=total_rows)
        printed = self._printed.get(table)
        if printed and printed[0] is stage and self._clock() - printed[1] < PLAIN_SECONDS:
            return
        self._printed[table] = (stage, self._clock())
        self._line(f"{table}: {stage.value}, {figures}")

    def note(self, table: str, message: str) -> None:
        self._line(f"{table}: {message}")

    def _line(self, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, soft_wrap=True)

"""How the demo looks: progress while it works, then brief tables. Every figure comes from a report or the Delta log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table

from import_platform.core.budget import format_bytes
from import_platform.core.report import Observer, Stage, Status, SyncReport
from import_platform.demo.reader import TableFacts
from import_platform.demo.verify import Comparison

WIDTH = 100
_PLAIN_SECONDS = 5.0


def console_of_width() -> Console:
    """Standard output, at most 100 columns wide; progress bars appear only where it is a terminal."""
    console = Console(highlight=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def heading(console: Console, text: str, aside: str = "") -> None:
    console.print()
    console.print(f"[bold cyan]{text}[/]  [dim]{aside}[/]" if aside else f"[bold cyan]{text}[/]")


@contextmanager
def progress(console: Console) -> Iterator[Observer]:
    """An observer that draws one bar per table and clears them at the end, or prints plain lines off a terminal."""
    if not console.is_terminal:
        yield _PlainLines(console)
        return
    columns = (
        TextColumn("  {task.description:<18}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[rows]:>21}"),
        TextColumn("[dim]{task.fields[stage]:<10}[/]"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def progress(self, table: str, stage: Stage, *, rows: int, bytes_: int, total_rows: int | None) -> None:
        if table not in self._tasks:
            self._finish_others()
            self._tasks[table] = self._bars.add_task(table, total=None, rows="", stage="")
        total = max(rows, total_rows) if total_rows else None
        counted = f"{rows:,} / {total:,}" if total else f"{rows:,}"
        self._bars.update(self._tasks[table], completed=rows, total=total, rows=counted, stage=stage.value)

    def _finish_others(self) -> None:
        for task in self._tasks.values():
            self._bars.stop_task(task)

    def note(self, table: str, message: str) -> None:
        self._bars.console.print(f"  [dim]{table}: {message}[/]")


class _PlainLines:
    """At most one line per table and five seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_at: dict[str, float] = {}

    def progress(self, table: str, stage: Stage, *, rows: int, bytes_: int, total_rows: int | None) -> None:
        now = time.monotonic()
        if now - self._printed_at.setdefault(table, now) >= _PLAIN_SECONDS:
            self._printed_at[table] = now
            of_total = f" of about {total_rows:,}" if total_rows else ""
            self._console.print(f"  {table}: {stage.value}, {rows:,}{of_total} rows")

    def note(self, table: str, message: str) -> None:
        self._console.print(f"  {table}: {message}")


def first_sync(console: Console, reports: Sequence[SyncReport], facts: Mapping[str, TableFacts]) -> None:
    """What was imported: the lake's rows, leaves and bytes, and what it took."""
    table = _table("table", "rows", "partitions", "bytes", "seconds", "rows/s", "peak memory")
    for report in reports:
        found = facts[report.table]
        table.add_row(
            report.table,
            f"{found.rows:,}",
            f"{found.partitions}",
            format_bytes(found.size_bytes),
            f"{report.seconds:.1f}",
            _rate(report),
            format_bytes(report.peak_memory_bytes),
        )
    console.print(table)


def second_sync(console: Console, reports: Sequence[SyncReport], before: Mapping[str, TableFacts]) -> None:
    """What changed, and how little was written for it."""
    table = _table("table", "read", "inserted", "updated", "deleted", "rewritten", "written", "share", "seconds")
    for report in reports:
        old = before[report.table]
        rewritten = f"{report.files_removed} of {_files(old.files)}" if report.files_removed else "none"
        share = f"{100 * report.bytes_written / old.size_bytes:.0f} %" if report.bytes_written else ""
        table.add_row(
            report.table,
            f"{report.rows_read:,}",
            f"{report.rows_inserted:,}",
            f"{report.rows_updated:,}",
            f"{report.rows_deleted:,}",
            rewritten,
            format_bytes(report.bytes_written),
            share,
            f"{report.seconds:.1f}",
        )
    console.print(table)


def failures(console: Console, reports: Sequence[SyncReport]) -> bool:
    """Prints the sentence of every table that failed; True if there is one."""
    failed = [report for report in reports if report.status == Status.FAILED]
    for report in failed:
        console.print(f"  [red]{report.table}: {report.error}[/]", soft_wrap=True)
    return bool(failed)


def comparisons(console: Console, found: Sequence[Comparison]) -> None:
    width = max(len(comparison.table) for comparison in found)
    for comparison in found:
        mark = "[green]✓[/]" if comparison.is_equal else "[red]✗[/]"
        count, _, rest = comparison.sentence().partition(" ")
        console.print(f"  {mark} {comparison.table:<{width}}  {count:>9} {rest}", soft_wrap=True)


def query(console: Console, sql: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The query as one would type it, and its rows; numbers stand right."""
    console.print(Syntax(sql, "sql", theme="ansi_dark", background_color="default", padding=(0, 2)))
    table = _table(*names)
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    console.print(table)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", show_edge=False, padding=(0, 0, 0, 2))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _rate(report: SyncReport) -> str:
    return f"{report.rows_read / report.seconds:,.0f}" if report.seconds else ""

"""How a command that syncs ends: one row per table for people, one object per table for scripts, one exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.markup import escape

from import_platform.cli.terminal import EXIT_FAILED, EXIT_INTERRUPTED, Failed, Terminal, grid
from import_platform.core.budget import format_bytes
from import_platform.core.report import Status, SyncReport
from import_platform.core.wording import counted
from import_platform.errors import ImportPlatformError

_COLOURS = {
    Status.DONE: "green",
    Status.DONE_WITH_REJECTS: "yellow",
    Status.UNCHANGED: "green",
    Status.CHECKPOINTED: "yellow",
    Status.FAILED: "red",
}
_COLUMNS = (
    "table",
    "status",
    "read",
    "inserted",
    "updated",
    "deleted",
    "written",
    "seconds",
    "peak memory",
    "version",
)


def conclude(
    screen: Terminal,
    reports: Sequence[SyncReport],
    *,
    interrupted: bool,
    show: Callable[[Terminal, Sequence[SyncReport]], None] | None = None,
) -> None:
    """Prints the reports and leaves by the exit code of the worst: interrupted, then failed, then done. `show` prints
    them for people, as those of syncs where it is left out.

    Raises:
        Failed: carrying the exit code, unless all is well.
    """
    if screen.is_json:
        for report in reports:
            screen.emit(report.as_json())
    else:
        (show or _print)(screen, reports)
    leave(screen, reports, interrupted=interrupted)


def leave(screen: Terminal, reports: Sequence[SyncReport], *, interrupted: bool) -> None:
    """Ends a command whose reports were shown; raises as `conclude`."""
    statuses = {report.status for report in reports}
    if interrupted or Status.CHECKPOINTED in statuses:
        if not screen.is_json:
            screen.err.print("stopped at a checkpoint; the same command goes on from there")
        raise Failed(EXIT_INTERRUPTED)
    if Status.FAILED in statuses:
        raise Failed(EXIT_FAILED)


@contextmanager
def reporting_failure(screen: Terminal, tables: str, report: SyncReport | None = None) -> Iterator[None]:
    """With --json, what stops the command before any table has a report is an object too; stderr says it as well.
    `report` is the one to fill where it is not a sync's."""
    try:
        yield
    except ImportPlatformError as error:
        if screen.is_json:
            told = report or SyncReport(table=tables)
            told.status, told.error = Status.FAILED, str(error)
            screen.emit(told.as_json())
        raise


def _print(screen: Terminal, reports: Sequence[SyncReport]) -> None:
    if not reports:
        screen.out.print("nothing to sync")
        return
    table = grid(*_COLUMNS, left=frozenset({"status"}))
    for report in reports:
        table.add_row(*_row(report))
    screen.out.print(table)
    if len(reports) > 1:
        counts = Counter(report.status.value for report in reports)
        screen.out.print(
            f"{counted(len(reports), 'table')}: " + ", ".join(f"{n:,} {status}" for status, n in counts.items())
        )
    for report in reports:
        if report.rows_rejected:
            screen.out.print(
                f"{report.table}: {counted(report.rows_rejected, 'row')} rejected and kept aside; "
                f"import-platform rejected list {report.table} says why",
                markup=False,
                soft_wrap=True,
            )
        for warning in report.warnings:
            screen.out.print(f"{report.table}: warning: {warning}", markup=False, soft_wrap=True)
        if report.error and report.status is Status.FAILED:
            screen.fail(f"{report.table}: {report.error}")


def _row(report: SyncReport) -> tuple[str, ...]:
    return (
        escape(report.table),
        _status(report),
        f"{report.rows_read:,}",
        f"{report.rows_inserted:,}",
        f"{report.rows_updated:,}",
        f"{report.rows_deleted:,}",
        format_bytes(report.bytes_written),
        f"{report.seconds:.1f}",
        format_bytes(report.peak_memory_bytes),
        "" if report.delta_version is None else str(report.delta_version),
    )


def _status(report: SyncReport) -> str:
    resumed = " (resumed)" if report.resumed else ""
    colour = _COLOURS[report.status]
    return f"[{colour}]{report.status.value}[/]{resumed}"

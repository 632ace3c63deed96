"""`reconcile`: the rows of tables compared with the source, and what differs repaired."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from import_platform.assets.repair_table import RECONCILE
from import_platform.cli.repartition import in_lake
from import_platform.cli.summary import leave, reporting_failure
from import_platform.cli.sync import repair
from import_platform.cli.terminal import Terminal, grid
from import_platform.components.loading import load_sources
from import_platform.core.budget import format_bytes
from import_platform.core.report import Status, SyncReport
from import_platform.demo.server import source_for_commands
from import_platform.jobs.repartition_launch import tables_to_maintain
from import_platform.pipeline.reconcile import ReconcileReport


def run(screen: Terminal, selection: str, *, dry_run: bool) -> None:
    """Compares the tables of `SOURCE` or `SOURCE/TABLE`; tables that were never synced are left out."""
    with source_for_commands(selection=[selection]), reporting_failure(screen, selection):
        sources = load_sources()
        tables = in_lake(tables_to_maintain(selection, sources=sources))
        reports, interrupted = repair(screen, tables, RECONCILE, sources, dry_run=dry_run)
        if screen.is_json:
            for report in reports:
                screen.emit(report.as_json())
        else:
            _print(screen, reports, dry_run=dry_run)
        leave(screen, reports, interrupted=interrupted)


def _print(screen: Terminal, reports: Sequence[SyncReport], *, dry_run: bool) -> None:
    rows = grid("table", "result", "rows", "missing", "extra", "different", "written", "seconds", "peak memory",
                left=frozenset({"result"}))  # fmt: skip
    for report in reports:
        figures: tuple[int, ...] = ()
        if isinstance(report, ReconcileReport):
            figures = (report.rows_missing, report.rows_extra, report.rows_differing)
        cells = [f"{figure:,}" for figure in figures] or ["", "", ""]
        result = "failed" if report.status is Status.FAILED else "equal"
        if any(figures):
            result = "differs" if dry_run else "repaired"
        rows.add_row(escape(report.table), result, f"{report.rows_read:,}", *cells, format_bytes(report.bytes_written),
                     f"{report.seconds:.1f}", format_bytes(report.peak_memory_bytes))  # fmt: skip
    screen.out.print(rows)
    for report in reports:
        if report.status is Status.FAILED and report.error:
            screen.fail(f"{report.table}: {report.error}")

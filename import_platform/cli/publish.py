"""`publish SOURCE[/TABLE]`: tables of the lake brought to PostgreSQL or to files, as their declaration says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from import_platform.assets.publish_asset import publish_groups, published_key
from import_platform.cli.progress import observing
from import_platform.cli.summary import conclude, reporting_failure
from import_platform.cli.terminal import Terminal, grid
from import_platform.components.loading import load_sources
from import_platform.core.budget import format_bytes
from import_platform.core.publication import PublishReport
from import_platform.core.report import Status, SyncReport
from import_platform.errors import Interrupted
from import_platform.jobs.publish_launch import Steps, launch_publish


def run(screen: Terminal, selection: str) -> None:
    with reporting_failure(screen, selection):
        sources = load_sources()

        def steps_of(source: str) -> Steps:
            groups = publish_groups(sources.source(source).known_tables())
            return [
                ([name for name, _ in group], [published_key(source, name) for name, _ in group]) for group in groups
            ]

        interrupted = False
        try:
            with observing(screen.err) as observer:
                reports = launch_publish(selection, sources=sources, steps_of=steps_of, observer=observer)
        except Interrupted as error:
            reports, interrupted = error.report or [], True
        conclude(screen, reports, interrupted=interrupted, show=_print)


def _print(screen: Terminal, reports: Sequence[SyncReport]) -> None:
    table = grid("table", "target", "how", "read", "inserted", "updated", "deleted", "seconds", "peak memory",
                 "version", left=frozenset({"target", "how"}))  # fmt: skip
    for report in reports:
        target, how = (report.target, report.how) if isinstance(report, PublishReport) else ("", "failed")
        table.add_row(escape(report.table), escape(target), how, f"{report.rows_read:,}", f"{report.rows_inserted:,}",
                      f"{report.rows_updated:,}", f"{report.rows_deleted:,}", f"{report.seconds:.1f}",
                      format_bytes(report.peak_memory_bytes), str(report.delta_version or 0))  # fmt: skip
    screen.out.print(table)
    for report in reports:
        if report.status is Status.FAILED and report.error:
            screen.fail(f"{report.table}: {report.error}")

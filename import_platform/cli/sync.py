"""`sync` and `backfill`: the same runs that Dagster's schedules start, watched from a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from import_platform.cli.progress import observing
from import_platform.cli.summary import conclude, reporting_failure
from import_platform.cli.terminal import Terminal
from import_platform.jobs.launch import launch_backfill, launch_sync


def run(screen: Terminal, selection: Sequence[str], *, full_refresh: bool) -> None:
    """Brings the selected tables up to date, every declared one when nothing is selected."""
    with reporting_failure(screen, ", ".join(selection)):
        with observing(screen.err) as observer:
            reports = launch_sync(selection, full_refresh=full_refresh, observer=observer)
        conclude(screen, reports)


def backfill(screen: Terminal, table: str, keys: Sequence[str]) -> None:
    """Reads the rows of the named partitions again and puts them in place of those in the lake."""
    with reporting_failure(screen, table):
        with observing(screen.err) as observer:
            reports = launch_backfill(table, keys, observer=observer)
        conclude(screen, reports)

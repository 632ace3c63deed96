"""`maintain`: small files of each leaf merged into full ones, and files that no version needs deleted."""

from __future__ import annotations

from import_platform.assets.maintain_table import COMPACT
from import_platform.cli.repartition import in_lake, launch
from import_platform.cli.summary import reporting_failure
from import_platform.cli.terminal import Terminal
from import_platform.components.loading import load_sources
from import_platform.jobs.repartition_launch import tables_to_maintain


def run(screen: Terminal, selection: str) -> None:
    """Compacts and vacuums the tables of `SOURCE` or `SOURCE/TABLE`. Tables that were never synced are left out."""
    with reporting_failure(screen, selection):
        sources = load_sources()
        tables = in_lake(tables_to_maintain(selection, sources=sources))
        launch(screen, tables, {"task": COMPACT}, sources)

"""`rejected`: rows that could not be stored as the columns say, shown and put into the lake once they fit."""

from __future__ import annotations

import json
from typing import Any

from rich.markup import escape

from import_platform.assets.repair_table import REPLAY
from import_platform.cli.repartition import in_lake
from import_platform.cli.summary import conclude, reporting_failure
from import_platform.cli.sync import repair
from import_platform.cli.terminal import Terminal, grid
from import_platform.components.loading import load_sources
from import_platform.demo.server import source_for_commands
from import_platform.io.lake import Lake
from import_platform.io.ledger import count_rejected, latest_rejected
from import_platform.jobs.repartition_launch import tables_to_maintain
from import_platform.resources.project import read_settings

SHOWN_CHARS = 60


def show(screen: Terminal, selection: str | None, *, limit_rows: int) -> None:
    """The newest rejected rows of everything, of `SOURCE` or of `SOURCE/TABLE`."""
    source, _, table = (selection or "").partition("/")
    if source:
        load_sources().source(source)  # a misspelt name is an error, not an empty list
    lake = Lake(read_settings().lake_uri)
    found = latest_rejected(lake, source or None, table or None, limit=limit_rows)
    if screen.is_json:
        for row in found.iter_rows(named=True):
            screen.emit(_json(row))
        return
    total = count_rejected(lake, source or None, table or None)
    if not total:
        screen.out.print("no rejected rows")
        return
    rows = grid("recorded", "table", "key", "column", "reason", left=frozenset({"table", "key", "column", "reason"}))
    for row in found.iter_rows(named=True):
        key = ", ".join(f"{name} {value}" for name, value in json.loads(row["key"]).items())
        cells = [f"{row['source']}/{row['table']}", key[:SHOWN_CHARS], row["column"], row["reason"]]
        rows.add_row(f"{row['recorded_at']:%Y-%m-%d %H:%M}", *map(escape, cells))
    screen.out.print(rows)
    screen.out.print(f"{found.height:,} of {total:,} rejected rows; --json shows the rows themselves")


def replay(screen: Terminal, table: str) -> None:
    """Puts the rejected rows of a table (or of a source's tables) that fit by now into the lake."""
    with source_for_commands(selection=[table]), reporting_failure(screen, table):
        sources = load_sources()
        tables = in_lake(tables_to_maintain(table, sources=sources))
        reports, interrupted = repair(screen, tables, REPLAY, sources)
        conclude(screen, reports, interrupted=interrupted)


def _json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "table": f"{row['source']}/{row['table']}",
        "key": json.loads(row["key"]),
        "column": row["column"],
        "reason": row["reason"],
        "row": None if row["row"] is None else json.loads(row["row"]),
        "recorded_at": row["recorded_at"].isoformat(),
    }

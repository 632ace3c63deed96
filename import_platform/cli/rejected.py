"""`rejected`: rows that could not be stored as the columns say, shown and put into the lake once they fit."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from rich.markup import escape
from rich.table import Table

from import_platform.assets.repair_table import REPLAY
from import_platform.cli.repartition import in_lake
from import_platform.cli.summary import conclude, reporting_failure
from import_platform.cli.sync import repair
from import_platform.cli.terminal import Terminal, grid
from import_platform.components.loading import load_sources
from import_platform.core.wording import counted
from import_platform.demo.server import source_for_commands
from import_platform.io.lake import Lake
from import_platform.io.ledger import count_rejected, latest_rejected
from import_platform.jobs.repartition_launch import tables_to_maintain
from import_platform.jobs.selection import known_table
from import_platform.resources.project import read_settings

SHOWN_CHARS = 60


def show(screen: Terminal, selection: str | None, *, limit_rows: int, resolved: bool = False) -> None:
    """The newest rejected rows of everything, of `SOURCE` or of `SOURCE/TABLE`: open ones, or `resolved` ones too.

    Raises ConfigError: the source or table is unknown (with the closest names).
    """
    source, _, table = (selection or "").partition("/")
    declared = load_sources().source(source) if source else None
    lake = Lake(read_settings().lake_uri)
    found = latest_rejected(lake, source or None, table or None, limit=limit_rows, resolved=resolved)
    if table and declared is not None and found.is_empty():
        known_table(declared, table)  # a misspelt name is an error, not an empty list
    if screen.is_json:
        for row in found.iter_rows(named=True):
            screen.emit(_json(row))
        return
    still_open = count_rejected(lake, source or None, table or None)
    done = count_rejected(lake, source or None, table or None, resolved=True)
    if not found.is_empty():
        screen.out.print(_grid(found, resolved=resolved))
    screen.out.print(_summary(found.height, still_open, done, resolved=resolved))


def _grid(found: pl.DataFrame, *, resolved: bool) -> Table:
    names = ["table", "key", "column", "reason", *(["resolved"] if resolved else [])]
    rows = grid("recorded", *names, left=frozenset(names))
    for row in found.iter_rows(named=True):
        key = ", ".join(f"{name} {value}" for name, value in json.loads(row["key"]).items())
        cells = [f"{row['source']}/{row['table']}", key[:SHOWN_CHARS], row["column"], row["reason"]]
        cells += [f"{row['resolved_at']:%Y-%m-%d %H:%M}: {row['how']}" if row["how"] else "open"] if resolved else []
        rows.add_row(f"{row['recorded_at']:%Y-%m-%d %H:%M}", *map(escape, cells))
    return rows


def _summary(shown: int, still_open: int, done: int, *, resolved: bool) -> str:
    since = f"{counted(done, 'row')} resolved since"
    if resolved and shown:
        return f"{shown:,} of {counted(still_open + done, 'rejected row')}; {still_open:,} open, {since}"
    hidden = f"; {since}, --all shows them too" if done else ""
    if not still_open:
        return f"no open rejected rows{hidden}" if done else "no rejected rows"
    return f"{shown:,} of {counted(still_open, 'rejected row')}; --json shows the rows themselves{hidden}"


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
        "resolved": row["how"],
        "resolved_at": None if row["resolved_at"] is None else row["resolved_at"].isoformat(),
    }

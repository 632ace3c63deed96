"""Rows of 8 MB out of every kind of database within 400 MB of memory, and one that is wider than the budget.

At 380 MiB a row of 8 MB is to the budget what one of 24 MB is to 1 GiB. Each sync runs in a process of its own.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from tests.conftest import Database

ROWS, ROW_BYTES, PEAK_BYTES = 40, 8_000_000, 400_000_000
SYNC = """
import json, sys
import dagster
from import_platform.core.budget import MIB, budget_of
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.io.lake import Lake
from import_platform.io.memory import held_bytes
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.registry import open_source

connection, lake = json.loads(sys.argv[1]), Lake(sys.argv[2])
declared = DeclaredTable("wide", SyncMode.INCREMENTAL, "n", ("id",))
budget = budget_of(380 * MIB, base_bytes=held_bytes())
report = sync_table(TableContext("s", declared, open_source("s", connection), lake, budget))
print(json.dumps(report.as_json()))
"""


@pytest.fixture(params=["postgres", "mysql", "sqlite", "duckdb"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """A table `wide` of rows of 8 MB, and one of 90 MB with the key 7."""
    kind = request.param
    times = f"CASE i WHEN 7 THEN 2812500 ELSE {ROW_BYTES // 32} END"
    if kind == "postgres":
        database = request.getfixturevalue("postgres")
        body = f"""('"' || repeat(md5(i::text), {times}) || '"')::jsonb"""
        database.execute(
            "CREATE TABLE wide (id int PRIMARY KEY, n int, body jsonb)",
            f"INSERT INTO wide SELECT i, i, {body} FROM generate_series(1, {ROWS}) i",
        )
        return {"kind": kind, "dsn": database.dsn}
    if kind == "mysql":
        maria = request.getfixturevalue("mariadb")
        made = f"SELECT seq, seq, REPEAT(MD5(seq), {times.replace(' i ', ' seq ')}) FROM seq_1_to_{ROWS}"
        maria.execute(
            "CREATE TABLE wide (id INT PRIMARY KEY, n INT, body LONGTEXT CHARACTER SET ascii)",
            f"INSERT INTO wide {made}",
        )
        return {"kind": kind, "dsn": maria.dsn}
    path = tmp_path / "wide.db"
    if kind == "duckdb":
        with duckdb.connect(str(path)) as file:
            file.execute("CREATE TABLE wide (id INTEGER PRIMARY KEY, n INTEGER, body VARCHAR)")
            made = f"repeat(md5(i::VARCHAR), {times})"
            file.execute(f"INSERT INTO wide SELECT i, i, {made} FROM range(1, {ROWS + 1}) r(i)")
        return {"kind": kind, "path": str(path)}
    with sqlite3.connect(path) as lite:
        lite.execute("CREATE TABLE wide (id INTEGER PRIMARY KEY, n INTEGER, body TEXT)")
        for n in range(1, ROWS + 1):
            lite.execute("INSERT INTO wide VALUES (?, ?, ?)", (n, n, f"{n:032}" * (2812500 if n == 7 else 250_000)))
    return {"kind": kind, "path": str(path)}


def sync(connection: dict[str, Any], lake: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", SYNC, json.dumps(connection), str(lake)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_wide_rows_fit_and_the_widest_is_named(connection: dict[str, Any], tmp_path: Path) -> None:
    report = sync(connection, tmp_path / "lake")
    assert (report["rows_inserted"], report["rows_rejected"]) == (ROWS - 1, 1)
    assert report["bytes_read"] > (ROWS - 1) * ROW_BYTES
    assert report["peak_memory_bytes"] < PEAK_BYTES


@pytest.mark.slow
def test_a_table_of_1600_columns_is_imported_and_merged_within_the_same_memory(
    postgres: Database, tmp_path: Path
) -> None:
    names = [f"c{n}" for n in range(1598)]
    postgres.execute(
        f"CREATE TABLE wide (id int PRIMARY KEY, n int, {', '.join(f'{name} int' for name in names)})",
        f"INSERT INTO wide SELECT i, 0, {', '.join(f'i + {n}' for n in range(1598))} FROM generate_series(1, 600) i",
    )
    first = sync({"kind": "postgres", "dsn": postgres.dsn}, tmp_path / "lake")
    assert first["rows_inserted"] == 600
    postgres.execute("UPDATE wide SET n = 1, c1597 = -1 WHERE id % 10 = 0")
    second = sync({"kind": "postgres", "dsn": postgres.dsn}, tmp_path / "lake")
    assert (second["rows_inserted"], second["rows_updated"]) == (0, 60)
    assert max(first["peak_memory_bytes"], second["peak_memory_bytes"]) < PEAK_BYTES
    found = pl.read_delta(str(tmp_path / "lake" / "s" / "wide")).sort("id")
    assert (found.width, found.height) == (1601, 600)
    assert found.select(
        pl.sum_horizontal(pl.exclude("id", "n", "c1597", "_partition").cast(pl.Int64)).sum()
    ).item() == sum(i + n for i in range(1, 601) for n in range(1597))
    assert found["c1597"].to_list() == [-1 if i % 10 == 0 else i + 1597 for i in range(1, 601)]

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
import pytest

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


def test_wide_rows_fit_and_the_widest_is_named(connection: dict[str, Any], tmp_path: Path) -> None:
    command = [sys.executable, "-c", SYNC, json.dumps(connection), str(tmp_path / "lake")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["rows_inserted"], report["rows_rejected"]) == (ROWS - 1, 1)
    assert report["bytes_read"] > (ROWS - 1) * ROW_BYTES
    assert report["peak_memory_bytes"] < PEAK_BYTES

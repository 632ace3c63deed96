"""A real sync from PostgreSQL by several readers, killed or asked to stop in the middle, goes on where it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import Database

ROWS = 120_000
SYNC = """
import json, sys
from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.resources.interrupts import stop_on_signals
from import_platform.sources.postgres import PostgresSource

dsn, lake, mode, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
source = PostgresSource({"dsn": dsn, "readers": 2})
read = source.read

def slowly(request):
    import time
    for page in read(request):
        time.sleep(seconds)
        yield page

source.read = slowly
with stop_on_signals() as stop:
    declared = DeclaredTable("t", SyncMode(mode), "at" if mode == "incremental" else None, ("id",))
    budget = MemoryBudget(2048 * MIB, 2048 * MIB - 64 * MIB)
    report = sync_table(TableContext("s", declared, source, Lake(lake), budget, stop=stop))
print(json.dumps(report.as_json()))
"""


@pytest.fixture
def database(postgres: Database) -> Database:
    postgres.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz NOT NULL, word text)",
        f"INSERT INTO t SELECT i, '2024-01-01', repeat(md5(i::text), 18) FROM generate_series(1, {ROWS}) i",
        "VACUUM ANALYZE t",
    )
    return postgres


def start(database: Database, lake: Path, mode: str, page_seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SYNC, database.dsn, str(lake), mode, str(page_seconds)]
    folder = Path(__file__).parents[2]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error[-2000:]
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    return report


def checkpoints(lake: Path) -> list[dict[str, Any]]:
    found = sorted(lake.glob("_staging/s/t/attempts/*/0*.json"))
    return [json.loads(path.read_text()) for path in found]


def wait_for_checkpoints(process: subprocess.Popen[str], lake: Path, count: int) -> None:
    until = time.monotonic() + 60
    while len(checkpoints(lake)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def assert_equal(database: Database, lake: Path) -> None:
    found = pl.read_delta(str(lake / "s" / "t")).select("id", "word")
    assert found.height == ROWS
    assert found["id"].n_unique() == ROWS
    expected = database.rows("SELECT sum(id)::text, count(DISTINCT word) FROM t")[0]
    assert (str(found["id"].sum()), found["word"].n_unique()) == expected


@pytest.mark.parametrize("mode", ["incremental", "full_refresh"])
def test_a_killed_sync_reads_again_no_more_than_the_chunk_in_flight(
    database: Database, tmp_path: Path, mode: str
) -> None:
    lake = tmp_path / "lake"
    process = start(database, lake, mode, 0.05)
    wait_for_checkpoints(process, lake, 3)
    process.kill()
    process.communicate()
    staged = checkpoints(lake)
    assert any("ranges" in (checkpoint["token"] or {}) for checkpoint in staged)
    second = finished(start(database, lake, mode, 0))
    assert second["resumed"]
    assert second["rows_read"] == ROWS - sum(checkpoint["rows"] for checkpoint in staged)
    assert_equal(database, lake)


def test_a_sync_that_is_asked_to_stop_checkpoints_within_ten_seconds(database: Database, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    process = start(database, lake, "incremental", 0.2)
    wait_for_checkpoints(process, lake, 1)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    first = finished(process)
    assert time.monotonic() - asked < 10
    assert first["status"] == "checkpointed"
    second = finished(start(database, lake, "incremental", 0))
    assert first["rows_read"] + second["rows_read"] == ROWS
    assert_equal(database, lake)

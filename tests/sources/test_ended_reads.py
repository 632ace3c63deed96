"""A real sync from PostgreSQL by several readers, killed or asked to stop in the middle, goes on where it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import Database

ROWS = 120_000
SYNC = """
import json, os, sys
from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.resources.interrupts import stop_on_signals
from import_platform.sources.postgres import PostgresSource

dsn, lake, mode, number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
source = PostgresSource({"dsn": dsn, "readers": 2})
read, stage = source.read, Staging.stage
stages = late = 0

def counted(request):
    global late
    for page in read(request):
        late += stop()
        yield page

def ended(self, *args, **kwargs):
    global stages
    staged = stage(self, *args, **kwargs)
    stages += 1
    if number and stages == 3:
        os.kill(os.getpid(), number)
    return staged

source.read, Staging.stage = counted, ended
with stop_on_signals() as stop:
    declared = DeclaredTable("t", SyncMode(mode), "at" if mode == "incremental" else None, ("id",))
    budget = MemoryBudget(2048 * MIB, 2048 * MIB - 64 * MIB)
    report = sync_table(TableContext("s", declared, source, Lake(lake), budget, stop=stop))
print(json.dumps(report.as_json() | {"stages": stages, "late_pages": late}))
"""


@pytest.fixture
def database(postgres: Database) -> Database:
    postgres.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz NOT NULL, word text)",
        f"INSERT INTO t SELECT i, '2024-01-01', repeat(md5(i::text), 18) FROM generate_series(1, {ROWS}) i",
        "VACUUM ANALYZE t",
    )
    return postgres


def start(database: Database, lake: Path, mode: str, number: int = 0) -> subprocess.Popen[str]:
    """A sync, which sends itself the signal once its third chunk is staged."""
    command = [sys.executable, "-c", SYNC, database.dsn, str(lake), mode, str(number)]
    folder = Path(__file__).parents[2]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error[-2000:]
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    return report


def checkpoints(lake: Path) -> list[dict[str, Any]]:
    found = sorted(lake.glob("_staging/s/t/attempts/*/0*.json"))
    return [json.loads(path.read_text()) for path in found]


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
    killed = start(database, lake, mode, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    staged = checkpoints(lake)
    assert len(staged) == 3
    assert any("ranges" in (checkpoint["token"] or {}) for checkpoint in staged)
    second = finished(start(database, lake, mode))
    assert second["resumed"]
    assert second["rows_read"] == ROWS - sum(checkpoint["rows"] for checkpoint in staged)
    assert_equal(database, lake)


def test_a_sync_that_is_asked_to_stop_checkpoints_the_page_under_way(database: Database, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first = finished(start(database, lake, "incremental", signal.SIGTERM))
    assert (first["status"], first["stages"]) == ("checkpointed", 4)
    assert first["late_pages"] <= 2, "the page under way, and the one that is fetched ahead of it"
    assert sum(checkpoint["rows"] for checkpoint in checkpoints(lake)) == first["rows_read"] < ROWS
    second = finished(start(database, lake, "incremental"))
    assert first["rows_read"] + second["rows_read"] == ROWS
    assert_equal(database, lake)

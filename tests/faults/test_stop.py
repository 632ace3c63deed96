"""A whole source with its tables side by side, asked to stop in the middle: real processes of the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import Database

TABLES = ("t0", "t1", "t2", "t3")
ROWS = 300_000
STOP_SECONDS = 10
SLOW = """
import sys, time
from pathlib import Path
from import_platform.cli import main
from import_platform.io.parquet import LeafWriter
from import_platform.sources.postgres import PostgresSource

reading, writing = float(sys.argv.pop(1)), float(sys.argv.pop(1))
read, write = PostgresSource.read, LeafWriter.write

def slowly_read(self, request):
    for page in read(self, request):
        time.sleep(reading)
        yield page

def slowly_write(self, *args, **kwargs):
    Path("writing").touch()
    time.sleep(writing)
    return write(self, *args, **kwargs)

PostgresSource.read, LeafWriter.write = slowly_read, slowly_write
main()
"""


@pytest.fixture
def shop(postgres: Database, tmp_path: Path) -> Path:
    """A project with one source of four tables, each too large to be held by a merge of this budget."""
    columns = "id bigint PRIMARY KEY, at timestamptz NOT NULL, day date, word text"
    for name in TABLES:
        postgres.execute(
            f"CREATE TABLE {name} ({columns})",
            f"INSERT INTO {name} SELECT i, '2025-06-01', '2025-01-01'::date + (i % 360)::int, repeat(md5(i::text), 16)"
            f" FROM generate_series(1, {ROWS}) i",
            f"ANALYZE {name}",
        )
    tables = "".join(
        f"\n    - {{name: {name}, sync: full_refresh, partition: {{column: day, granularity: month}}}}"
        for name in TABLES
    )
    declared = (
        "type: import_platform.components.ExternalSource\nattributes:\n  name: shop\n"
        f'  connection: {{kind: postgres, dsn: "{{{{ env.SHOP_DSN }}}}"}}\n  tables:{tables}\n'
    )
    (tmp_path / "defs" / "shop").mkdir(parents=True)
    (tmp_path / "defs" / "shop" / "defs.yaml").write_text(declared)
    (tmp_path / "dsn").write_text(postgres.dsn)
    return tmp_path


def start(folder: Path, *, reading: float = 0.0, writing: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, str(reading), str(writing), "--json", "sync", "shop", "--parallel", "3"]
    environ = {
        **os.environ,
        "SHOP_DSN": (folder / "dsn").read_text(),
        "IMPORT_PLATFORM_DEFS": str(folder / "defs"),
        "IMPORT_PLATFORM_LAKE": str(folder / "lake"),
        "IMPORT_PLATFORM_MEMORY": "1GiB",
        "DAGSTER_HOME": str(folder / "home"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    (folder / "home").mkdir(exist_ok=True)
    errors = (folder / "stderr").open("w")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environ, cwd=folder)


def wait_until(process: subprocess.Popen[str], folder: Path, seen: Callable[[], bool]) -> None:
    until = time.monotonic() + 90
    while not seen():
        assert process.poll() is None, (folder / "stderr").read_text()[-2000:]
        assert time.monotonic() < until
        time.sleep(0.05)


def two_tables_are_read(folder: Path) -> bool:
    return sum(any(folder.glob(f"lake/_staging/shop/{name}/attempts/*/0*.json")) for name in TABLES) >= 2


def one_is_written(folder: Path) -> bool:
    return (folder / "writing").exists()


def reports_of(process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    out, _ = process.communicate(timeout=150)
    return {report["table"].removeprefix("shop/"): report for report in map(json.loads, out.splitlines())}


def assert_whole(folder: Path) -> None:
    for name in TABLES:
        found = pl.read_delta(str(folder / "lake" / "shop" / name)).select("id")
        assert (found.height, found["id"].n_unique(), found["id"].max()) == (ROWS, ROWS, ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("under_way", "slow"), [(two_tables_are_read, {"reading": 0.4}), (one_is_written, {"writing": 0.1})]
)
def test_tables_side_by_side_checkpoint_and_exit_within_ten_seconds(
    shop: Path, number: int, under_way: Callable[[Path], bool], slow: dict[str, float]
) -> None:
    process = start(shop, **slow)
    wait_until(process, shop, lambda: under_way(shop))
    asked = time.monotonic()
    process.send_signal(number)
    first = reports_of(process)
    assert time.monotonic() - asked < STOP_SECONDS
    assert process.returncode == 130
    stopped = [name for name, report in first.items() if report["status"] == "checkpointed"]
    assert len(stopped) >= 2, first
    again = start(shop)
    second = reports_of(again)
    assert again.returncode == 0, [report["error"] for report in second.values()]
    for name in stopped:
        assert second[name]["resumed"]
        assert first[name]["rows_read"] + second[name]["rows_read"] == ROWS
    assert_whole(shop)

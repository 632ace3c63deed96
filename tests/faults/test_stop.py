"""A whole source with its tables side by side, asked to stop in the middle: real processes of the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import Database

TABLES = ("t0", "t1", "t2", "t3")
ROWS = 300_000
MONTHS = 12
HELD = """
import math, sys, threading, time
from contextlib import contextmanager
from pathlib import Path
from import_platform.cli import main
from import_platform.io.parquet import LeafWriter
from import_platform.jobs import launch
from import_platform.pipeline import stopping
from import_platform.sources.postgres import PostgresSource

at = sys.argv.pop(1)
read, write, stop_on_signals = PostgresSource.read, LeafWriter.write, launch.stop_on_signals
stopping.GRACE_SECONDS = 0.0
stops, lock = [], threading.Lock()

@contextmanager
def noted(*args):
    with stop_on_signals(*args) as stop:
        stops.append(stop)
        yield stop

def is_asked():
    return any(stop() for stop in stops)

def hold(name):
    Path(f"held-{name}").touch()
    until = time.monotonic() + 300
    while not is_asked() and time.monotonic() < until:
        time.sleep(0.02)

def count(what):
    with lock, open("late", "a") as file:
        file.write(what + chr(10))

def held_read(self, request):
    for number, page in enumerate(read(self, request)):
        if number == 2:
            hold(request.table.name)
        elif is_asked():
            count(request.table.name)
        yield page

def held_write(self, *args, **kwargs):
    if is_asked():
        count("write")
    else:
        hold("write")
    return write(self, *args, **kwargs)

launch.stop_on_signals = noted
if at == "reading":
    PostgresSource.read = held_read
if at == "writing":
    LeafWriter.write = held_write
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


def start(folder: Path, held_at: str = "") -> subprocess.Popen[str]:
    """The command; held where it reads its third pages, or writes, until it is asked to stop."""
    command = [sys.executable, "-c", HELD, held_at, "--json", "sync", "shop", "--parallel", "3"]
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


def wait_until_held(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    until = time.monotonic() + 300
    while len(list(folder.glob("held-*"))) < count:
        assert process.poll() is None, (folder / "stderr").read_text()[-2000:]
        assert time.monotonic() < until
        time.sleep(0.05)


def reports_of(process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    out, _ = process.communicate(timeout=600)
    return {report["table"].removeprefix("shop/"): report for report in map(json.loads, out.splitlines())}


def assert_whole(folder: Path) -> None:
    for name in TABLES:
        found = pl.read_delta(str(folder / "lake" / "shop" / name)).select("id")
        assert (found.height, found["id"].n_unique(), found["id"].max()) == (ROWS, ROWS, ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("held_at", "count"), [("reading", 3), ("writing", 1)])
def test_tables_side_by_side_checkpoint_what_is_under_way_and_begin_nothing_more(
    shop: Path, number: int, held_at: str, count: int
) -> None:
    process = start(shop, held_at)
    wait_until_held(process, shop, count)
    process.send_signal(number)
    first = reports_of(process)
    assert process.returncode == 130
    begun = {name: report for name, report in first.items() if report["rows_read"]}
    assert len(begun) >= count, first
    assert {report["status"] for report in begun.values()} == {"checkpointed"}, first
    late = Counter((shop / "late").read_text().split() if (shop / "late").exists() else [])
    assert late.pop("write", 0) <= 2 * MONTHS, "the batch under way, of each of two workers, is written to its leaves"
    assert set(late.values()) <= {1}, "the page under way was the last"
    again = start(shop)
    second = reports_of(again)
    assert again.returncode == 0, [report["error"] for report in second.values()]
    for name, report in begun.items():
        assert second[name]["resumed"]
        assert report["rows_read"] + second[name]["rows_read"] == ROWS
    assert_whole(shop)

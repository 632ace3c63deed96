"""`status` on a real lake: every table on one screen, and the leaf map of one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.repartition import RepartitionRecord
from import_platform.io.incidents import FAULTS_MAX, Incidents
from import_platform.io.lake import Lake
from import_platform.jobs.launch import launch_sync
from import_platform.pipeline.context import open_lake_table
from tests.dagster_project import SHOP, empty_home, project

__all__ = ["empty_home", "project"]


@pytest.fixture
def synced(project):
    launch_sync(["shop"], sources=project.sources())
    return project


def invoke(*words, columns=140):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": str(columns)})


def sizes(project):
    snapshot = open_lake_table(Lake(str(project.root / "lake")), "shop", "orders").snapshot
    return dict(snapshot.files.select("leaf", "size_bytes").iter_rows())


def remember(project, record):
    Lake(str(project.root / "lake")).store.put("_staging/shop/orders/repartition.json", record.to_json())


def test_one_table_is_shown_with_its_leaves_against_the_limit(synced):
    told = invoke("status", "shop/orders")
    assert told.exit_code == 0, told.output
    assert "customers" not in told.stdout
    assert "month of created_at" in told.stdout
    lines = [line for line in told.stdout.splitlines() if line.startswith("2025-0")]
    assert [line.split()[0] for line in lines] == ["2025-01", "2025-02", "2025-03", "2025-04"]
    assert all("█" in line and " 100 " in line and line.endswith("0%") for line in lines)


def test_the_map_as_json_has_every_leaf_and_the_limit(synced, monkeypatch):
    limit = max(sizes(synced).values()) - 1
    monkeypatch.setenv("IMPORT_PLATFORM_PARTITION_MAX", str(limit))
    told = invoke("status", "shop/orders", "--json")
    found = json.loads(told.stdout)
    assert found["partition"] == {"column": "created_at", "granularity": "month", "stable": False}
    assert (found["partition_max_bytes"], found["leaves"], found["rows"]) == (limit, 4, 400)
    assert {leaf["leaf"]: leaf["bytes"] for leaf in found["leaf_map"]} == sizes(synced)
    assert [leaf["rows"] for leaf in found["leaf_map"]] == [100, 100, 100, 100]
    assert {leaf["leaf"] for leaf in found["leaf_map"] if leaf["over_limit"]} == {
        leaf for leaf, size in sizes(synced).items() if size > limit
    }


def test_leaves_over_the_limit_are_said_with_what_to_do(synced, monkeypatch):
    monkeypatch.setenv("IMPORT_PLATFORM_PARTITION_MAX", str(min(sizes(synced).values()) - 1))
    assert "4 leaves over the limit; the sensor splits them" in invoke("status", "shop/orders").stdout
    remember(synced, RepartitionRecord(unsplittable={"2025-01": 1}))
    told = invoke("status", "shop/orders").stdout
    assert "3 leaves over the limit" in told
    assert "one key fills 2025-01: it cannot be split" in told


def test_a_table_has_its_own_limit(synced):
    size = max(sizes(synced).values())
    synced.declare(SHOP.replace("    - name: orders\n", f"    - name: orders\n      partition_max: {size - 1}B\n"))
    assert json.loads(invoke("status", "shop/orders", "--json").stdout)["partition_max_bytes"] == size - 1


def test_two_hundred_leaves_fit_on_a_screen(synced):
    assert invoke("repartition", "shop/orders", "--to", "id:1").exit_code == 0
    told = invoke("status", "shop/orders").stdout
    assert "400 leaves" in told
    assert len(told.splitlines()) < 60
    assert "n10_0" in told
    assert len(json.loads(invoke("status", "shop/orders", "--json").stdout)["leaf_map"]) == 400


def test_a_source_is_shown_alone(synced):
    rows = [json.loads(line)["table"] for line in invoke("status", "shop", "--json").stdout.splitlines()]
    assert rows == ["shop/customers", "shop/orders"]
    assert "no such source" in invoke("status", "shpo").output
    assert "Did you mean shop/orders?" in invoke("status", "shop/order").output
    assert invoke("status", "shop/order").exit_code == 2


def test_a_table_that_was_never_synced_has_no_map(project):
    told = invoke("status", "shop/orders")
    assert told.exit_code == 0
    assert "never synced" in told.stdout
    assert "leaf_map" not in json.loads(invoke("status", "shop/orders", "--json").stdout)


def test_last_and_next_sync_come_from_the_history(synced):
    asked_at = datetime.now(UTC)
    rows = {row["table"]: row for row in map(json.loads, invoke("status", "--json").stdout.splitlines())}
    orders = rows["shop/orders"]
    assert (orders["state"], orders["stale"], orders["incident"]) == ("ok", False, None)
    assert orders["last_change"] <= orders["last_sync"]
    next_sync = datetime.fromisoformat(orders["next_sync"])
    assert timedelta(0) < next_sync - asked_at < timedelta(seconds=1000)
    assert (next_sync.minute % 15, next_sync.second) == (0, 0)
    told = invoke("status").stdout
    assert re.search(r"[0-9]+ (s|min) ago", told)
    assert re.search(r" in [0-9]+ (s|min)", told)
    assert "no scheduler is running" in told


def test_a_sync_without_news_counts_as_a_sync(synced):
    before = json.loads(invoke("status", "shop/orders", "--json").stdout)
    time.sleep(1.1)
    launch_sync(["shop"], sources=synced.sources())
    after = json.loads(invoke("status", "shop/orders", "--json").stdout)
    assert after["delta_version"] == before["delta_version"]
    assert after["last_sync"] > before["last_sync"]


def test_an_open_incident_and_its_pause_are_shown(synced):
    incidents = Incidents(Lake(str(synced.root / "lake")))
    for _ in range(FAULTS_MAX):
        incidents.record("shop", "orders", error_class="ConfigError", error="no such column", is_fault=True)
    row = json.loads(invoke("status", "shop/orders", "--json").stdout)
    assert (row["state"], row["incident"], row["incident_count"]) == ("paused", 1, FAULTS_MAX)
    assert row["next_sync"] is None
    told = invoke("status")
    assert f"#1 x{FAULTS_MAX}" in told.stdout
    assert "no such column" in told.stderr


def test_without_a_history_the_lake_alone_is_told(synced, monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "none"))
    row = json.loads(invoke("status", "shop/orders", "--json").stdout)
    assert (row["last_sync"], row["next_sync"]) == (row["last_change"], None)
    assert not (tmp_path / "none").exists()


def test_watching_without_a_terminal_tells_changes_only_and_ends_well(synced):
    watching = subprocess.Popen(
        [sys.executable, "-m", "import_platform.cli", "status", "--watch", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        first = [json.loads(watching.stdout.readline())["table"] for _ in range(2)]
        synced.sql("update orders set note = 'x', updated_at = '2025-06-01' where id = 1")
        launch_sync(["shop/orders"], sources=synced.sources())
        changed = json.loads(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        assert watching.wait(300) == 0
    finally:
        watching.kill()
    assert first == ["shop/customers", "shop/orders"]
    assert changed["table"] == "shop/orders"
    assert "Traceback" not in watching.stderr.read()


def test_watching_on_a_terminal_draws_a_screen_and_leaves_it_as_it_was(synced):
    code, drawn = on_a_terminal("status", "--watch", until="Ctrl-C leaves")
    assert code == 0
    assert "shop/orders" in drawn
    assert "\x1b[?1049h" in drawn, "an alternate screen"
    assert drawn.endswith("\x1b[?25h\x1b[?1049l"), "the cursor is back, and the screen is left"


def test_a_mistake_is_a_sentence_before_any_screen(synced):
    assert invoke("status", "nothing", "--watch").exit_code == 2


def on_a_terminal(*words, until):
    """Exit code and everything drawn by a command that is interrupted once it has drawn `until`."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 160, 0, 0))
    command = [sys.executable, "-m", "import_platform.cli", *words]
    environ = {**os.environ, "TERM": "xterm"}
    running = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environ)
    os.close(follower)
    drawn = b""
    try:
        while until.encode() not in drawn:
            drawn += os.read(leader, 65536)
        running.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the terminal ends with its last process
            while data := os.read(leader, 65536):
                drawn += data
        return running.wait(300), drawn.decode()
    finally:
        running.kill()
        os.close(leader)

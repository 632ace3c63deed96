"""Incidents that are no source's fault: what happened, what was done about it, what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from import_platform.cli import incidents as command
from import_platform.cli.terminal import Terminal
from import_platform.core.blame import Worked
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.sensors.memory_kills import Killed, after_kill


@pytest.fixture
def killed(tmp_path, monkeypatch):
    monkeypatch.setenv("IMPORT_PLATFORM_LAKE", str(tmp_path / "lake"))
    lake = Lake(str(tmp_path / "lake"))
    grew = Worked("shop/orders", "flush", 100_000_000, 100_000_000, 900_000_000, "host:1")
    victim = Worked("shop/customers", "flush", 50_000_000, 50_000_000, 20_000_000, "host:2", killed=True)
    after_kill(Killed("run-1", "killed by signal 9", (victim, grew), datetime.now(UTC)), lake, Incidents(lake))
    return lake


def shown(capsys, *, is_json):
    screen = Terminal(is_json=is_json)
    command.show_all(screen)
    command.show(screen, 1)
    return capsys.readouterr().out


def test_a_memory_incident_says_who_grew_who_was_killed_and_what_is_done_about_it(killed, capsys):
    text = " ".join(shown(capsys, is_json=False).split())
    assert "shop/orders rests 1" in text
    assert "killed by signal 9; its flush had grown to 900.0 MB beyond the base, of 100.0 MB granted" in text
    assert "What the platform does fewer workers from now on; schedules leave it alone for 5 minutes" in text
    assert "shop/customers: 20.0 MB of 50.0 MB granted, its process was killed" in text
    assert "import-platform diagnose shop/orders" in text


def test_as_json_it_is_one_object_with_its_kind_and_neighbours(killed, capsys):
    listed, bundle = (json.loads(line) for line in shown(capsys, is_json=True).splitlines())
    assert (listed["kind"], listed["table"], listed["paused"]) == ("memory", "orders", False)
    assert [each["table"] for each in bundle["beside"]] == ["shop/customers"]
    assert bundle["summary"].startswith("# Incident 1: shop/orders")

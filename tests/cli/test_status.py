"""`status` on a real lake: every table on one screen, and the leaf map of one."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.repartition import RepartitionRecord
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

"""A publication whose run fails behind its commit: the target has the rows, and nobody is told that all is well."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.jobs.launch import launch_sync
from tests.dagster_project import NO_ROOM, SHOP, empty_home, project

__all__ = ["empty_home", "project"]


@pytest.fixture
def shop(project):
    """Orders in the lake, to be published as files; customers too, into another folder."""
    folders = [f'      publish: {{folder: "{project.root}/{name}"}}\n' for name in ("orders", "customers")]
    text = SHOP.replace("    - name: customers\n", folders[0] + "    - name: customers\n") + folders[1]
    project.declare(text)
    launch_sync(["shop"], sources=project.sources())
    return project


def publish(selection):
    ended = CliRunner().invoke(app, ["publish", selection, "--json"], env={"COLUMNS": "200"})
    return ended, {line["table"]: line for line in map(json.loads, ended.stdout.splitlines())}


def test_a_run_that_cannot_be_recorded_behind_its_commit_is_a_failure_and_the_next_one_is_well(shop):
    shop.history(NO_ROOM)
    ended, told = publish("shop/orders")
    assert ended.exit_code == 1
    assert told["shop/orders"]["status"] == "failed"
    assert told["shop/orders"]["error"] == "published, but the run failed behind it; see its log"
    assert told["shop/orders"]["rows_inserted"] == 400, "what was done is told all the same"
    [part] = (shop.root / "orders").glob("v*/*.parquet")
    assert pq.read_metadata(part).num_rows == 400
    shop.history("drop trigger no_room")
    ended, told = publish("shop/orders")
    assert (ended.exit_code, told["shop/orders"]["status"]) == (0, "unchanged")


def test_a_publication_that_fails_itself_keeps_its_own_sentence_and_leaves_the_others_alone(shop):
    (shop.root / "orders").mkdir()
    (shop.root / "orders" / "_published.json").write_text('{"table": "warehouse/orders"}')
    ended, told = publish("shop")
    assert ended.exit_code == 1
    assert "another table is published to this folder" in told["shop/orders"]["error"]
    assert "behind it" not in told["shop/orders"]["error"]
    assert told["shop/customers"]["status"] == "done"

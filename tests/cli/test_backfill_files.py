"""`backfill --file` on a real project: files that were read are read again, whichever and in any order."""

from __future__ import annotations

import json

from deltalake import DeltaTable
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.jobs.launch import launch_sync
from tests.dagster_project import empty_home, project

__all__ = ["empty_home", "project"]

FEED = """\
type: import_platform.components.ExternalSource
attributes:
  name: feed
  connection:
    kind: files
    files:
      - {{name: orders, pattern: "{folder}/*.csv", primary_key: [id], version: file, delete_when: {{column: op, value: D}}}}
"""


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def test_a_named_file_brings_lost_rows_back_and_no_deleted_one(project, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1.csv").write_text("id,op\n1,\n2,\n3,\n")
    (folder / "2.csv").write_text("id,op\n2,D\n")
    project.declare(FEED.format(folder=folder), "feed")
    launch_sync(["feed"], sources=project.sources())
    DeltaTable(str(tmp_path / "lake/feed/orders")).delete("id = 3")
    ended = invoke("backfill", "feed/orders", "--file", "*/1.csv", "--json")
    assert ended.exit_code == 0, ended.output
    report = json.loads(ended.stdout.splitlines()[-1])
    assert (report["status"], report["rows_read"], report["rows_inserted"]) == ("done", 3, 1)
    told = invoke("query", "SELECT list(id ORDER BY id) ids FROM feed.orders", "--json")
    assert json.loads(told.stdout.splitlines()[0])["ids"] == [1, 3]


def test_a_misspelt_file_is_the_users_mistake_and_no_incident(project, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "orders-1.csv").write_text("id,op\n1,\n")
    project.declare(FEED.format(folder=tmp_path / "in"), "feed")
    asked = ("backfill", "feed/orders", "--file", "orders-11.csv")
    assert "the lake has no such table" in invoke(*asked).stderr
    launch_sync(["feed"], sources=project.sources())
    ended = invoke(*asked)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert f"Did you mean {tmp_path}/in/orders-1.csv?" in ended.stderr
    assert "no file of this name was read (table 'feed/orders', file 'orders-11.csv')" in ended.stderr
    assert "no incidents" in invoke("incidents", "list").output
    assert invoke("backfill", "feed/ordrs", "--file", "a").exit_code == 2
    assert "only tables of files" in invoke("backfill", "shop/orders", "--file", "a").stderr


def test_files_are_of_one_table_and_asked_for_alone(project):
    assert invoke("backfill", "shop/orders", "--file", "a", "--partition", "2025-01").exit_code == 2
    assert invoke("backfill", "shop", "--file", "a").exit_code == 2

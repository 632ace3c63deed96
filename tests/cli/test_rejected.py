"""`rejected list` and `rejected replay` on a real project."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.rejected import RejectedRow
from import_platform.core.report import Status
from import_platform.io.lake import Lake
from import_platform.io.ledger import RejectedId, record_rejected, resolve_rejected
from import_platform.jobs.launch import launch_sync
from tests.dagster_project import empty_home, project

__all__ = ["empty_home", "project"]

LATE = {"id": "1000", "created_at": "2025-01-05 00:00:00", "updated_at": "2025-05-01T00:00:00+00:00", "note": "late"}
WRONG = {"id": "many", "created_at": None, "updated_at": None, "note": "wrong"}


@pytest.fixture
def rejecting(project):
    [report] = launch_sync(["shop/orders"], sources=project.sources())
    assert report.status is Status.DONE
    rows = [RejectedRow({"id": row["id"]}, "note", "odd", json.dumps(row)) for row in (LATE, WRONG)]
    record_rejected(Lake(str(project.root / "lake")), "shop", "orders", "attempt", [(1, rows)])
    return project


def invoke(*words):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def test_rows_are_listed_for_people_and_for_scripts(rejecting):
    told = invoke("rejected", "list", "shop")
    assert (told.exit_code, "id 1000" in told.stdout) == (0, True)
    assert "2 of 2 rejected rows" in told.stdout
    lines = [json.loads(line) for line in invoke("rejected", "list", "--json").stdout.splitlines()]
    assert {(line["table"], line["column"], line["reason"]) for line in lines} == {("shop/orders", "note", "odd")}
    assert LATE in [line["row"] for line in lines]


def test_a_misspelt_source_is_an_error(rejecting):
    assert invoke("rejected", "list", "shp").exit_code == 2


def test_a_misspelt_table_is_an_error_that_names_the_nearest(rejecting):
    told = invoke("rejected", "list", "shop/ordrs")
    assert (told.exit_code, told.stdout) == (2, "")
    assert "the source declares no such table (table 'shop/ordrs'). Did you mean orders?" in told.stderr


def test_a_resolved_row_is_shown_when_asked_for(rejecting):
    lake, began = Lake(str(rejecting.root / "lake")), datetime.now(UTC)
    resolve_rejected(lake, "shop", "orders", {RejectedId("attempt", 1, 0): "odd"}, attempt="next", since=began)
    told = invoke("rejected", "list").stdout
    assert "id 1000" not in told
    assert "1 of 1 rejected row; --json shows the rows themselves; 1 row resolved since, --all shows them too" in told
    told = invoke("rejected", "list", "shop/orders", "--all").stdout
    assert "id 1000" in told
    assert "2 of 2 rejected rows; 1 open, 1 row resolved since" in told
    lines = [json.loads(line) for line in invoke("rejected", "list", "--all", "--json").stdout.splitlines()]
    assert {(line["key"]["id"], line["resolved"]) for line in lines} == {("1000", "odd"), ("many", None)}


def test_an_empty_ledger_says_so(project):
    assert invoke("rejected", "list").stdout == "no rejected rows\n"


def test_what_fits_comes_back_and_the_rest_stays_listed(rejecting):
    ended = invoke("rejected", "replay", "shop/orders", "--json")
    assert ended.exit_code == 0, ended.output
    [line] = ended.stdout.splitlines()
    report = json.loads(line)
    assert (report["status"], report["rows_inserted"], report["rows_rejected"]) == ("done", 1, 1)
    orders = pl.read_delta(str(rejecting.root / "lake" / "shop" / "orders"))
    assert orders.filter(pl.col("id") == 1000)["note"].to_list() == ["late"]
    assert "1 of 1 rejected row;" in invoke("rejected", "list").stdout

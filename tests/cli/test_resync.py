"""`sync --full-refresh`, `--drop`, `--not-billable`, and the ledger that tells of them, on a real project."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from tests.dagster_project import SHOP, empty_home, project

__all__ = ["empty_home", "project"]


def invoke(*words):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def synced(project):
    assert invoke("sync", "shop/orders").exit_code == 0
    return project


def runs(project) -> pl.DataFrame:
    return pl.read_delta(str(project.root / "lake/_ops/runs")).sort("started_at")


@pytest.mark.parametrize(
    ("words", "kind", "billable"),
    [
        (["sync", "shop/orders", "--not-billable"], "incremental", False),
        (["sync", "shop/orders", "--full-refresh"], "full_refresh", False),
        (["sync", "shop/orders", "--full-refresh", "--billable"], "full_refresh", True),
        (["backfill", "shop/orders", "--partition", "2025-01"], "backfill", False),
        (["maintain", "shop/orders"], "compact", False),
        (["repartition", "shop/orders", "--max-bytes", "1kB"], "repartition", False),
        (["reconcile", "shop/orders"], "reconcile", False),
    ],
)
def test_the_ledger_says_who_pays_for_what_was_done(synced, words, kind, billable):
    assert invoke(*words).exit_code == 0
    found = runs(synced)
    assert found.select("kind", "billable").rows() == [("incremental", True), (kind, billable)]


def test_the_ledger_is_asked_by_query(synced):
    told = invoke("query", 'select "table", kind, rows_inserted, billable from _ops.runs', "--json")
    assert [json.loads(line) for line in told.stdout.splitlines()] == [
        {"table": "orders", "kind": "incremental", "rows_inserted": 400, "billable": True}
    ]


def test_a_sync_of_a_source_is_one_commit_of_the_ledger(project):
    assert invoke("sync", "shop", "--parallel", "1").exit_code == 0
    log = list((project.root / "lake/_ops/runs/_delta_log").glob("*.json"))
    assert (runs(project).height, len(log)) == (2, 2), "made empty, then one batch"


def test_maintain_rebuilds_a_deleted_ledger(synced):
    before = runs(synced).select("run", "rows_inserted", "billable")
    shutil.rmtree(synced.root / "lake/_ops")
    assert invoke("maintain", "shop/orders").exit_code == 0
    after = runs(synced).filter(pl.col("kind") == "incremental")
    assert after.select("run", "rows_inserted", "billable").equals(before)


@pytest.mark.parametrize(
    "words",
    [
        ["sync", "shop/orders", "--full-refresh", "--drop"],
        ["sync", "shop/orders", "--drop", "--yes"],
        ["sync", "shop", "--full-refresh", "--drop", "--yes"],
        ["sync", "--full-refresh", "--drop", "--yes"],
    ],
)
def test_nothing_is_deleted_that_was_not_named_and_confirmed(synced, words):
    files = sorted(str(path) for path in (synced.root / "lake/shop/orders").rglob("*.parquet"))
    assert invoke(*words).exit_code == 2
    assert sorted(str(path) for path in (synced.root / "lake/shop/orders").rglob("*.parquet")) == files


def test_a_table_is_dropped_and_comes_back_as_it_is_declared_now(synced):
    synced.declare(SHOP.replace("granularity: month", "granularity: year"))
    assert invoke("sync", "shop/orders").exit_code == 1, "another layout than the lake's is refused"
    told = invoke("sync", "shop/orders", "--full-refresh", "--drop", "--yes", "--json")
    assert (told.exit_code, json.loads(told.stdout)["rows_inserted"]) == (0, 400)
    frame = pl.read_delta(str(synced.root / "lake/shop/orders"))
    assert (frame.height, frame["_partition"].unique().to_list()) == (400, ["2025"])

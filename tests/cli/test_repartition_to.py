"""`repartition --to` from end to end: killed at any step, beside a sync, there and back."""

from __future__ import annotations

import multiprocessing
import os
import signal

import polars as pl
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.report import Status
from import_platform.core.table import DeclaredTable, Granularity, SyncMode, TimePartition
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.parquet import LeafWriter
from import_platform.jobs.launch import launch_sync
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.registry import open_source
from tests.dagster_project import SHOP, empty_home, project
from tests.pipeline.synced_table import ROOMY

__all__ = ["empty_home", "project"]

BY_MONTH = "{column: created_at, granularity: month}"
BY_NUMBER = "{column: id, width: 100}"
NUMBERS = ["n100_0", "n100_1", "n100_2", "n100_3"]


@pytest.fixture
def synced(project):
    [report] = launch_sync(["shop/orders"], sources=project.sources())
    assert report.status is Status.DONE
    return project


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def lake_rows(project):
    return pl.read_delta(str(project.root / "lake" / "shop" / "orders")).drop("_partition").sort("id")


def leaves(project):
    snapshot = DeltaLog(Lake(str(project.root / "lake")).store, "shop/orders").snapshot()
    return sorted(snapshot.leaves)


def keys(project):
    with project.instance() as instance:
        return sorted(instance.get_dynamic_partitions("shop/orders"))


def die_at(step: str, words: list[str]) -> None:
    """The command in this process, which is killed without any clean-up at the step."""

    def die(*args, **kwargs):
        if step == "after the commit":
            commit(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    commit = DeltaLog.commit_identity
    if step == "while writing":
        LeafWriter.close = die
    else:
        DeltaLog.commit_identity = die
    app(words)


@pytest.mark.parametrize("step", ["while writing", "before the commit", "after the commit"])
def test_a_killed_conversion_leaves_one_partition_or_the_other_and_the_next_one_ends_it(synced, step):
    before, words = lake_rows(synced), ["repartition", "shop/orders", "--to", "id:100"]
    killed = multiprocessing.get_context("spawn").Process(target=die_at, args=(step, words))
    killed.start()
    killed.join(180)
    assert killed.exitcode == -signal.SIGKILL
    assert lake_rows(synced).equals(before)
    assert (leaves(synced) == NUMBERS) == (step == "after the commit")
    again = invoke(*words)
    assert again.exit_code == 0, again.output
    assert lake_rows(synced).equals(before)
    assert (leaves(synced), keys(synced)) == (NUMBERS, NUMBERS)
    assert f"now write partition: {BY_NUMBER}" in again.output
    synced.declare(SHOP.replace(BY_MONTH, BY_NUMBER))
    assert invoke("sync", "shop/orders").exit_code == 0


def test_a_sync_that_commits_while_rows_are_moved_is_in_the_new_leaves(synced, monkeypatch):
    """The rival is no Dagster run of this home, so no pool holds it back."""
    commit, rivals = DeltaLog.commit_identity, []

    def sync_first(*args, **kwargs):
        if not rivals:
            rivals.append(sync_elsewhere(synced))
        commit(*args, **kwargs)

    monkeypatch.setattr(DeltaLog, "commit_identity", sync_first)
    synced.sql(
        "update orders set note = 'newer', updated_at = '2025-06-01 00:00:00' where id = 7",
        "insert into orders values (4000, '2025-09-09 00:00:00', '2025-06-01 00:00:00', 'inserted')",
    )
    moved = invoke("repartition", "shop/orders", "--to", "id:100")
    assert moved.exit_code == 0, moved.output
    assert rivals == [2]
    rows = lake_rows(synced)
    assert (rows.height, rows["id"].n_unique()) == (401, 401)
    assert dict(rows.filter(pl.col("id").is_in([7, 4000])).select("id", "note").iter_rows()) == {
        7: "newer",
        4000: "inserted",
    }
    assert leaves(synced) == [*NUMBERS, "n100_40"]


def sync_elsewhere(project) -> int:
    by_month = TimePartition("created_at", Granularity.MONTH)
    declared = DeclaredTable("orders", SyncMode.INCREMENTAL, "updated_at", ("id",), by_month)
    source = open_source("shop", {"kind": "sqlite", "path": str(project.database)})
    report = sync_table(TableContext("shop", declared, source, Lake(str(project.root / "lake")), ROOMY))
    source.close()
    return report.rows_inserted + report.rows_updated


def test_hash_leaves_get_a_base_and_go_back(synced):
    """From a table without any base to one with time leaves and back: what no other importer can do in place."""
    before = lake_rows(synced)
    for to, expected in [
        ("hash:4", ["all.h00", "all.h01", "all.h10", "all.h11"]),
        ("created_at:month", ["2025-01", "2025-02", "2025-03", "2025-04"]),
        ("none", ["all"]),
        ("created_at:year", ["2025"]),
    ]:
        moved = invoke("repartition", "shop/orders", "--to", to)
        assert moved.exit_code == 0, moved.output
        assert leaves(synced) == expected
        assert lake_rows(synced).equals(before)
        assert keys(synced) == sorted({leaf.partition(".")[0] for leaf in expected})
    again = invoke("repartition", "shop/orders", "--to", "created_at:year")
    assert "partitioned so already" in again.output


def test_leaves_of_the_new_partition_are_split_to_the_limit_and_the_plan_says_so(synced):
    told = invoke("repartition", "shop/orders", "--to", "none", "--max-bytes", "3000", "--dry-run")
    assert told.exit_code == 0, told.output
    for word in ("other partition", "all of them", "400", "all.h", "predicted peak memory"):
        assert word in told.stdout
    assert leaves(synced) == ["2025-01", "2025-02", "2025-03", "2025-04"], "a dry run moves nothing"
    assert invoke("repartition", "shop/orders", "--to", "none", "--max-bytes", "3000").exit_code == 0
    assert len(leaves(synced)) > 2
    assert keys(synced) == ["all"]

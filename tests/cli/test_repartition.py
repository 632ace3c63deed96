"""`repartition` and `maintain` on a real project: what is printed first is what is done."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.report import Status
from import_platform.io.lake import Lake
from import_platform.jobs.launch import launch_sync
from import_platform.pipeline.context import open_lake_table
from tests.dagster_project import SHOP, empty_home, project

__all__ = ["empty_home", "project"]


@pytest.fixture
def synced(project):
    [report] = launch_sync(["shop/orders"], sources=project.sources())
    assert report.status is Status.DONE
    return project


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def largest_leaf_bytes(project):
    return int(snapshot(project).files["size_bytes"].max())


def snapshot(project):
    return open_lake_table(Lake(str(project.root / "lake")), "shop", "orders").snapshot


def test_a_dry_run_says_what_would_change_and_changes_nothing(synced):
    limit = largest_leaf_bytes(synced) - 1
    told = invoke("repartition", "shop/orders", "--dry-run", "--max-bytes", str(limit))
    assert told.exit_code == 0, told.output
    assert "split" in told.stdout
    assert "predicted peak memory" in told.stdout
    assert snapshot(synced).version == 0


def test_the_plan_as_json_is_what_the_run_does(synced):
    limit = str(largest_leaf_bytes(synced) - 1)
    planned = json.loads(invoke("repartition", "shop/orders", "--dry-run", "--max-bytes", limit, "--json").stdout)
    ran = invoke("repartition", "shop/orders", "--max-bytes", limit, "--json")
    assert ran.exit_code == 0, ran.output
    [line] = ran.stdout.splitlines()
    report = json.loads(line)
    assert report["status"] == "done"
    assert report["bytes_read"] == planned["bytes_to_rewrite"]
    assert set(snapshot(synced).leaves) >= {leaf for change in planned["changes"] for leaf in change["targets"]}


def test_leaves_inside_the_limit_need_no_run(synced):
    ended = invoke("repartition", "shop")
    assert (ended.exit_code, ended.stdout) == (0, "every leaf is inside its limit\n")
    with synced.instance() as instance:
        assert [run.job_name for run in instance.get_runs()] == ["sync_shop"]


def test_maintain_runs_through_dagster_and_reports_each_table(synced):
    ended = invoke("maintain", "shop", "--json")
    assert ended.exit_code == 0, ended.output
    assert [json.loads(line)["table"] for line in ended.stdout.splitlines()] == ["shop/orders"]
    with synced.instance() as instance:
        assert instance.get_runs()[0].job_name == "maintain_shop"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["repartition", "shop/order"], "Did you mean orders?"),
        (["repartition", "shop/orders"], "Import it first: import-platform sync shop/orders"),
        (["repartition", "shop/orders", "--max-bytes", "much"], "--max-bytes is not a size"),
        (["maintain", "nowhere"], "there is no source"),
    ],
)
def test_bad_usage_is_exit_code_2_and_a_sentence(project, words, sentence):
    ended = invoke(*words)
    assert ended.exit_code == 2, ended.output
    assert sentence in ended.output


def test_another_partition_moves_rows_and_keys_and_says_what_to_write(synced):
    told = invoke("repartition", "shop/orders", "--to", "id:100")
    assert told.exit_code == 0, told.output
    assert "other partition" in told.output
    assert "now write partition: {column: id, width: 100}" in told.output
    assert sorted(snapshot(synced).leaves) == ["n100_0", "n100_1", "n100_2", "n100_3"]
    with synced.instance() as instance:
        assert set(instance.get_dynamic_partitions("shop/orders")) == set(snapshot(synced).leaves)
    refused = invoke("sync", "shop/orders")
    assert "partitioned otherwise than declared" in refused.output
    synced.declare(SHOP.replace("{column: created_at, granularity: month}", "{column: id, width: 100}"))
    assert invoke("sync", "shop/orders").exit_code == 0


def test_a_partition_that_cannot_be_is_refused_before_anything_runs(synced):
    refused = invoke("repartition", "shop/orders", "--to", "id:7")
    assert refused.exit_code == 2
    assert "created_at:month" in refused.output
    assert invoke("repartition", "shop/orders", "--to", "note:month", "--dry-run").exit_code in (0, 2)
    assert snapshot(synced).version == 0

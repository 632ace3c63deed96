"""A table whose flush several steps share: from the declaration to the one commit, on executors with processes."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest

from import_platform.jobs.due import held_tables
from tests.dagster_project import SHOP, Project
from tests.executors.conftest import ROOT, Execute
from tests.executors.kubernetes_api import Cluster, step_of

JOB = "sync_shop__orders_in_parts"
IN_PARTS = SHOP.replace("      partition: {", "      fan_out: {over: 1B, steps: 2}\n      partition: {")
ORDERS = dg.AssetKey(["shop", "orders"])


DIES_ONCE = """
import os, signal
from import_platform.pipeline import fan_out

write = fan_out.Merge.write

def dies_once(self, plan):
    merged = write(self, plan)  # its files are there, and nobody knows of them
    try:
        os.close(os.open(os.environ["KILLED"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return merged
    os.kill(os.getpid(), signal.SIGKILL)

fan_out.Merge.write = dies_once
"""


@pytest.fixture(autouse=True)
def declared(project: Project) -> None:
    assert IN_PARTS != SHOP
    project.declare(IN_PARTS)


def lake(project: Project) -> pl.DataFrame:
    return pl.read_delta(str(project.root / "lake/shop/orders")).drop("_partition").sort("id")


def versions(project: Project) -> int:
    return len(list((project.root / "lake/shop/orders/_delta_log").glob("*.json")))


def in_process(project: Project, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    [source] = project.sources().sources
    job = source.definitions().resolve_job_def(JOB)
    steps = {"ops": {"shop__orders__read": {"config": config}}}
    return job.execute_in_process(instance=instance, run_config=steps, raise_on_error=False)


def steps(result: dg.ExecuteInProcessResult) -> list[str]:
    return sorted(str(event.step_key) for event in result.all_events if event.is_step_success)


def test_one_process_shares_with_nobody_unless_it_is_told_to(project: Project) -> None:
    with project.instance() as instance:
        result = in_process(project, instance)
        assert result.success
        assert steps(result) == ["shop__orders", "shop__orders__read"]
        assert len(instance.fetch_materializations(ORDERS, limit=50).records) == 5  # four partitions and the table
    assert lake(project).height == 400


def test_every_part_is_a_step_of_its_own_and_the_table_changes_once(project: Project) -> None:
    with project.instance() as instance:
        result = in_process(project, instance, always=True)
        assert result.success
        assert [step.partition("[")[0] for step in steps(result)] == [
            *("shop__orders", "shop__orders__part", "shop__orders__part", "shop__orders__read")
        ]
        latest = instance.get_latest_materialization_event(ORDERS)
        assert latest is not None
        assert latest.asset_materialization is not None
        told = {name: value.value for name, value in latest.asset_materialization.metadata.items()}
        assert (told["rows_read"], told["rows_inserted"], told["status"]) == (400, 400, "done")
        assert len(instance.get_materialized_partitions(ORDERS)) == 4
    assert (lake(project).height, versions(project)) == (400, 1)


def test_a_table_in_parts_has_a_schedule_of_its_own_and_the_sources_leaves_it_out(project: Project) -> None:
    [source] = project.sources().sources
    definitions = source.definitions()
    names = {schedule.name for schedule in definitions.schedules or ()}
    assert {"sync_shop", JOB} <= names
    with project.instance() as instance:
        run = instance.create_run_for_job(definitions.resolve_job_def(JOB), status=dg.DagsterRunStatus.STARTED)
        assert held_tables(instance, "shop", ["orders", "customers"]) == {"orders": run.run_id}


@pytest.mark.parametrize("text", ["{over: 1GB, steps: 1}", "{over: much}", "{steps: 2}", "{over: 1GB, parts: 2}"])
def test_a_wrong_declaration_is_refused(project: Project, text: str) -> None:
    project.declare(IN_PARTS.replace("{over: 1B, steps: 2}", text))
    assert [broken.name for broken in project.sources().broken] == ["shop"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multiprocess", "dask"])
def test_parts_are_processes_and_the_lake_is_that_of_the_ordinary_path(
    project: Project, execute: Execute, name: str
) -> None:
    done = execute(name, JOB)
    assert done.run.status is dg.DagsterRunStatus.SUCCESS, done.output
    with project.instance() as instance:
        stats = {each.step_key: each.attempts for each in instance.get_run_step_stats(done.run.run_id)}
    parts = [key for key in stats if key.startswith("shop__orders__part[")]
    assert len(parts) == 2
    assert lake(project)["id"].to_list() == list(range(400))
    assert versions(project) == 1


@pytest.mark.slow
def test_a_part_that_is_killed_is_tried_again_alone(project: Project, execute: Execute) -> None:
    (project.root / "hooks").mkdir()
    (project.root / "hooks" / "sitecustomize.py").write_text(DIES_ONCE)
    marker = project.root / "killed"
    done = execute("multiprocess", JOB, PYTHONPATH=f"{project.root / 'hooks'}:{ROOT}", KILLED=str(marker))
    assert done.run.status is dg.DagsterRunStatus.SUCCESS, done.output
    with project.instance() as instance:
        stats = {each.step_key: each for each in instance.get_run_step_stats(done.run.run_id)}
        retried = [
            str(entry.dagster_event.step_key)
            for entry in instance.all_logs(done.run.run_id, of_type=dg.DagsterEventType.STEP_RESTARTED)
            if entry.dagster_event
        ]
    assert marker.exists()
    assert len(retried) == 1
    assert retried[0].startswith("shop__orders__part[")
    assert len(stats) == 4
    assert lake(project)["id"].to_list() == list(range(400))
    assert versions(project) == 1


@pytest.mark.slow
def test_on_kubernetes_each_part_asks_for_what_its_plan_needs(
    project: Project, execute: Execute, cluster: Cluster
) -> None:
    launcher = {"load_incluster_config": False, "kubeconfig_file": str(cluster.kubeconfig)}
    config = {"execution": {"config": launcher}}
    done = execute("kubernetes", JOB, config=config, KUBERNETES_SERVICE_HOST="127.0.0.1")
    assert done.run.status is dg.DagsterRunStatus.SUCCESS, done.output
    parts = [step_of(job) for job in cluster.jobs.values() if "__part[" in step_of(job)]
    assert len(parts) == 2
    for part in parts:
        need = int(part.removesuffix("M]").rpartition("_")[2])
        asked = {"limits": {"memory": "1280Mi"}, "requests": {"memory": f"{-(-need * 5 // 4)}Mi"}}
        assert cluster.resources(part) == asked
        assert need < 1024
    assert lake(project).height == 400

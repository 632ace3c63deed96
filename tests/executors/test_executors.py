"""The same definitions work on every executor, and the lake is the same whichever was chosen."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin
from kubernetes_validate import validate

from import_platform.components.loading import load_sources
from import_platform.core.budget import GIB, MIB
from import_platform.core.run_size import MEMORY_TAG
from import_platform.definitions import build_definitions
from import_platform.errors import ConfigError
from import_platform.resources.executors import executor
from import_platform.resources.naming import EXPECTED_MEMORY, PROCESS_TAG
from import_platform.resources.run_size import size_tags
from tests.dagster_project import Project
from tests.executors.conftest import Execute
from tests.executors.kubernetes_api import Cluster, step_of


def rows(project: Project, table: str) -> pl.DataFrame:
    return pl.read_delta(str(project.root / "lake" / "shop" / table)).sort("id")


@pytest.mark.parametrize(
    ("name", "is_called"),
    [("", "in_process"), ("in_process", "in_process"), ("multiprocess", "multiprocess"), ("dask", "dask")],
)
def test_the_variable_names_the_executor(name: str, is_called: str) -> None:
    assert executor({"IMPORT_PLATFORM_EXECUTOR": name}).name == is_called


def test_kubernetes_is_the_executor_of_dagsters_own_package() -> None:
    from dagster_k8s import k8s_job_executor

    made = executor({"IMPORT_PLATFORM_EXECUTOR": "kubernetes"})
    assert (made.name, made.config_schema) == (k8s_job_executor.name, k8s_job_executor.config_schema)


def test_another_word_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"IMPORT_PLATFORM_EXECUTOR names no executor.*multiprocess, dask, kubernetes"
    ):
        executor({"IMPORT_PLATFORM_EXECUTOR": "celery"})


def test_an_executor_that_is_not_installed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("import_platform.resources.executors.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed.*import_platform\[dask\]"):
        executor({"IMPORT_PLATFORM_EXECUTOR": "dask"})


@pytest.mark.parametrize("name", ["in_process", "multiprocess", "dask", "kubernetes"])
def test_every_job_that_works_on_tables_has_the_executor(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("IMPORT_PLATFORM_EXECUTOR", name)
    definitions = build_definitions(load_sources(), strict=True)
    wanted = executor().name
    for job in ("sync_shop", "sync_shop_now", "maintain_shop", "__ASSET_JOB"):
        assert definitions.resolve_job_def(job).executor_def.name == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in_process", "multiprocess", "dask"])
def test_a_sync_brings_every_table_into_the_lake(project: Project, execute: Execute, name: str) -> None:
    done = execute(name)
    assert done.run.status is dg.DagsterRunStatus.SUCCESS, done.output
    assert rows(project, "orders")["id"].to_list() == list(range(400))
    assert rows(project, "customers").height == 5
    with project.instance() as instance:
        for table in ("orders", "customers"):
            assert instance.get_latest_materialization_event(dg.AssetKey(["shop", table])) is not None
        assert len(instance.get_materialized_partitions(dg.AssetKey(["shop", "orders"]))) == 4
        steps = {stats.step_key for stats in instance.get_run_step_stats(done.run.run_id)}
        entries = instance.all_logs(done.run.run_id, of_type=dg.DagsterEventType.STEP_START)
    assert steps == {"shop__orders", "shop__customers"}
    processes = {
        int(str(entry.dagster_event.pid)) for entry in entries if entry.dagster_event and entry.dagster_event.pid
    }
    assert (processes == {done.process}) == (name == "in_process")
    # Whoever waits for the run looks at the process that holds it together; those of its steps come and go.
    assert done.run.tags[PROCESS_TAG].partition(":")[0] == str(done.process)


@pytest.mark.slow
def test_on_kubernetes_each_table_is_a_pod_with_the_budget_as_its_limit(
    project: Project, execute: Execute, cluster: Cluster
) -> None:
    launcher = {"load_incluster_config": False, "kubeconfig_file": str(cluster.kubeconfig)}
    done = execute("kubernetes", config={"execution": {"config": launcher}}, KUBERNETES_SERVICE_HOST="127.0.0.1")
    assert done.run.status is dg.DagsterRunStatus.SUCCESS, done.output
    assert rows(project, "orders").height == 400
    assert sorted(step_of(job) for job in cluster.jobs.values()) == ["shop__customers", "shop__orders"]
    for job in cluster.jobs.values():
        validate(job, "1.33", strict=True)
    limit = f"{GIB * 5 // 4 >> 20}Mi"
    assert cluster.resources("shop__orders") == {"limits": {"memory": limit}, "requests": {"memory": limit}}
    assert PROCESS_TAG not in done.run.tags


def test_the_run_launchers_pod_asks_for_what_the_run_is_expected_to_hold(
    project: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    cluster.runs = False
    with project.instance() as instance:
        metadata = {EXPECTED_MEMORY: 400 * MIB, "budget_bytes": GIB}
        instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["shop", "orders"]), metadata=metadata))
        tags = size_tags(instance, "shop", ["orders"])
        pointer = ReconstructableRepository.for_module("import_platform.definitions", "defs")
        origin = JobPythonOrigin("sync_shop", pointer.get_python_origin())
        run = instance.create_run_for_job(
            dg.GraphDefinition(name="sync_shop").to_job(), tags=tags, job_code_origin=origin
        )
        instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    (job,) = cluster.jobs.values()
    validate(job, "1.33", strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"memory": "1280Mi"}, "requests": {"memory": "500Mi"}}
    assert container["args"][:3] == ["dagster", "api", "execute_run"]
    assert run.tags[MEMORY_TAG] == "medium"

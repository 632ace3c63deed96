"""The instance files work on a real PostgreSQL: they load, order the work on a table, and reach the pod of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value

from tests.conftest import Database
from tests.deploy.conftest import ROOT
from tests.deploy.kubelet import variables
from tests.executors.kubernetes_api import Cluster, kubernetes_api

CLUSTER = {
    "DAGSTER_K8S_NAMESPACE": "imports",
    "DAGSTER_K8S_SERVICE_ACCOUNT": "dagster",
    "DAGSTER_K8S_INSTANCE_CONFIG_MAP": "dagster-instance",
    "DAGSTER_K8S_PG_PASSWORD_SECRET": "dagster-postgresql",
    "DAGSTER_LOGS_BUCKET": "logs",
}


@pytest.fixture
def environment(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that the files name, for a database of this test."""
    parts = urlsplit(postgres.dsn)
    made = {
        "DAGSTER_PG_HOST": str(parts.hostname),
        "DAGSTER_PG_USERNAME": str(parts.username),
        "DAGSTER_PG_PASSWORD": str(parts.password),
        "DAGSTER_PG_DB": parts.path.strip("/"),
    }
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    return {**made, "port": str(parts.port)}


def home(tmp_path: Path, name: str, environment: dict[str, str], **replaced: str) -> str:
    """A Dagster home with that file, changed in nothing but where this machine keeps its things."""
    text = (ROOT / "deploy" / name).read_text()
    for old, new in {"port: 5432": f"port: {environment['port']}", **replaced}.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text(text)
    return str(tmp_path / "home")


def has_the_rules(instance: dg.DagsterInstance) -> None:
    assert type(instance.run_storage).__name__ == "PostgresRunStorage"
    assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
    assert type(instance.schedule_storage).__name__ == "PostgresScheduleStorage"
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_resume_run_attempts == 0
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 0
    storage, run = instance.event_log_storage, instance.create_run_for_job(dg.GraphDefinition(name="a").to_job())
    storage.initialize_concurrency_limit_to_default("delta/shop/orders")  # as an executor does before its first step
    taken = [storage.claim_concurrency_slot("delta/shop/orders", run.run_id, step) for step in ("first", "second")]
    assert [each.is_claimed for each in taken] == [True, False]
    instance.upgrade()
    assert instance.get_run_by_id(run.run_id) is not None


def test_the_file_for_one_machine_keeps_its_history_in_postgresql(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = home(
        tmp_path, "dagster-machine.yaml", environment, **{"/var/lib/import_platform/logs": str(tmp_path / "logs")}
    )
    with dg.DagsterInstance.from_config(folder) as instance:
        has_the_rules(instance)
        assert type(instance.run_launcher).__name__ == "DefaultRunLauncher"
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    with kubernetes_api(tmp_path, runs=False) as made:
        yield made


def test_the_file_for_a_cluster_reaches_the_pod_of_a_run(
    tmp_path: Path, environment: dict[str, str], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    there = f"load_incluster_config: false\n    kubeconfig_file: {cluster.kubeconfig}"
    folder = home(tmp_path, "dagster-cluster.yaml", environment, **{"load_incluster_config: true": there})
    with dg.DagsterInstance.from_config(folder) as instance:
        has_the_rules(instance)
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 16
        run = instance.create_run_for_job(dg.GraphDefinition(name="sync_shop").to_job(), job_code_origin=origin())
        instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    (job,) = cluster.jobs.values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert environment["DAGSTER_PG_PASSWORD"] not in str(job)
    pod = variables(container, {"dagster-postgresql": {"postgresql-password": environment["DAGSTER_PG_PASSWORD"]}})
    for name in (*CLUSTER, *environment):
        monkeypatch.delenv(name, raising=False)
    for name, value in pod.items():
        monkeypatch.setenv(name, value)
    handed = deserialize_value(container["args"][-1], ExecuteRunArgs)
    assert handed.instance_ref is not None
    with dg.DagsterInstance.from_ref(handed.instance_ref) as there_too:
        assert there_too.get_run_by_id(run.run_id) is not None
        assert type(there_too.run_launcher).__name__ == "K8sRunLauncher"  # what an executor of pods asks
        assert there_too.run_launcher.job_namespace == "imports"  # type: ignore[attr-defined]
        assert type(there_too.compute_log_manager).__name__ == "S3ComputeLogManager"


def origin() -> JobPythonOrigin:
    return JobPythonOrigin(
        "sync_shop",
        RepositoryPythonOrigin(
            executable_path="python",
            code_pointer=ModuleCodePointer("import_platform.definitions", "defs", str(ROOT)),
            container_image="registry.example.com/import-platform:1.2.3",
            container_context=None,
            entry_point=DEFAULT_DAGSTER_ENTRY_POINT,
        ),
    )

"""From the values of the chart to rows in a lake: the code location's process, the pod of a run, and the pods of its steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import ListRepositoriesResponse
from dagster._serdes import deserialize_value
from kubernetes_validate import validate

from import_platform.core.budget import MIB, parse_bytes
from import_platform.resources.naming import EXPECTED_MEMORY
from tests.dagster_project import SHOP, Project, empty_home, project
from tests.deploy.conftest import KUBERNETES, ROOT, Render
from tests.deploy.kubelet import variables
from tests.executors.kubernetes_api import Cluster, kubernetes_api, step_of
from tests.ports import held_port

__all__ = ["empty_home", "project"]

START_SECONDS = 300
SECRETS = {"dagster-postgresql": {"postgresql-password": "hunter2"}, "shop": {"SHOP_DSN": "postgresql://hunter3"}}
IMAGE = "registry.example.com/import-platform:1.2.3"
HOME, SCRATCH, SOURCES, LAKE = (
    "/opt/dagster/dagster_home",
    "/scratch",
    "/etc/import_platform/sources",
    "s3://bucket/lake",
)


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ()))


class Machine:
    """This machine in the place of a node: volumes are folders, a container is a process with its variables only."""

    def __init__(self, project: Project, cluster: Cluster, objects: list[dict[str, Any]]) -> None:
        self.project, self.cluster, self.objects = project, cluster, objects
        self.folders = {
            HOME: project.home,
            SCRATCH: project.root / "scratch",
            SOURCES: project.root / "mounted",
            LAKE: project.root / "lake",
        }
        self.folders[SCRATCH].mkdir()
        (sources,) = of_kind(objects, "ConfigMap")
        for name, text in sources["data"].items():
            folder = self.folders[SOURCES] / name.removesuffix(".yaml")
            folder.mkdir(parents=True)
            (folder / "defs.yaml").write_text(text)
        cluster.environ = self.environ

    @property
    def deployment(self) -> dict[str, Any]:
        (found,) = of_kind(self.objects, "Deployment")
        return dict(found["spec"]["template"])

    def environ(self, container: dict[str, Any]) -> dict[str, str]:
        """A step finds no way to the cluster, as its pod has no token."""
        if any(each["name"] == "DAGSTER_RUN_STEP_KEY" for each in container["env"]):
            self.cluster.kubeconfig.unlink(missing_ok=True)
        made = variables(container, SECRETS)
        for name, folder in self.folders.items():
            made = {key: value.replace(name, str(folder)) for key, value in made.items()}
        return {
            **made,
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folders[SCRATCH]),
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        }

    def exec(self, *command: str) -> str:
        """What a command prints in the pod of the code location, which has no token either."""
        (container,) = self.deployment["spec"]["containers"]
        env = {**self.environ(container), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [str(Path(sys.executable).with_name(command[0])), *command[1:]],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def code_location(self) -> ListRepositoriesResponse:
        """What the code location tells whoever asks it, after it was started as its pod would be."""
        (container,) = self.deployment["spec"]["containers"]
        env = {**self.environ(container), "PATH": os.environ["PATH"]}
        # Only the folders of this machine are its own; what it says of pods has to be what the chart says.
        env["DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"] = variables(container, SECRETS)[
            "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"
        ]
        with held_port() as port:
            replaced = {"0.0.0.0": "127.0.0.1", "3030": str(port)}
            command = [replaced.get(each, each) for each in container["args"]]
            path = str(Path(sys.executable).with_name(command[0]))
            process = subprocess.Popen([path, *command[1:]], env=env, cwd=ROOT)
            try:
                return _asked(DagsterGrpcClient(port=port, host="127.0.0.1"), process)
            finally:
                process.kill()
                process.wait()


def _asked(client: DagsterGrpcClient, process: subprocess.Popen[bytes]) -> ListRepositoriesResponse:
    """What the code location answers as soon as it can."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            client.ping("")
            return deserialize_value(client.list_repositories(), ListRepositoriesResponse)
        except DagsterUserCodeUnreachableError:
            assert process.poll() is None, "the code location ended"
            assert time.monotonic() < until, "the code location does not answer"
            time.sleep(0.5)


@pytest.fixture
def machine(project: Project, render: Render) -> Iterator[Machine]:
    values = {
        "image": {"repository": IMAGE.rpartition(":")[0], "tag": "1.2.3"},
        "executor": {"kind": "kubernetes", "maxConcurrent": 1},
        "run": {"memoryMiB": 2048, "graceSeconds": 240, "cpu": "2"},
        "sources": {"shop": SHOP},
        "secrets": ["shop"],
        "env": {"SHOP_DB": str(project.database), "SAID": "$(IMPORT_PLATFORM_LAKE) costs 5$"},
    }
    with kubernetes_api(project.root, runs=True) as cluster:
        config = {  # as the official chart writes it, but for the way to the cluster
            "service_account_name": "dagster",
            "instance_config_map": "dagster-instance",
            "postgres_password_secret": "dagster-postgresql",
            "dagster_home": HOME,
            "job_namespace": "imports",
            "load_incluster_config": False,
            "kubeconfig_file": str(cluster.kubeconfig),
        }
        path = project.home / "dagster.yaml"
        home = yaml.safe_load(path.read_text())
        home["run_launcher"] = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config}
        path.write_text(yaml.safe_dump(home))
        yield Machine(project, cluster, render(values))


def launched(machine: Machine, instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run as the daemon has it launched, once it has ended."""
    said = machine.code_location()
    origin = RepositoryPythonOrigin(
        executable_path=sys.executable,
        code_pointer=ModuleCodePointer("import_platform.definitions", "defs", str(ROOT)),
        container_image=said.container_image,
        container_context=said.container_context,
        entry_point=DEFAULT_DAGSTER_ENTRY_POINT,
    )
    (source,) = machine.project.sources().sources
    job = source.definitions().resolve_job_def("sync_shop")
    run = instance.create_run_for_job(job, job_code_origin=JobPythonOrigin("sync_shop", origin))
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    machine.cluster.requests.clear()  # those were the daemon's, which has the official chart's role
    (process,) = list(machine.cluster.processes.values())
    process.wait()
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    return ended


@pytest.mark.slow
def test_the_chart_alone_says_what_the_pods_of_a_run_and_of_its_steps_are(machine: Machine) -> None:
    cluster, project = machine.cluster, machine.project
    with project.instance() as instance:
        known = {EXPECTED_MEMORY: 400 * MIB, "budget_bytes": 512 * MIB}  # from before the limit was raised
        instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["shop", "orders"]), metadata=known))
        run = launched(machine, instance)
        logs = "\n".join(path.read_text() for path in project.root.glob("dagster-*.log"))
    assert run.status is dg.DagsterRunStatus.SUCCESS, logs
    assert pl.read_delta(str(project.root / "lake/shop/orders")).height == 400
    jobs = {step_of(job): job for job in cluster.jobs.values()}
    assert set(jobs) == {"", "shop__orders", "shop__customers"}
    resources = {key: pod(job)["containers"][0]["resources"] for key, job in jobs.items()}
    whole = {"cpu": "2", "memory": "2048Mi"}
    assert resources[""] == {"limits": {"memory": "1024Mi"}, "requests": {"cpu": "250m", "memory": "1024Mi"}}
    assert resources["shop__customers"] == {"limits": {"memory": "2048Mi"}, "requests": whole}
    assert resources["shop__orders"] == {"limits": {"memory": "2048Mi"}, "requests": {**whole, "memory": "500Mi"}}
    for key, job in jobs.items():
        validate(job, KUBERNETES.rpartition(".")[0], strict=True)
        check_pod(machine, job, is_step=bool(key))
    assert ("create", "batch", "jobs") in cluster.requests  # a status is asked for only of what lasts
    assert set(cluster.requests) <= allowed(machine.objects)
    synced = json.loads(machine.exec("import-platform", "sync", "shop/customers", "--json"))
    assert synced["table"] == "shop/customers"
    with project.instance() as instance:
        assert instance.get_runs_count() == 2  # what a person starts in the code location is in the same history


def check_pod(machine: Machine, job: dict[str, Any], *, is_step: bool) -> None:
    made, (location,) = pod(job), machine.deployment["spec"]["containers"]
    (container,) = made["containers"]
    assert container["image"] == IMAGE
    assert made["serviceAccountName"] == "imports"
    assert made["automountServiceAccountToken"] is not is_step
    assert made["terminationGracePeriodSeconds"] == 240
    for name in ("securityContext", "envFrom"):
        assert container[name] == location[name], name
    assert made["securityContext"] == machine.deployment["spec"]["securityContext"]
    assert container["volumeMounts"] == [each for each in location["volumeMounts"] if each["name"] != "instance"]
    assert made["volumes"] == [each for each in machine.deployment["spec"]["volumes"] if each["name"] != "instance"]
    env = variables(container, SECRETS)
    limit = parse_bytes(container["resources"]["limits"]["memory"], name="limit")
    assert parse_bytes(env["IMPORT_PLATFORM_MEMORY"], name="memory") == limit * 80 // 100
    assert env["DAGSTER_PG_PASSWORD"] == "hunter2"
    assert env["SHOP_DSN"] == "postgresql://hunter3"
    assert env["SAID"] == "s3://bucket/lake costs 5$"
    text = json.dumps(job)
    assert "hunter" not in text
    labels = job["spec"]["template"]["metadata"]["labels"]
    policies = [each["spec"]["podSelector"] for each in of_kind(machine.objects, "NetworkPolicy")]
    assert [selected(each, labels) for each in policies] == [True]
    budgets = {
        each["metadata"]["name"]: selected(each["spec"]["selector"], labels)
        for each in of_kind(machine.objects, "PodDisruptionBudget")
    }
    assert budgets == {"imports": False, "imports-runs": True}


def allowed(objects: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    (role,) = of_kind(objects, "Role")
    return {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_role_is_exactly_what_dagster_asks_for(render: Render, tmp_path: Path) -> None:
    """A step is made, looked after, and deleted when its run is cancelled: dagster-k8s' own client against an API."""
    import kubernetes.config
    from dagster_k8s.client import DagsterKubernetesClient

    with kubernetes_api(tmp_path, runs=False) as cluster:
        kubernetes.config.load_kube_config(str(cluster.kubeconfig))
        client = DagsterKubernetesClient.production_client()
        body = {"metadata": {"name": "dagster-step-1"}}
        client.create_namespaced_job_with_retries(body=body, namespace="imports")  # type: ignore[arg-type]
        assert client.get_job_status("dagster-step-1", "imports") is not None
        assert client.delete_job("dagster-step-1", "imports")
    objects = render({"executor": {"kind": "kubernetes"}})
    assert set(cluster.requests) == allowed(objects)
    (binding,), (account,) = of_kind(objects, "RoleBinding"), of_kind(objects, "ServiceAccount")
    assert [each["name"] for each in binding["subjects"]] == [account["metadata"]["name"]]
    assert binding["roleRef"]["name"] == of_kind(objects, "Role")[0]["metadata"]["name"]

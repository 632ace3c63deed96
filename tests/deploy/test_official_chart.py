"""The official Dagster chart takes our values and becomes what our chart counts on. The chart is not ours and not in this
repository: DAGSTER_CHART names a folder with its source (`helm/dagster` of Dagster's repository), HELM_BIN a helm from 3.8 on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import LaunchRunContext
from dagster_k8s.container_context import K8sContainerContext
from kubernetes_validate import validate

from import_platform.core.budget import parse_bytes
from tests.deploy.conftest import CHART, KUBERNETES, ROOT, Render, run
from tests.deploy.kubelet import variables
from tests.deploy.test_chart import SECRETS, container, of_kind
from tests.deploy.test_instance import environment, has_the_rules, origin
from tests.executors.kubernetes_api import Cluster, kubernetes_api

__all__ = ["environment"]

SOURCE = os.environ.get("DAGSTER_CHART")
pytestmark = pytest.mark.skipif(
    not SOURCE, reason="NOT RUN: DAGSTER_CHART names no source of the official Dagster chart"
)


@pytest.fixture
def official(helm: str, tmp_path: Path) -> list[dict[str, Any]]:
    """Its objects as release `dagster`, without the subcharts that our values leave out and a checkout does not have."""
    assert SOURCE
    chart = tmp_path / "dagster"
    shutil.copytree(SOURCE, chart)
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    described["dependencies"] = [
        each for each in described["dependencies"] if (chart / "charts" / each["name"] / "Chart.yaml").is_file()
    ]
    (chart / "Chart.yaml").write_text(yaml.safe_dump(described))
    (chart / "Chart.lock").unlink(missing_ok=True)
    for archive in (chart / "charts").glob("*.tgz"):
        archive.unlink()
    values = str(CHART / "values-dagster.yaml")
    done = run(
        helm, "template", "dagster", str(chart), "-n", "imports", "--kube-version", KUBERNETES, "-f", values
    )  # helm holds the values against the chart's own values.schema.json first
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def instance_yaml(official: list[dict[str, Any]], render: Render) -> dict[str, Any]:
    """What is mounted into our code location and, by Dagster, into the pods of runs."""
    wanted = next(
        each["configMap"]["name"]
        for each in of_kind(render(), "Deployment")["spec"]["template"]["spec"]["volumes"]
        if each["name"] == "instance"
    )
    made: dict[str, Any] = yaml.safe_load(named(official, "ConfigMap", wanted)["data"]["dagster.yaml"])
    return made


def test_kubernetes_takes_what_it_becomes(official: list[dict[str, Any]]) -> None:
    for each in official:
        validate(each, KUBERNETES.rpartition(".")[0], strict=True)
    assert {each["metadata"]["name"] for each in official if each["kind"] == "Deployment"} == {
        "dagster-daemon",
        "dagster-dagster-webserver",
    }


def test_it_says_what_the_instance_file_of_a_cluster_says(official: list[dict[str, Any]], render: Render) -> None:
    ours = yaml.safe_load((ROOT / "deploy" / "dagster-cluster.yaml").read_text())
    theirs = instance_yaml(official, render)
    for name in ("concurrency", "run_monitoring", "sensors", "schedules", "telemetry"):
        assert theirs[name] == ours[name], name
    for name in ("schedule", "sensor"):
        assert theirs["retention"][name] == ours["retention"][name]
    assert theirs["compute_logs"]["class"] == ours["compute_logs"]["class"]
    known = {"max_retries": 0}  # the chart leaves out what is nought, which is Dagster's own choice as well
    assert known | theirs["run_retries"] == ours["run_retries"]


def test_webserver_and_daemon_find_our_code_location_and_may_ask_it(
    official: list[dict[str, Any]], render: Render
) -> None:
    ours = render()
    (server,) = yaml.safe_load(named(official, "ConfigMap", "dagster-workspace-yaml")["data"]["workspace.yaml"])[
        "load_from"
    ]
    service = of_kind(ours, "Service")
    assert server["grpc_server"]["host"] == service["metadata"]["name"]
    assert server["grpc_server"]["port"] == service["spec"]["ports"][0]["port"]
    (rule,) = of_kind(ours, "NetworkPolicy")["spec"]["ingress"]
    wanted = rule["from"][0]["podSelector"]["matchLabels"].items()
    for each in official:
        if each["kind"] == "Deployment":
            assert wanted <= each["spec"]["template"]["metadata"]["labels"].items()
            (password,) = [
                variable["valueFrom"]["secretKeyRef"]
                for variable in each["spec"]["template"]["spec"]["containers"][0]["env"]
                if variable["name"] == "DAGSTER_PG_PASSWORD"
            ]
            (known,) = [each for each in container(ours)["env"] if each["name"] == "DAGSTER_PG_PASSWORD"]
            assert password == known["valueFrom"]["secretKeyRef"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with kubernetes_api(tmp_path, runs=False) as made:
        yield made


def test_its_launcher_makes_the_pod_of_a_run_that_our_chart_describes(
    official: list[dict[str, Any]], render: Render, tmp_path: Path, environment: dict[str, str], cluster: Cluster
) -> None:
    """The database and the way to the cluster are this machine's; all else is as rendered."""
    ours = render({"run": {"memoryMiB": 2048, "graceSeconds": 240}})
    config = instance_yaml(official, render)
    for name in ("run_storage", "event_log_storage", "schedule_storage"):
        database = config[name]["config"]["postgres_db"]
        database |= {"hostname": environment["DAGSTER_PG_HOST"], "port": int(environment["port"])}
        database |= {"username": environment["DAGSTER_PG_USERNAME"], "db_name": environment["DAGSTER_PG_DB"]}
    config["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(cluster.kubeconfig)}
    config["compute_logs"]["config"]["local_dir"] = str(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    said = variables(container(ours), SECRETS)
    code = origin()
    context = yaml.safe_load(said["DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"])
    assert K8sContainerContext.create_from_config(context)
    code = code._replace(repository_origin=code.repository_origin._replace(container_context=context))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        has_the_rules(instance)
        made = instance.create_run_for_job(dg.GraphDefinition(name="sync_shop").to_job(), job_code_origin=code)
        instance.run_launcher.launch_run(LaunchRunContext(dagster_run=made, workspace=None))
    (job,) = cluster.jobs.values()
    validate(job, KUBERNETES.rpartition(".")[0], strict=True)
    pod = job["spec"]["template"]["spec"]
    (main,) = pod["containers"]
    assert pod["serviceAccountName"] == of_kind(ours, "ServiceAccount")["metadata"]["name"]
    assert pod["terminationGracePeriodSeconds"] == 240
    assert main["resources"]["limits"] == {"memory": "2048Mi"}
    assert main["securityContext"]["readOnlyRootFilesystem"] is True
    known = variables(main, SECRETS)
    assert parse_bytes(known["IMPORT_PLATFORM_MEMORY"], name="memory") == (2048 << 20) * 80 // 100
    assert known["DAGSTER_PG_PASSWORD"] == SECRETS["dagster-postgresql"]["postgresql-password"]
    assert known["IMPORT_PLATFORM_LAKE"] == said["IMPORT_PLATFORM_LAKE"]
    assert {"/scratch", "/opt/dagster/dagster_home"} <= {each["mountPath"] for each in main["volumeMounts"]}
    rights = {
        (verb, group, resource)
        for rule in of_kind(official, "Role")["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert set(cluster.requests) <= rights

"""The chart renders, Kubernetes would take it, and what it tells of runs becomes the pods that it promises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient
from kubernetes_validate import validate

from import_platform.components.loading import load_sources
from import_platform.core.budget import parse_bytes
from import_platform.resources.memory import SHARE_PERCENT
from tests.deploy.conftest import CHART, KUBERNETES, Render, run
from tests.deploy.kubelet import variables

SOURCE = """\
type: import_platform.components.ExternalSource
attributes:
  name: shop
  connection: {kind: postgres, dsn: "{{ env.SHOP_DSN }}", schemas: [public]}
"""
FULL: dict[str, Any] = {
    "image": {"repository": "registry.example.com/import-platform", "tag": "1.2.3"},
    "imagePullSecrets": ["registry"],
    "lake": {"uri": "s3://bucket/lake", "region": "eu-central-1", "endpointUrl": "http://store:9000"},
    "run": {"memoryMiB": 2048, "graceSeconds": 240, "nodeSelector": {"pool": "imports"}},
    "sources": {"shop": SOURCE},
    "secrets": ["shop"],
    "env": {"SHOP_REGION": "eu"},
    "discovery": {"existingClaim": "discovered"},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/lake"}},
}


SECRETS = {"shop": {"SHOP_DSN": "postgresql://hunter3"}, "dagster-postgresql": {"postgresql-password": "hunter2"}}
KINDS = {"ConfigMap", "Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"}


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind and not each["metadata"]["name"].endswith("-runs")]
    return found


def container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = of_kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


def environ(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(objects)["env"]}


def run_job(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The job that Dagster's run launcher makes of what the code location tells it."""
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job

    env = variables(container(objects), SECRETS)
    context = K8sContainerContext.create_from_config(json.loads(env["DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"]))
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image=env["DAGSTER_CURRENT_IMAGE"],
            dagster_home="/opt/dagster/dagster_home",
            instance_config_map="dagster-instance",
        ),
        ["dagster", "api", "execute_run"],
        "run-1",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    made: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return made


@pytest.mark.parametrize("values", [{}, FULL], ids=["defaults", "everything"])
def test_the_chart_is_what_kubernetes_takes(render: Render, values: dict[str, Any]) -> None:
    objects = render(values)
    assert {each["kind"] for each in objects} == KINDS
    for each in objects:
        validate(each, KUBERNETES.rpartition(".")[0], strict=True)


@pytest.mark.parametrize("kind", ["in_process", "multiprocess", "dask", "kubernetes"])
def test_code_location_and_runs_have_the_executor_and_what_it_needs(render: Render, kind: str) -> None:
    chosen = {"kind": kind, "maxConcurrent": 3, "daskScheduler": "tcp://scheduler:8786"}
    objects = render({**FULL, "executor": chosen})
    for each in objects:
        validate(each, KUBERNETES.rpartition(".")[0], strict=True)
    assert {each["kind"] for each in objects} == KINDS | ({"Role", "RoleBinding"} if kind == "kubernetes" else set())
    job = run_job(objects)["spec"]["template"]["spec"]
    assert job["automountServiceAccountToken"] is (kind == "kubernetes")
    wanted = {
        "multiprocess": {"DAGSTER_MULTIPROCESS_EXECUTOR_MAX_CONCURRENT": "3"},
        "dask": {"DASK_SCHEDULER_ADDRESS": "tcp://scheduler:8786"},
        "kubernetes": {"IMPORT_PLATFORM_MAX_PODS": "3", "IMPORT_PLATFORM_POD_CPU": "2"},
    }.get(kind, {})
    several = {"DAGSTER_MULTIPROCESS_EXECUTOR_MAX_CONCURRENT", "DASK_SCHEDULER_ADDRESS"}
    several |= {"IMPORT_PLATFORM_MAX_PODS", "IMPORT_PLATFORM_POD_CPU"}
    for made in (container(objects), job["containers"][0]):
        env = variables(made, SECRETS)
        assert env["IMPORT_PLATFORM_EXECUTOR"] == kind
        assert {name: value for name, value in env.items() if name in several} == wanted
    ports = {each["port"] for rule in of_kind(objects, "NetworkPolicy")["spec"]["egress"] for each in rule["ports"]}
    assert ports == {53, 443, 5432} | {"dask": {8786}, "kubernetes": {6443}}.get(kind, set())


def test_helm_has_nothing_to_complain_about(helm: str) -> None:
    done = run(helm, "lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pod_of_a_run_is_what_the_values_say(render: Render) -> None:
    job = run_job(render(FULL))
    validate(job, KUBERNETES.rpartition(".")[0], strict=True)
    pod = job["spec"]["template"]["spec"]
    (made,) = pod["containers"]
    assert made["image"] == "registry.example.com/import-platform:1.2.3"
    assert made["resources"]["limits"] == {"memory": "2048Mi"}
    assert made["resources"]["requests"] == {"cpu": "2", "memory": "2048Mi"}
    given = variables(made, SECRETS)
    assert parse_bytes(given["IMPORT_PLATFORM_MEMORY"], name="memory") == (2048 << 20) * SHARE_PERCENT // 100
    assert given["IMPORT_PLATFORM_POD_MEMORY"] == "2048Mi"
    assert given["IMPORT_PLATFORM_LAKE"] == "s3://bucket/lake"
    assert given["AWS_ENDPOINT_URL_S3"] == "http://store:9000"
    assert "AWS_ENDPOINT_URL" not in given  # which would lead a web identity there as well
    assert given["SHOP_REGION"] == "eu"
    assert {"secretRef": {"name": "shop"}} in made["envFrom"]
    assert pod["terminationGracePeriodSeconds"] == 240
    assert pod["nodeSelector"] == {"pool": "imports"}
    assert pod["serviceAccountName"] == "imports"
    assert job["spec"]["template"]["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    scratch = next(each for each in pod["volumes"] if each["name"] == "scratch")
    assert scratch["emptyDir"]["sizeLimit"] == "20Gi"


def test_the_memory_of_a_pod_follows_its_own_limit_whoever_set_it(render: Render) -> None:
    """The code location is smaller than a run, and a run's tags may change its request and its limit."""
    objects = render(FULL)
    location = parse_bytes(variables(container(objects), SECRETS)["IMPORT_PLATFORM_MEMORY"], name="memory")
    assert location == (1024 << 20) * SHARE_PERCENT // 100
    (made,) = run_job(objects)["spec"]["template"]["spec"]["containers"]
    made["resources"] = {"limits": {"memory": "512Mi"}, "requests": {"memory": "100Mi"}}
    changed = parse_bytes(variables(made, SECRETS)["IMPORT_PLATFORM_MEMORY"], name="memory")
    assert changed == (512 << 20) * SHARE_PERCENT // 100


def test_the_code_location_reaches_dagsters_history(render: Render) -> None:
    objects = render(FULL)
    assert variables(container(objects), SECRETS)["DAGSTER_PG_PASSWORD"] == "hunter2"
    (mount,) = [each for each in container(objects)["volumeMounts"] if each["name"] == "instance"]
    assert mount["mountPath"] == environ(objects)["DAGSTER_HOME"] + "/dagster.yaml"
    without = render({**FULL, "dagster": {"postgresqlSecret": "", "instanceConfigMap": ""}})
    assert "DAGSTER_PG_PASSWORD" not in environ(without)
    assert not [each for each in container(without)["volumeMounts"] if each["name"] == "instance"]


def test_no_pod_runs_as_root_or_writes_outside_its_volumes(render: Render) -> None:
    objects = render(FULL)
    pods = [of_kind(objects, "Deployment")["spec"]["template"]["spec"], run_job(objects)["spec"]["template"]["spec"]]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (made,) = pod["containers"]
        assert made["securityContext"]["readOnlyRootFilesystem"] is True
        assert made["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounts = {each["mountPath"] for each in made["volumeMounts"] if not each.get("readOnly")}
        assert {"/scratch", "/opt/dagster/dagster_home"} <= mounts
        volumes = {each["name"] for each in pod["volumes"]}
        assert {each["name"] for each in made["volumeMounts"]} <= volumes


def test_no_secret_has_a_value_in_what_is_rendered(render: Render) -> None:
    objects = render(FULL)
    assert all(each["kind"] != "Secret" for each in objects)
    assert container(objects)["envFrom"] == [{"secretRef": {"name": "shop"}}]
    (password,) = [each for each in container(objects)["env"] if each["name"] == "DAGSTER_PG_PASSWORD"]
    assert set(password) == {"name", "valueFrom"}


def test_the_sources_load_from_where_they_are_mounted(render: Render, tmp_path: Path) -> None:
    objects = render(FULL)
    data = of_kind(objects, "ConfigMap")["data"]
    volumes = of_kind(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    (mounted,) = [each["configMap"] for each in volumes if each["name"] == "sources"]
    assert mounted["name"] == of_kind(objects, "ConfigMap")["metadata"]["name"]
    for item in mounted["items"]:
        (tmp_path / item["path"]).parent.mkdir()
        (tmp_path / item["path"]).write_text(data[item["key"]])
    catalog = load_sources([tmp_path])
    assert ([source.name for source in catalog.sources], catalog.broken) == (["shop"], ())
    assert environ(objects)["IMPORT_PLATFORM_DEFS"] in [
        each["mountPath"] for each in container(objects)["volumeMounts"] if each["name"] == "sources"
    ]


def test_another_source_starts_the_code_location_anew(render: Render) -> None:
    def mark(values: dict[str, Any]) -> str:
        template = of_kind(render(values), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/sources"])

    changed = {**FULL, "sources": {"shop": SOURCE.replace("public", "sales")}}
    assert mark(FULL) == mark(FULL)
    assert mark(changed) != mark(FULL)


def test_service_policy_and_budget_mean_the_pods_that_there_are(render: Render) -> None:
    objects = render(FULL)
    labels = of_kind(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert of_kind(objects, "Service")["spec"]["selector"].items() <= labels
    assert of_kind(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    policy = of_kind(objects, "NetworkPolicy")["spec"]
    run_labels = run_job(objects)["spec"]["template"]["metadata"]["labels"].items()
    assert policy["podSelector"]["matchLabels"].items() <= labels
    assert policy["podSelector"]["matchLabels"].items() <= run_labels
    assert not of_kind(objects, "Service")["spec"]["selector"].items() <= run_labels


def test_an_eviction_waits_for_runs_unless_the_values_say_otherwise(render: Render) -> None:
    def of_runs(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
        named = [each for each in objects if each["kind"] == "PodDisruptionBudget"]
        return [each["spec"] for each in named if each["metadata"]["name"] == "imports-runs"]

    objects = render(FULL)
    (spec,) = of_runs(objects)
    labels = run_job(objects)["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (component,) = spec["selector"]["matchExpressions"]
    assert labels[component["key"]] in component["values"]
    assert (
        of_kind(objects, "Deployment")["spec"]["template"]["metadata"]["labels"][component["key"]]
        not in component["values"]
    )
    assert spec["minAvailable"] > 100_000  # more than there ever are; maxUnavailable means nothing for jobs
    for switched in ({"runs": False}, {"enabled": False}):
        assert of_runs(render({"podDisruptionBudget": switched})) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"run": {"memoryMiB": 300, "graceSeconds": 180}}, "memoryMiB"),
        ({"run": {"memoryMiB": "4Gi", "graceSeconds": 180}}, "memoryMiB"),
        ({"run": {"memoryMiB": 4096, "graceSeconds": 5}}, "graceSeconds"),
        ({"lake": {"uri": "/var/lake"}}, "uri"),
        ({"image": {"repository": "x", "tag": "latest"}}, "tag"),
        ({"memory": "4Gi"}, "memory"),
        ({"sources": {"Shop!": SOURCE}}, "Shop!"),
        ({"secrets": [{"name": "shop", "value": "hunter2"}]}, "secrets"),
        ({"executor": {"kind": "celery"}}, "kind"),
        ({"executor": {"kind": "dask"}}, "daskScheduler"),
        ({"executor": {"kind": "dask", "daskScheduler": "scheduler:8786"}}, "daskScheduler"),
        ({"executor": {"kind": "kubernetes", "maxConcurrent": 0}}, "maxConcurrent"),
        ({"executor": {"kind": "kubernetes", "coordinatorMemoryMiB": 256}}, "coordinatorMemoryMiB"),
    ],
)
def test_values_that_would_not_work_are_refused(helm: str, tmp_path: Path, values: dict[str, Any], said: str) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    done = run(helm, "template", "imports", str(CHART), "--kube-version", KUBERNETES, "-f", str(path))
    assert done.returncode != 0
    assert said in done.stderr


def test_the_notes_name_the_host_for_the_official_chart(helm: str, tmp_path: Path) -> None:
    folder = tmp_path / "chart"
    shutil.copytree(CHART, folder)
    notes = (folder / "templates" / "NOTES.txt").read_text()
    (folder / "templates" / "notes.yaml").write_text('notes: |\n  {{- include "notes" . | nindent 2 }}\n')
    (folder / "templates" / "_notes.tpl").write_text('{{- define "notes" }}' + notes + "{{ end }}")
    done = run(helm, "template", "imports", str(folder), "--kube-version", KUBERNETES, "-s", "templates/notes.yaml")
    assert done.returncode == 0, done.stderr
    assert "--set dagsterWebserver.workspace.servers[0].host=imports" in done.stdout
    assert "There is no source yet" in done.stdout
    assert "4096 MiB" in done.stdout

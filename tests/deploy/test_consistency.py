"""What stands in several files of the deployment is the same in all of them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from import_platform.components.loading import load_sources
from import_platform.resources.dask_executor import ADDRESS_VARIABLE
from import_platform.resources.executors import VARIABLE as EXECUTOR_VARIABLE
from import_platform.resources.executors import Steps
from import_platform.resources.home import DAGSTER_YAML
from import_platform.resources.kubernetes_executor import MAX_PODS_VARIABLE
from import_platform.resources.memory import SHARE_PERCENT
from import_platform.resources.naming import CODE_LOCATION
from import_platform.resources.run_size import CPU_VARIABLE, POD_VARIABLE
from tests.deploy.conftest import CHART, ROOT

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
OFFICIAL: dict[str, Any] = yaml.safe_load((CHART / "values-dagster.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "dagster-cluster.yaml").read_text())


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==([^ ;\\]+)", text, re.MULTILINE))


def snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", key): snake(inner) for key, inner in value.items()}
    return [snake(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["dagster-machine.yaml", "dagster-cluster.yaml"])
def test_dagster_takes_the_instance_file(name: str, tmp_path: Path) -> None:
    text = (ROOT / "deploy" / name).read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] == 60
    assert config["concurrency"]["pools"] == {"granularity": "op", "default_limit": 1}
    assert all(line.startswith("#") or ":" in line or "- " in line or not line.strip() for line in text.splitlines())


def test_an_instance_file_with_a_wrong_word_would_be_noticed(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "dagster-cluster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text.replace("start_timeout_seconds", "start_timeout"))
    with pytest.raises(Exception, match="start_timeout"):
        dagster_instance_config(str(tmp_path))


def test_the_official_charts_values_say_what_the_instance_file_of_a_cluster_says() -> None:
    assert snake(OFFICIAL["concurrency"]["pools"]) == CLUSTER["concurrency"]["pools"]
    assert snake(OFFICIAL["concurrency"]["runs"]) == CLUSTER["concurrency"]["runs"]
    assert snake(OFFICIAL["dagsterDaemon"]["runMonitoring"]) == CLUSTER["run_monitoring"]
    assert snake(OFFICIAL["dagsterDaemon"]["runRetries"]) == CLUSTER["run_retries"]
    for name in ("schedule", "sensor"):
        assert snake(OFFICIAL["retention"][name]) == CLUSTER["retention"][name]
    assert OFFICIAL["runLauncher"]["type"] == CLUSTER["run_launcher"]["class"]
    assert OFFICIAL["computeLogManager"]["type"] == CLUSTER["compute_logs"]["class"]
    assert OFFICIAL["dagsterDaemon"]["runCoordinator"]["config"] == {
        "queuedRunCoordinator": {}
    }  # refused in both places


def test_a_home_that_is_made_here_keeps_to_the_same_rules() -> None:
    ours = yaml.safe_load(DAGSTER_YAML)
    assert ours["concurrency"]["pools"] == CLUSTER["concurrency"]["pools"]
    assert ours["run_retries"] == CLUSTER["run_retries"]
    assert ours["retention"] == CLUSTER["retention"]


def test_a_run_may_take_as_long_to_its_checkpoint_in_every_file() -> None:
    seconds = yaml.safe_load(DAGSTER_YAML)["run_monitoring"]["cancel_timeout_seconds"]
    assert VALUES["run"]["graceSeconds"] >= seconds
    assert OFFICIAL["dagsterDaemon"]["runMonitoring"]["cancelTimeoutSeconds"] == seconds
    machine = yaml.safe_load((ROOT / "deploy" / "dagster-machine.yaml").read_text())
    assert machine["run_monitoring"]["cancel_timeout_seconds"] == seconds


def test_host_and_port_are_those_of_our_chart() -> None:
    (server,) = OFFICIAL["dagsterWebserver"]["workspace"]["servers"]
    assert server["name"] == CODE_LOCATION  # what a run of the command line says it belongs to
    assert server["port"] == VALUES["codeLocation"]["port"]
    assert re.search(rf"^EXPOSE {server['port']}$", DOCKERFILE, re.MULTILINE)
    assert OFFICIAL["dagster-user-deployments"] == {"enabled": True, "enableSubchart": False}


def test_image_and_chart_agree_on_user_folders_and_command() -> None:
    names = (CHART / "templates" / "_names.tpl").read_text()
    (user,) = set(re.findall(r"runAsUser: (\d+)", names))
    assert f"USER {user}:{user}" in DOCKERFILE
    for folder in ("/scratch", "/opt/dagster/dagster_home", "/etc/import_platform/sources"):
        assert folder in names
        assert folder in DOCKERFILE
    (command,) = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
    location = (CHART / "templates" / "code-location.yaml").read_text()
    (args,) = re.findall(r"args: \[(.+)\]", location)
    wanted = ", ".join(json.loads(command)).replace(", 3030,", ", {{ .Values.codeLocation.port | quote }},")
    assert args == wanted


def test_the_share_of_memory_is_that_of_the_platform() -> None:
    assert re.findall(r"(\d+)% of", (CHART / "templates" / "_names.tpl").read_text()) == [str(SHARE_PERCENT)]


def test_the_executors_of_the_chart_are_those_that_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["executor"]["properties"]["kind"]["enum"] == list(Steps)
    assert VALUES["executor"]["kind"] == Steps.IN_PROCESS
    templates = "\n".join(path.read_text() for path in (CHART / "templates").iterdir())
    for name in (POD_VARIABLE, CPU_VARIABLE, MAX_PODS_VARIABLE, ADDRESS_VARIABLE, EXECUTOR_VARIABLE):
        assert f'"{name}"' in templates, name
    assert {"distributed", "dagster-k8s"} <= set(locked("requirements.image.lock"))


def test_the_schema_knows_every_value_that_there_is() -> None:
    def compare(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> None:
        known = schema.get("properties")
        if known is None:
            return
        assert set(values) - set(known) == set(), path
        assert set(known) - set(values) <= {"global"}, path
        for name, inner in values.items():
            if isinstance(inner, dict):
                compare(known[name], inner, f"{path}.{name}")

    compare(json.loads((CHART / "values.schema.json").read_text()), VALUES)


def test_secret_and_instance_file_are_those_of_the_official_charts_values() -> None:
    assert VALUES["dagster"]["postgresqlSecret"] == OFFICIAL["global"]["postgresqlSecretName"]
    deploy = (ROOT / "docs" / "deploy.md").read_text()
    (release,) = re.findall(r"helm upgrade --install (\S+) dagster/dagster", deploy)
    assert VALUES["dagster"]["instanceConfigMap"] == f"{release}-instance"
    assert (
        f"create secret generic {VALUES['dagster']['postgresqlSecret']} --from-literal=postgresql-password=" in deploy
    )


def test_a_run_launched_without_the_official_chart_has_every_variable_of_the_instance_file() -> None:
    """A run reads the same words again: its history, its logs, and, where its steps are pods, its launcher."""

    def named(value: Any) -> set[str]:
        if isinstance(value, dict):
            inner = (named(each) for each in value.values())
            return {value["env"]} if set(value) == {"env"} else set().union(*inner)
        return set().union(*map(named, value)) if isinstance(value, list) else set()

    handed = set(CLUSTER["run_launcher"]["config"]["env_vars"])
    assert named(CLUSTER) - handed == {"DAGSTER_PG_PASSWORD"}  # from its secret
    assert handed <= named(CLUSTER)


def test_every_file_names_one_version_of_dagster() -> None:
    version = locked("requirements.lock")["dagster"]
    text = (CHART / "values-dagster.yaml").read_text()
    assert set(re.findall(r"\b1\.\d+\.\d+\b", text)) == {version}


def test_the_chart_has_the_version_of_the_package() -> None:
    import import_platform

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == import_platform.__version__


def test_the_image_has_the_locked_versions_and_no_tools_of_tests() -> None:
    image, whole = locked("requirements.image.lock"), locked("requirements.lock")
    assert {name: version for name, version in image.items() if whole.get(name) != version} == {}
    assert {"dagster-k8s", "dagster-postgres", "deltalake", "duckdb-extension-delta"} <= set(image)
    assert not {"pytest", "ruff", "mypy", "moto", "kubernetes-validate"} & set(image)
    assert "--require-hashes" in DOCKERFILE
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[\[<>=! ]", line)[0].lower() for line in project["dependencies"]}
    assert wanted <= set(image)


def test_what_the_image_copies_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    copied = {
        part.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for part in line.split()
    }
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_the_example_of_a_source_in_the_values_loads(tmp_path: Path) -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    start = lines.index("#  shop: |")
    text = "\n".join(line.removeprefix("#    ") for line in lines[start + 1 :] if line.startswith("#    "))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "defs.yaml").write_text(text)
    assert load_sources([tmp_path]).broken == ()


def test_every_stage_ends_without_root() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "ENTRYPOINT" in last.partition("USER")[2]

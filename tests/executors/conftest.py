"""Runs of a real project on every executor, with the definitions that a code location would load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from import_platform.core.budget import GIB
from tests.dagster_project import Project, empty_home, project
from tests.executors.kubernetes_api import Cluster, kubernetes_api

__all__ = ["empty_home", "project"]

ROOT = Path(__file__).parents[2]

Execute = Callable[..., "Executed"]


@dataclass(frozen=True)
class Executed:
    """A run that has ended, the process that held it together, and what that one wrote."""

    run: dg.DagsterRun
    process: int
    output: str


@pytest.fixture
def cluster(project: Project) -> Iterator[Cluster]:
    """A home whose runs have Kubernetes below them."""
    with kubernetes_api(project.root, runs=True) as made:
        config = {
            "service_account_name": "imports",
            "instance_config_map": "dagster-instance",
            "dagster_home": str(project.home),
            "job_namespace": "imports",
            "job_image": "registry.example.com/import-platform:1.2.3",
            "load_incluster_config": False,
            "kubeconfig_file": str(made.kubeconfig),
        }
        path = project.home / "dagster.yaml"
        home = yaml.safe_load(path.read_text())
        home["run_launcher"] = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config}
        path.write_text(yaml.safe_dump(home))
        yield made


@pytest.fixture
def execute(project: Project, monkeypatch: pytest.MonkeyPatch) -> Execute:
    """Runs a job of the project to its end in a process of its own, as a run worker does."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def run(steps: str, job: str = "sync_shop", *, config: Mapping[str, Any] | None = None, **env: str) -> Executed:
        path = project.root / "run_config.json"
        path.write_text(json.dumps(config or {}))
        command = ["-m", "dagster", "job", "execute", "-m", "import_platform.definitions", "-a", "defs"]
        given = {"PYTHONPATH": str(ROOT), "IMPORT_PLATFORM_MEMORY": str(GIB), "IMPORT_PLATFORM_EXECUTOR": steps}
        for name, value in {**given, "DAGSTER_MULTIPROCESS_EXECUTOR_MAX_CONCURRENT": "2", **env}.items():
            monkeypatch.setenv(name, value)  # for this process too, from which a cluster of a test starts its pods
        process = subprocess.Popen(
            [sys.executable, *command, "-j", job, "-c", str(path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output, _ = process.communicate()
        with project.instance() as instance:
            runs = instance.get_runs(dg.RunsFilter(job_name=job), limit=1)
        assert runs, output
        return Executed(runs[0], process.pid, output)

    return run

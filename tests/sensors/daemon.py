"""A project under Dagster's own daemon code: real code server, real run workers, real ticks; and workers that wait."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster_graphql.test.utils import execute_dagster_graphql

from import_platform.resources.home import open_instance
from import_platform.resources.naming import CODE_LOCATION
from tests.dagster_project import Project

LOCATION = """\
import os, time
from pathlib import Path

import dagster as dg

from import_platform.components.loading import load_sources
from import_platform.definitions import build_definitions
from import_platform.jobs.source_job import SourceJob
from import_platform.pipeline.extract import Extract
from import_platform.pipeline.flush import Flush
from import_platform.resources.naming import SOURCE_TAG

FOLDER = Path(os.environ["WAITING"])
flush, read = Flush.run, Extract.__iter__

def wait(place):
    grow = FOLDER / f"grow-{place}"
    ballast = bytearray(int(grow.read_text()) if grow.exists() else 0)
    ballast[::4096] = b"x" * len(ballast[::4096])
    time.sleep(0.5 if ballast else 0)
    (FOLDER / f"pid-{place}").write_text(str(os.getpid()))
    while (FOLDER / f"hold-{place}").exists():
        time.sleep(0.05)

def waiting_flush(self):
    wait(self._table.spec.name)
    return flush(self)

def waiting_read(self):
    wait(f"{self._table.spec.name}.read")
    yield from read(self)

Flush.run, Extract.__iter__ = waiting_flush, waiting_read
multi = SourceJob(
    "sync_shop_multi",
    selection=dg.AssetSelection.assets(["shop", "orders"], ["shop", "customers"]),
    executor_def=dg.multiprocess_executor.configured({"max_concurrent": 2}),
    tags={SOURCE_TAG: "shop"},
)
defs = dg.Definitions.merge(build_definitions(load_sources(), strict=False), dg.Definitions(jobs=[multi]))
"""

LAUNCH = """
mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
PATIENCE_SECONDS = 300


@dataclass
class Daemon:
    """`hold` makes a table's flush wait, or its reading as `TABLE.read`; `pid` is the process that waits there."""

    project: Project
    instance: dg.DagsterInstance
    workspace: Any

    @property
    def folder(self) -> Path:
        return self.project.root / "waiting"

    def hold(self, *places: str) -> None:
        for table in places:
            (self.folder / f"pid-{table}").unlink(missing_ok=True)  # of an earlier run
            (self.folder / f"hold-{table}").touch()

    def release(self) -> None:
        for path in self.folder.iterdir():
            path.unlink(missing_ok=True)

    def grow(self, table: str, bytes_: int) -> None:
        (self.folder / f"grow-{table}").write_text(str(bytes_))

    def pid(self, table: str) -> int:
        path = self.folder / f"pid-{table}"
        self.until(lambda: path.exists() and path.read_text())  # it is written before it waits
        return int(path.read_text())

    def launch(self, job: str, *tables: str, config: Any = None, tags: dict[str, str] | None = None) -> str:
        selection = [{"path": ["shop", table]} for table in tables] or None
        params = {
            "selector": {
                "repositoryLocationName": CODE_LOCATION,
                "repositoryName": "__repository__",
                "jobName": job,
                "assetSelection": selection,
            },
            "runConfigData": config or {},
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in (tags or {}).items()]},
        }
        answer = self._ask(LAUNCH, {"params": params})["launchPipelineExecution"]
        assert "run" in answer, answer
        self.start_queued()
        return answer["run"]["runId"]

    def terminate(self, run: str) -> None:
        assert self._ask(TERMINATE, {"id": run})["terminateRun"]["__typename"] == "TerminateRunSuccess"

    def stop(self, sensor: str) -> None:
        repository = self.workspace.create_request_context().get_code_location(CODE_LOCATION)
        found = repository.get_repository("__repository__").get_sensor(sensor)
        self.instance.stop_sensor(found.get_remote_origin_id(), found.selector_id, found)

    def start_queued(self) -> None:
        list(QueuedRunCoordinatorDaemon(interval_seconds=1).run_iteration(self.workspace))

    def tick(self) -> None:
        """One round of the sensor daemon over all sensors that run."""
        list(execute_sensor_iteration(self.workspace, logging.getLogger("tick"), None, None))

    def tick_until(self, is_so: Callable[[], Any]) -> None:
        """Ticks until the sensors, which wait some seconds between their looks, have done it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < deadline
            time.sleep(2)
            self.tick()

    def relaunched(self, run: str) -> dg.DagsterRun | None:
        """The run that a sensor asked for because of this one."""
        found = self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": f"relaunch:{run}"}))
        return found[0] if found else None

    def ended(self, run: str, *statuses: str) -> dg.DagsterRun:
        self.until(lambda: self.run(run).is_finished)
        assert self.run(run).status.value in statuses, (self.run(run).status, self.said(run)[-15:])
        return self.run(run)

    def run(self, run: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run)
        assert found is not None
        return found

    def said(self, run: str) -> list[str]:
        return [entry.dagster_event.message or "" for entry in self.instance.all_logs(run) if entry.dagster_event]

    def until(self, is_so: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def _ask(self, query: str, variables: dict[str, Any]) -> Any:
        result = execute_dagster_graphql(self.workspace.create_request_context(), query, variables)
        assert not result.errors, result.errors
        return result.data


@contextmanager
def daemon(project: Project) -> Iterator[Daemon]:
    """Ends every process that it started, whatever happened."""
    location = project.root / "location.py"
    location.write_text(LOCATION)
    (project.root / "waiting").mkdir()
    os.environ["WAITING"] = str(project.root / "waiting")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    target = PythonFileTarget(str(location), None, str(project.root), CODE_LOCATION)
    with open_instance(project.home) as instance:
        try:
            with create_test_daemon_workspace_context(target, instance) as workspace:
                made = Daemon(project, instance, workspace)
                for sensor in ("repartition_oversized", "alerts"):
                    made.stop(sensor)
                made.tick()  # sensors of runs begin with what happens after their first tick
                yield made
                made.release()
        finally:
            for child in psutil.Process().children(recursive=True):
                if child.pid not in before:
                    child.kill()

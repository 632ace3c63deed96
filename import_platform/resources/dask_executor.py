"""Steps as processes on the workers of a Dask cluster, with Dagster's own retries, pools and dynamic steps.

dagster-dask 0.29.27 cannot run our jobs: it hands the run to `Client.submit`, and Dask 2026.8 walks through it and
meets a record of Dagster's that refuses to be walked through, wherever an op has a pool. It knows neither dynamic steps
nor retries. Remove when it does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)
from distributed import Client, Event, Future, LocalCluster

from import_platform.core.run_size import step_bytes
from import_platform.resources.memory import default_bytes
from import_platform.resources.process import process_tags
from import_platform.resources.run_size import setting_bytes

ADDRESS_VARIABLE = "DASK_SCHEDULER_ADDRESS"
MEMORY = "MEMORY"
"""The resource of a worker, in bytes, that steps with a known need take their share of."""

POLL_SECONDS = 0.3
HEALTH_SECONDS = 5


def work(arguments: Sequence[str], env: Mapping[str, str], stop: str) -> None:
    """A step in a process of its own, on a worker, by its own Dagster, which need not be on its PATH. The event
    `stop` asks it to end, as SIGTERM does.

    Raises:
        RuntimeError: the process was killed, or could not even report how its step went.
    """
    asked = Event(stop)
    process = subprocess.Popen([sys.executable, "-m", "dagster", *arguments], env={**os.environ, **env})
    try:
        while process.poll() is None:
            if asked.wait(POLL_SECONDS):
                process.terminate()
                process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
    if process.returncode:
        raise RuntimeError(f"the step's process ended with {process.returncode}")


class DaskSteps(StepHandler):
    """Launches steps as tasks of the client, which the executor opens and closes."""

    def __init__(self) -> None:
        self.client: Any = None
        self._tasks: dict[str, tuple[Future[None], str]] = {}

    @property
    def name(self) -> str:
        return "DaskSteps"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        args, key = step_handler_context.execute_step_args, _step_key(step_handler_context)
        known = args.known_state.get_retry_state() if args.known_state else None
        task = f"{args.run_id}.{key}.{known.get_attempt_count(key) if known else 0}"
        env = {str(each["name"]): str(each["value"]) for each in args.get_command_env()}
        _, *arguments = args.get_command_args(skip_serialized_namedtuple=True)  # the first is `dagster`
        future = self.client.submit(work, arguments, env, task, key=task, pure=False, resources=self._share(key))
        self._tasks[key] = (future, task)
        yield DagsterEvent.step_worker_starting(
            step_handler_context.get_step_context(key),
            message=f'Executing step "{key}" as Dask task {task}.',
            metadata={},
        )

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        task = self._tasks.get(_step_key(step_handler_context))
        if task is None or task[0].status in ("error", "cancelled", "lost"):
            reason = str(task[0].exception()) if task is not None and task[0].status == "error" else "its task is gone"
            return CheckStepHealthResult.unhealthy(reason)
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        task = self._tasks.get(_step_key(step_handler_context))
        if task is not None:
            Event(task[1], client=self.client).set()
        yield from ()

    def _share(self, key: str) -> dict[str, float] | None:
        """What a step whose need is known takes of a worker; where no worker says what it has, nothing is counted."""
        offered = [each["resources"].get(MEMORY, 0) for each in self.client.scheduler_info(-1)["workers"].values()]
        need = step_bytes(key)
        return {MEMORY: min(need, max(offered))} if need and offered and max(offered) else None


class DaskExecutor(StepDelegatingExecutor):
    """On the cluster of DASK_SCHEDULER_ADDRESS, else on a worker per core of this machine while a run lasts."""

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        plan_context.instance.add_run_tags(plan_context.run_id, process_tags())
        assert isinstance(self._step_handler, DaskSteps)
        with _client() as client:
            self._step_handler.client = client
            yield from super().execute(plan_context, execution_plan)


@contextmanager
def _client() -> Iterator[Any]:
    address = os.environ.get(ADDRESS_VARIABLE)
    if address:
        with Client(address) as client:
            yield client
        return
    cores = os.cpu_count() or 1
    memory_bytes = setting_bytes() or default_bytes()
    local = {"n_workers": cores, "threads_per_worker": 1, "dashboard_address": None}
    # A worker only waits for the process of its step, which keeps to its budget: Dask's own limit is left out.
    with (
        LocalCluster(**local, memory_limit=0, resources={MEMORY: memory_bytes // cores}) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _step_key(context: StepHandlerContext) -> str:
    [key] = context.execute_step_args.step_keys_to_execute or []
    return key


@dg.executor(
    name="dask",
    config_schema={"retries": get_retries_config(), "max_concurrent": dg.Field(int, is_required=False)},
    requirements=dg.multiple_process_executor_requirements(),
)
def dask_executor(init_context: dg.InitExecutorContext) -> DaskExecutor:
    """Each step in a process on a Dask worker; `max_concurrent` limits the steps of one run."""
    config: Any = init_context.executor_config
    return DaskExecutor(
        DaskSteps(),
        retries=RetryMode.from_config(config["retries"]) or RetryMode.ENABLED,
        max_concurrent=config.get("max_concurrent"),
        check_step_health_interval_seconds=HEALTH_SECONDS,
        should_verify_step=True,
    )

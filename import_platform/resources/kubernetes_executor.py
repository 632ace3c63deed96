"""Steps as pods, by dagster-k8s, where each of several like steps asks for the memory of its own plan."""

from __future__ import annotations

from typing import Any, cast

import dagster as dg
from dagster._core.executor.step_delegating import StepDelegatingExecutor, StepHandlerContext
from dagster_k8s import k8s_job_executor
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.job import UserDefinedDagsterK8sConfig

from import_platform.core.run_size import kubernetes_config, step_bytes
from import_platform.resources.run_size import setting_bytes


class PlannedSteps(K8sStepHandler):
    """dagster-k8s gives all steps of a dynamic output the tags of their op; here the request is in the step's key."""

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        context = super()._get_container_context(step_handler_context)
        need_bytes, budget_bytes = step_bytes(self._get_step_key(step_handler_context)), setting_bytes()
        if need_bytes is None or not budget_bytes:
            return context
        config = UserDefinedDagsterK8sConfig.from_dict(kubernetes_config(need_bytes, budget_bytes=budget_bytes))
        return context.merge(K8sContainerContext(run_k8s_config=config))


@dg.executor(
    name=k8s_job_executor.name,
    config_schema=cast(Any, k8s_job_executor.config_schema),
    requirements=dg.multiple_process_executor_requirements(),
)
def kubernetes_executor(init_context: dg.InitExecutorContext) -> StepDelegatingExecutor:
    """dagster-k8s' own `k8s_job_executor`, its configuration included."""
    create = k8s_job_executor.executor_creation_fn
    assert create is not None
    made = cast(StepDelegatingExecutor, create(init_context))
    handler: Any = made._step_handler  # noqa: SLF001  it has no other door
    planned = PlannedSteps.__new__(PlannedSteps)
    planned.__dict__.update(handler.__dict__)
    made._step_handler = planned  # noqa: SLF001
    return made

"""Steps as pods, by dagster-k8s, where each asks for the memory of its own plan and holds no key to the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, cast

import dagster as dg
from dagster._core.executor.step_delegating import StepDelegatingExecutor, StepHandlerContext
from dagster_k8s import k8s_job_executor
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_user_defined_k8s_config

from import_platform.errors import ConfigError
from import_platform.resources.run_size import step_pod

MAX_PODS_VARIABLE = "IMPORT_PLATFORM_MAX_PODS"

_NO_TOKEN = {"pod_spec_config": {"automount_service_account_token": False}}
"""The run's own pod starts pods; what works on tables has no business with the cluster."""


class PlannedSteps(K8sStepHandler):
    """A step's pod is as large as its plan says, unless an op's tags or the run's configuration say otherwise."""

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        context = super()._get_container_context(step_handler_context)
        for config in (self._planned(step_handler_context), *self._asked(step_handler_context)):
            context = context.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config)))
        return context

    def _planned(self, context: StepHandlerContext) -> dict[str, Any]:
        """Looked up once per step, because dagster-k8s wants to know again whenever it looks after a pod."""
        known: dict[str, dict[str, Any]] = self.__dict__.setdefault("_pods", {})
        key = self._get_step_key(context)
        if key not in known:
            known[key] = {**_NO_TOKEN, **step_pod(context.instance, key, context.step_tags[key])}
        return known[key]

    def _asked(self, context: StepHandlerContext) -> Iterator[dict[str, Any]]:
        """The resources that people asked for, the weaker first."""
        key = self._get_step_key(context)
        op_name = context.get_step_context(key).step.op_name
        said: list[Mapping[str, Any]] = [
            self._executor_container_context.run_k8s_config.container_config,
            get_user_defined_k8s_config(context.step_tags[key]).container_config,
            self._per_step_k8s_config.get(op_name, {}).get("container_config", {}),
        ]
        yield from ({"container_config": {"resources": each["resources"]}} for each in said if each.get("resources"))


@dg.executor(
    name=k8s_job_executor.name,
    config_schema=cast(Any, k8s_job_executor.config_schema),
    requirements=dg.multiple_process_executor_requirements(),
)
def kubernetes_executor(init_context: dg.InitExecutorContext) -> StepDelegatingExecutor:
    """dagster-k8s' own `k8s_job_executor`, its configuration included.

    Raises:
        ConfigError: IMPORT_PLATFORM_MAX_PODS is no count.
    """
    create = k8s_job_executor.executor_creation_fn
    assert create is not None
    made = cast(StepDelegatingExecutor, create(init_context))
    handler: Any = made._step_handler  # noqa: SLF001  it has no other door
    planned = PlannedSteps.__new__(PlannedSteps)
    planned.__dict__.update(handler.__dict__)
    made._step_handler = planned  # noqa: SLF001
    if made._max_concurrent is None:  # noqa: SLF001
        made._max_concurrent = max_pods()  # noqa: SLF001
    return made


def max_pods(environ: Mapping[str, str] = os.environ) -> int | None:
    """How many steps of one run are pods at a time, by IMPORT_PLATFORM_MAX_PODS; None for as many as there are.

    Raises:
        ConfigError: it is no count.
    """
    text = environ.get(MAX_PODS_VARIABLE)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ConfigError(
            f"{MAX_PODS_VARIABLE} is no count", found=text[:100], remedy="Write a whole number from 1 on."
        )
    return int(text)

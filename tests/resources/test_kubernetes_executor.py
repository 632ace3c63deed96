"""What the executor of pods adds to dagster-k8s' own; whole runs are in tests/executors and tests/deploy."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig

from import_platform.errors import ConfigError
from import_platform.resources.kubernetes_executor import PlannedSteps, max_pods


@pytest.mark.parametrize(("text", "count"), [(None, None), ("", None), ("1", 1), ("40", 40)])
def test_pods_of_a_run_are_as_many_as_the_variable_says(text: str | None, count: int | None) -> None:
    assert max_pods({} if text is None else {"IMPORT_PLATFORM_MAX_PODS": text}) == count


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "²"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="IMPORT_PLATFORM_MAX_PODS is no count"):
        max_pods({"IMPORT_PLATFORM_MAX_PODS": text})


def resources(tags: dict[str, str], executor: dict[str, Any], per_op: dict[str, Any]) -> list[dict[str, Any]]:
    """What people asked for, in the order in which it is put over the plan."""
    steps = PlannedSteps.__new__(PlannedSteps)
    steps._executor_container_context = K8sContainerContext(
        run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(executor)
    )
    steps._per_step_k8s_config = {"shop__orders": per_op}
    context: Any = SimpleNamespace(
        execute_step_args=SimpleNamespace(step_keys_to_execute=["shop__orders"]),
        step_tags={"shop__orders": tags},
        get_step_context=lambda key: SimpleNamespace(step=SimpleNamespace(op_name=key)),
    )
    return [each["container_config"]["resources"] for each in steps._asked(context)]


def test_what_people_ask_for_goes_before_the_plan_the_nearest_last() -> None:
    def asked(memory: str) -> dict[str, Any]:
        return {"container_config": {"resources": {"requests": {"memory": memory}}}}

    tags = {"dagster-k8s/config": json.dumps(asked("2Gi"))}
    said = resources(tags, asked("1Gi"), asked("3Gi"))
    assert [each["requests"]["memory"] for each in said] == ["1Gi", "2Gi", "3Gi"]
    assert resources({"import_platform/table": "shop/orders"}, {}, {}) == []

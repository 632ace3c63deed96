"""How large a run will be, in the words of whoever places it: Dagster's queue and Kubernetes."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg

from import_platform.core.budget import MIB, MemoryBudget, parse_bytes
from import_platform.core.run_size import (
    KUBERNETES_TAG,
    MEMORY_TAG,
    kubernetes_config,
    largest,
    memory_class,
    step_bytes,
)
from import_platform.errors import ConfigError
from import_platform.pipeline.repartition import predicted_peak_bytes
from import_platform.resources.executors import VARIABLE as EXECUTOR_VARIABLE
from import_platform.resources.executors import Steps
from import_platform.resources.memory import SHARE_PERCENT, default_bytes
from import_platform.resources.naming import EXPECTED_MEMORY, TABLE_TAG, asset_key, table_id
from import_platform.resources.project import read_settings

BASE_BYTES = 200 * MIB
"""What a run's process holds before any work, imports above all."""
POD_VARIABLE = "IMPORT_PLATFORM_POD_MEMORY"
"""The limit of every pod that works on tables, for the processes that have pods made and are no such pod themselves."""

CPU_VARIABLE = "IMPORT_PLATFORM_POD_CPU"
"""What the pods of steps ask for, where the run's own pod asks for less; Kubernetes' own way to write it."""


def size_tags(instance: dg.DagsterInstance, source: str, tables: Collection[str]) -> dict[str, str]:
    """Tags of a run that works on these tables one after the other, by what their last syncs expect of the next.

    One query for all of them. A table whose last event says nothing makes the run a large one. In Kubernetes the run's
    pod gets its request and limit, unless nobody ever said how much memory runs have, or its steps are pods.
    """
    records = instance.get_asset_records([asset_key(source, table) for table in tables])
    said = [_said(record) for record in records]
    unknown = [None] * (len(tables) - len(said))
    expected = largest([*(each[0] for each in said), *unknown])
    return _tags(expected, pod_budget_bytes() or max((each[1] for each in said), default=0) or setting_bytes())


def rewrite_tags() -> dict[str, str]:
    """Tags of a run that rewrites leaves: its peak follows from its budget, whatever the leaf."""
    budget_bytes = pod_budget_bytes() or setting_bytes()
    expected = predicted_peak_bytes(MemoryBudget(budget_bytes or default_bytes(), BASE_BYTES))
    return _tags(expected, budget_bytes)


def step_tags(source: str, table: str) -> dict[str, str]:
    """Tags of a step that works on this table, for executors that give each step a pod of its own."""
    return {TABLE_TAG: table_id(source, table)}


def step_pod(instance: dg.DagsterInstance, step_key: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """What a step's pod asks for and may hold, as a value of `dagster-k8s/config`; empty where nobody said how much
    memory pods have.

    The need is that of the plan, which stands in the key of a step of several; else what the last sync of the step's
    table expects of the next; else the whole. One query at most.
    """
    budget_bytes = pod_budget_bytes() or setting_bytes()
    if not budget_bytes:
        return {}
    need_bytes = step_bytes(step_key)
    if need_bytes is None and TABLE_TAG in tags:
        source, _, table = tags[TABLE_TAG].partition("/")
        need_bytes = largest(
            [_said(each)[0] for each in instance.get_asset_records([asset_key(source, table)])] or [None]
        )
    return kubernetes_config(need_bytes, budget_bytes=budget_bytes, cpu=os.environ.get(CPU_VARIABLE, ""))


def _tags(expected_bytes: int | None, budget_bytes: int) -> dict[str, str]:
    tags = {MEMORY_TAG: str(memory_class(expected_bytes, budget_bytes=budget_bytes or default_bytes()))}
    if budget_bytes and in_kubernetes() and not steps_are_pods():
        tags[KUBERNETES_TAG] = json.dumps(kubernetes_config(expected_bytes, budget_bytes=budget_bytes))
    return tags


def in_kubernetes(environ: Mapping[str, str] = os.environ) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ


def steps_are_pods(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the process of a run only starts steps: then its own pod is as large as its deployment says."""
    return environ.get(EXECUTOR_VARIABLE) == Steps.KUBERNETES


def pod_budget_bytes(environ: Mapping[str, str] = os.environ) -> int:
    """The budget inside a pod that works, by IMPORT_PLATFORM_POD_MEMORY; 0 where it is not set, or is no size."""
    try:
        limit = environ.get(POD_VARIABLE)
        return parse_bytes(limit, name=POD_VARIABLE) * SHARE_PERCENT // 100 if limit else 0
    except ConfigError:
        return 0


def setting_bytes() -> int:
    """IMPORT_PLATFORM_MEMORY as this process has it; 0 where it is not set, or is no size: the sync then says so."""
    try:
        setting = read_settings().memory
        return parse_bytes(setting, name="IMPORT_PLATFORM_MEMORY") if setting else 0
    except ConfigError:
        return 0


def _said(record: dg.AssetRecord) -> tuple[int | None, int]:
    """What the last materialization expects of the next run, and the budget that it ran with."""
    last = record.asset_entry.last_materialization
    metadata = last.asset_materialization.metadata if last and last.asset_materialization else {}
    expected, budget = (metadata.get(name) for name in (EXPECTED_MEMORY, "budget_bytes"))
    return _number(expected), _number(budget) or 0


def _number(value: dg.MetadataValue[Any] | None) -> int | None:
    return value.value if value is not None and isinstance(value.value, int) else None

"""How large a run will be, in the words of whoever places it: Dagster's queue and Kubernetes."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg

from import_platform.core.budget import MIB, MemoryBudget, parse_bytes
from import_platform.core.run_size import KUBERNETES_TAG, MEMORY_TAG, kubernetes_config, largest, memory_class
from import_platform.errors import ConfigError
from import_platform.pipeline.repartition import predicted_peak_bytes
from import_platform.resources.memory import default_bytes
from import_platform.resources.naming import EXPECTED_MEMORY, asset_key
from import_platform.resources.project import read_settings

BASE_BYTES = 200 * MIB
"""What a run's process holds before any work, imports above all."""


def size_tags(instance: dg.DagsterInstance, source: str, tables: Collection[str]) -> dict[str, str]:
    """Tags of a run that works on these tables one after the other, by what their last syncs expect of the next.

    One query for all of them. A table whose last event says nothing makes the run a large one. In Kubernetes the run's
    pod gets its request and limit, unless nobody ever said how much memory runs have.
    """
    records = instance.get_asset_records([asset_key(source, table) for table in tables])
    said = [_said(record) for record in records]
    unknown = [None] * (len(tables) - len(said))
    expected = largest([*(each[0] for each in said), *unknown])
    budget_bytes = max((each[1] for each in said), default=0) or setting_bytes()
    tags = {MEMORY_TAG: str(memory_class(expected, budget_bytes=budget_bytes or default_bytes()))}
    if budget_bytes and in_kubernetes():
        tags[KUBERNETES_TAG] = json.dumps(kubernetes_config(expected, budget_bytes=budget_bytes))
    return tags


def rewrite_tags() -> dict[str, str]:
    """Tags of a run that rewrites leaves: its peak follows from its budget, whatever the leaf."""
    budget_bytes = setting_bytes()
    total_bytes = budget_bytes or default_bytes()
    expected = predicted_peak_bytes(MemoryBudget(total_bytes, BASE_BYTES))
    tags = {MEMORY_TAG: str(memory_class(expected, budget_bytes=total_bytes))}
    if budget_bytes and in_kubernetes():
        tags[KUBERNETES_TAG] = json.dumps(kubernetes_config(expected, budget_bytes=budget_bytes))
    return tags


def step_tags() -> dict[str, Any]:
    """Tags of every table's step, for executors that give each step a pod of its own: these do not read a run's tags,
    and no step is known when definitions load, so each gets the whole budget."""
    budget_bytes = setting_bytes()
    return (
        {KUBERNETES_TAG: kubernetes_config(None, budget_bytes=budget_bytes)} if budget_bytes and in_kubernetes() else {}
    )


def in_kubernetes(environ: Mapping[str, str] = os.environ) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ


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

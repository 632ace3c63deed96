"""How large a run is for whoever places it: a class for Dagster's queue, a request for a Kubernetes pod. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from import_platform.core.budget import MIB

MEMORY_TAG = "import_platform/memory"
KUBERNETES_TAG = "dagster-k8s/config"
SMALL_PERCENT, MEDIUM_PERCENT = 30, 60
LIMIT_PERCENT = 125
"""A pod's limit over the budget inside it, which by default is 80 % of the limit."""

_NEED = re.compile(r"_([0-9]{1,7})M\]$")


class MemoryClass(StrEnum):
    """The value of MEMORY_TAG on a run."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


def memory_class(expected_bytes: int | None, *, budget_bytes: int) -> MemoryClass:
    """By the share of the budget that the run is expected to hold; a run of which nothing is known counts as large."""
    if expected_bytes is None or expected_bytes * 100 > budget_bytes * MEDIUM_PERCENT:
        return MemoryClass.LARGE
    return MemoryClass.SMALL if expected_bytes * 100 <= budget_bytes * SMALL_PERCENT else MemoryClass.MEDIUM


def largest(expected: Iterable[int | None]) -> int | None:
    """What a run holds that works on its tables one after the other; None when one of them is unknown."""
    known = list(expected)
    return None if None in known else max((bytes_ for bytes_ in known if bytes_ is not None), default=None)


def kubernetes_config(expected_bytes: int | None, *, budget_bytes: int, cpu: str = "") -> dict[str, Any]:
    """The value of KUBERNETES_TAG: the pod asks for what the run is expected to hold, and is limited by its budget.

    In whole MiB, rounded up. An unknown run asks for its whole limit. Without `cpu` nothing is said about it.
    """
    limit = -(-budget_bytes * LIMIT_PERCENT // 100 // MIB)
    expected = limit if expected_bytes is None else -(-expected_bytes * LIMIT_PERCENT // 100 // MIB)
    requests = {"memory": f"{min(max(expected, 1), limit)}Mi"} | ({"cpu": cpu} if cpu else {})
    return {"container_config": {"resources": {"requests": requests, "limits": {"memory": f"{limit}Mi"}}}}


def step_label(number: int, need_bytes: int) -> str:
    """What one of several like steps is called, so that whoever places it knows its need: Dagster gives all of them the
    same tags. Letters, digits and underscores, as in a step's key."""
    return f"{number}_{-(-need_bytes // MIB)}M"


def step_bytes(step_key: str) -> int | None:
    """The need in a step's key, `write[part_3_640M]`; None where it says nothing."""
    found = _NEED.search(step_key)
    return int(found[1]) * MIB if found else None

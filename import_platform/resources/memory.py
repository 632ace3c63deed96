"""The memory budget of this process: what IMPORT_PLATFORM_MEMORY says, else 80 % of what the machine lets us use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from import_platform.core.budget import MemoryBudget, budget_of, parse_bytes
from import_platform.io.cgroup import CGROUP_ROOT, limits_bytes
from import_platform.io.grants import Grants
from import_platform.io.memory import held_bytes

SHARE_PERCENT = 80


def memory_budget(setting: str | None) -> MemoryBudget:
    """The budget of a step that starts now; what the process already holds counts as its base.

    Raises:
        ConfigError: the setting is not a size, or under 320 MiB.
    """
    total_bytes = parse_bytes(setting, name="IMPORT_PLATFORM_MEMORY") if setting else default_bytes()
    return budget_of(total_bytes, base_bytes=min(held_bytes(), total_bytes))


@contextmanager
def shared_budget(setting: str | None) -> Iterator[MemoryBudget]:
    """The budget of a step that may run beside others of this process: what those hold is no base of its own.

    The base is measured when nobody works, and kept until the last one has ended. Raises as `memory_budget`.
    """
    with _lock:
        _working.append(_working[0] if _working else memory_budget(setting))
        budget = _working[0]
    try:
        yield budget
    finally:
        with _lock:
            _working.pop()


_lock = threading.Lock()
_working: list[MemoryBudget] = []


def shared_grants(folder: Path, budget: MemoryBudget) -> Grants:
    """What the tables that are worked on from one project share, in whatever process: the bytes that are free."""
    return Grants(tickets_folder(folder), budget.free_bytes)


def tickets_folder(home: Path) -> Path:
    """Where the processes of one project leave the tickets of their steps."""
    return home / "memory"


def default_bytes(root: Path = CGROUP_ROOT) -> int:
    """80 % of the tightest cgroup limit, else of the memory that is free now."""
    limit = min(limits_bytes(root), default=None)
    available = psutil.virtual_memory().available if limit is None else limit
    return available * SHARE_PERCENT // 100

"""What the checks of a table remember from sync to sync. Pure; stored as JSON beside the table's staging."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl

BIG_ROWS = 20_000_000
BIG_EVERY = timedelta(days=1)
"""Files that may share keys and hold more rows than this are looked at once a day, because every sync changes some of
them: 11 M keys of 32 characters, or 50 M whole numbers, are read and compared in a second."""

COUNT_PAUSE = timedelta(minutes=10)
COUNT_SHARE = 0.01
"""Counting at the source takes at most this share of the time, and is done at most every ten minutes."""


@dataclass(frozen=True)
class Counted:
    """Rows at the source and in the lake at one time. `source_rows` None: it did not count within the time limit."""

    at: datetime
    seconds: float
    source_rows: int | None
    lake_rows: int

    def is_due(self, now: datetime) -> bool:
        return now - self.at >= max(COUNT_PAUSE, timedelta(seconds=self.seconds / COUNT_SHARE))


@dataclass(frozen=True)
class CheckState:
    """`passed` names groups of files without a duplicate key, `big` when each big one was last looked at; `columns` are
    the source's of the last sync; `complete_at` is when the last one began that came to its end; `incident` the number
    of the table's last one."""

    version: int | None = None
    passed: frozenset[str] = frozenset()
    big: Mapping[str, datetime] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    counted: Counted | None = None
    complete_at: datetime | None = None
    incident: int | None = None

    def to_json(self) -> bytes:
        value = asdict(self) | {"passed": sorted(self.passed)}
        return json.dumps(value, default=datetime.isoformat).encode()


def check_state_from_json(data: bytes) -> CheckState:
    value: dict[str, Any] = json.loads(data)
    counted, complete_at = value["counted"], value["complete_at"]
    return CheckState(
        version=value["version"],
        passed=frozenset(value["passed"]),
        big={name: datetime.fromisoformat(at) for name, at in value["big"].items()},
        columns=value["columns"],
        counted=Counted(**counted | {"at": datetime.fromisoformat(counted["at"])}) if counted else None,
        complete_at=datetime.fromisoformat(complete_at) if complete_at else None,
        incident=value.get("incident"),
    )


@dataclass(frozen=True)
class FileGroup:
    """Files that may hold the same key, while no file outside can. `scope` is the same from sync to sync."""

    scope: str
    paths: tuple[str, ...]
    rows: int

    @property
    def fingerprint(self) -> str:
        return hashlib.blake2b("\n".join(sorted(self.paths)).encode(), digest_size=8).hexdigest()


def file_groups(files: pl.DataFrame, first_key: str, *, by_leaf: bool) -> list[FileGroup]:
    """The files cut where the bounds of the first key column leave a gap; `by_leaf` where the leaf is told by the key.

    Files without bounds may hold any key, so that their scope is one group.
    """
    low, high = f"min.{first_key}", f"max.{first_key}"
    bounded = low in files.columns and high in files.columns
    groups: list[FileGroup] = []
    scopes = files.partition_by("leaf", maintain_order=True) if by_leaf else [files]
    for scope in scopes:
        if not scope.height:
            continue
        name = str(scope["leaf"][0]) if by_leaf else ""
        if not bounded or scope[low].null_count() or scope[high].null_count():
            groups.append(FileGroup(name, tuple(scope["path"]), int(scope["rows"].sum())))
        else:
            groups += _cut(name, scope.sort(low, high), low, high)
    return groups


def _cut(scope: str, files: pl.DataFrame, low: str, high: str) -> list[FileGroup]:
    """`files` ascend by their lower bound: a group ends where the next file begins past all that came before."""
    reach = files[high].cum_max() if files[high].dtype.is_numeric() or files[high].dtype.is_temporal() else None
    highs = reach.to_list() if reach is not None else _running_max(files[high].to_list())
    lows = files[low].to_list()
    ends = [at + 1 for at, (top, (_, below)) in enumerate(zip(highs, pairwise(lows), strict=False)) if below > top]
    groups, begin = [], 0
    for end in [*ends, files.height]:
        part = files[begin:end]
        groups.append(FileGroup(f"{scope}:{lows[begin]}", tuple(part["path"]), int(part["rows"].sum())))
        begin = end
    return groups


def _running_max(values: Sequence[Any]) -> list[Any]:
    """Polars has no running maximum of text."""
    top, found = values[0], []
    for value in values:
        top = max(top, value)
        found.append(top)
    return found

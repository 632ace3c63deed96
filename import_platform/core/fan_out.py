"""Sharing one large flush among several steps: who gets which leaves, how much memory each needs, what they hand in.

A step plans and rewrites for its own leaves as the whole flush would: which rows a leaf loses and gets depends on the
keys of all rows, on the files of that leaf, and on nothing another step does. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from import_platform.core.budget import MINIMUM_BYTES, MemoryBudget

STEPS = 4
MINIMUM_STEPS = 2
BASE_BYTES = 200 << 20
"""What a step's process holds before any work, imports above all."""

SHARES = 4
"""Source rows get a quarter of what is free, and rewriting workers another (`MemoryBudget`)."""


@dataclass(frozen=True)
class FanOut:
    """From how many bytes on a flush is shared (files that it rewrites at most, and what is staged), and by how many
    steps at most."""

    over_bytes: int
    steps: int = STEPS


@dataclass(frozen=True)
class Share:
    """Some of a table's leaves: those named, or with `others` all but those."""

    leaves: frozenset[str]
    others: bool = False

    def of(self, leaf: pl.Series) -> pl.Series:
        """Whether each of these leaves belongs to it."""
        named = leaf.is_in(list(self.leaves))
        return ~named if self.others else named


@dataclass(frozen=True)
class Part:
    """What one step gets: leaves, the staged rows that go to them, and what its process needs to hold at most."""

    number: int
    leaves: tuple[str, ...]
    rows: int
    need_bytes: int

    @property
    def share(self) -> Share:
        return Share(frozenset(self.leaves))


@dataclass(frozen=True)
class FanOutPlan:
    """A flush shared among steps: everything they need, so that none of them asks the source.

    `version` is the table's when it was made, -1 before the first; `schema` (Arrow IPC, hexadecimal), `identity`,
    `cursor`, `deleted` and `by_key` are those of the merge; `chunks` are those that are flushed. `counts` are the
    staged rows per leaf in the layout of `version`. `swaps` says that all files there go away. `read` is what reading
    the pass took, for its report.
    """

    id: str
    version: int
    schema: str
    identity: str
    cursor: str | None
    deleted: str | None
    by_key: bool
    swaps: bool
    chunks: tuple[str, ...]
    counts: Mapping[str, int]
    parts: tuple[Part, ...]
    limit_bytes: int | None = None
    read: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()


def plan_from_json(data: bytes) -> FanOutPlan:
    value = json.loads(data)
    parts = tuple(Part(**part | {"leaves": tuple(part["leaves"])}) for part in value["parts"])
    return FanOutPlan(**value | {"chunks": tuple(value["chunks"]), "parts": parts})


@dataclass(frozen=True)
class PartDone:
    """What a step has written, committed by nobody yet: its files, those that they replace, and what a plan counts."""

    number: int
    adds: tuple[Mapping[str, Any], ...]
    removes: tuple[str, ...]
    incoming_rows: int
    counts: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()


def part_from_json(data: bytes) -> PartDone:
    value = json.loads(data)
    return PartDone(**value | {"adds": tuple(value["adds"]), "removes": tuple(value["removes"])})


def leaf_bytes(
    files: pl.DataFrame | None, counts: Mapping[str, int], *, row_bytes: float, swaps: bool
) -> dict[str, int]:
    """What a flush has to do with each leaf, in bytes: staged rows that go there, decoded, and files that they can
    touch at most. A leaf without staged rows is looked through only, which counts as a sixteenth.

    `counts` are the staged rows per leaf, `row_bytes` what one decodes to; `files` None: there is no table yet.
    """
    work = {leaf: int(rows * row_bytes) for leaf, rows in counts.items()}
    if files is None:
        return work
    sizes = files.group_by("leaf").agg(pl.col("size_bytes").sum(), pl.col("size_bytes").max().alias("largest"))
    for leaf, size, largest in sizes.select("leaf", "size_bytes", "largest").iter_rows():
        touched = min(size, counts[leaf] * largest) if counts.get(leaf) else size // 16
        work[leaf] = work.get(leaf, 0) + (0 if swaps else touched)
    return work


def divided(work: Mapping[str, int], steps: int) -> list[tuple[str, ...]]:
    """The leaves in at most so many parts of about the same work; none is empty. The largest leaf is placed first."""
    parts: list[list[str]] = [[] for _ in range(max(1, min(steps, len(work))))]
    loads = [0] * len(parts)
    for leaf in sorted(work, key=lambda name: (-work[name], name)):
        least = loads.index(min(loads))
        loads[least] += work[leaf] + 1
        parts[least].append(leaf)
    return [tuple(sorted(part)) for part in parts if part]


def need_bytes(rows: int, *, all_rows: int, row_bytes: float, remembered_bytes: int, worker_bytes: int) -> int:
    """The budget with which a step holds its rows and works with two workers, so that more would not help it.

    `remembered_bytes` is what a merge remembers of each of `all_rows`, because keys are compared with all of them.
    """
    held = max(2 * rows * row_bytes, all_rows * remembered_bytes)
    return max(BASE_BYTES + SHARES * max(int(held), 2 * worker_bytes), MINIMUM_BYTES)


def within(budget: MemoryBudget, need: int) -> MemoryBudget:
    """The budget, or the part of it that a step of this need was promised."""
    total_bytes = min(budget.total_bytes, budget.base_bytes + max(need - BASE_BYTES, 0))
    return MemoryBudget(total_bytes, budget.base_bytes, budget.rewrite_divisor, budget.gather_divisor)


def intact(
    parts: Sequence[Part], changed: Collection[str], counts: Mapping[str, int], now: Mapping[str, int]
) -> set[int]:
    """Numbers of parts that a commit in between left as they were: it touched none of their leaves, and their rows go
    where they went.

    `changed` are the leaves of files that came or went, `counts` and `now` the staged rows per leaf before and after.
    A leaf's rows are those that its name covers, or none, so equal counts are the same rows.
    """
    return {
        part.number
        for part in parts
        if not set(changed) & set(part.leaves) and all(counts.get(leaf, 0) == now.get(leaf, 0) for leaf in part.leaves)
    }

"""How much memory a step of a table asks for, learned from what its earlier steps held. Pure.

A step plans with what its budget bounds. What the table's own steps held moves the next grant away from that plan, down
to half of it and up to all there is; a step that was killed, or stopped itself, is remembered longer than the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

KEPT = 20
"""Observations kept per kind of step: a day of hourly syncs."""
LEARNS_AFTER = 3
MARGIN_PERCENT = 125
SATURATED_PERCENT = 80
"""A step that held so much of its grant might have held more of a larger one: the next grant is larger."""
GROWTH_PERCENT = 150
LEAST_PERCENT = 50
"""The least share of its plan that a learned grant falls to, however little its steps held."""
REMEMBERED = 5
"""So many clean steps after a hit ask for no less than it did with its margin; then a tenth of it goes at each."""
DECAY_PERCENT = 90


class Step(StrEnum):
    """What a grant is for."""

    READ = "read"
    FLUSH = "flush"
    REWRITE = "rewrite"


@dataclass(frozen=True)
class Observation:
    """One step: bytes beyond the process's base. `hit`: it was killed for memory, or stopped itself short of it."""

    planned_bytes: int
    granted_bytes: int
    held_bytes: int
    hit: bool = False


@dataclass(frozen=True)
class StepHistory:
    """The last steps of a table by kind, the oldest first."""

    steps: Mapping[Step, tuple[Observation, ...]] = field(default_factory=dict)

    def of(self, step: Step) -> tuple[Observation, ...]:
        return self.steps.get(step, ())

    def with_step(self, step: Step, seen: Observation) -> StepHistory:
        return replace(self, steps={**self.steps, step: (*self.of(step), seen)[-KEPT:]})

    def as_json(self) -> dict[str, Any]:
        return {
            str(step): [[o.planned_bytes, o.granted_bytes, o.held_bytes, int(o.hit)] for o in each]
            for step, each in self.steps.items()
        }


def history_from_json(value: Mapping[str, Any]) -> StepHistory:
    """Kinds of steps that another release knows are left out."""
    known = [step for step in Step if step in value]
    return StepHistory({step: tuple(Observation(p, g, h, bool(hit)) for p, g, h, hit in value[step]) for step in known})


def asked_bytes(history: Sequence[Observation], planned_bytes: int, *, most_bytes: int, may_shrink: bool = True) -> int:
    """The next grant of a kind of step, at most `most_bytes`.

    Never less than half of the plan, or than the plan itself unless it `may_shrink`; never less than what a hit asked
    for or held, for REMEMBERED steps after it.
    """
    least = planned_bytes * LEAST_PERCENT // 100 if may_shrink else planned_bytes
    learned = max(expected_bytes(history, planned_bytes), least)
    return min(learned, max(most_bytes, 0))


def expected_bytes(history: Sequence[Observation], planned_bytes: int) -> int:
    """What the next step is expected to hold beyond the base, margin included; the plan while too little is known."""
    clean = [seen for seen in history if not seen.hit and seen.planned_bytes > 0]
    learned = planned_bytes
    if len(clean) >= LEARNS_AFTER:
        learned = max(_next_bytes(seen) * planned_bytes // seen.planned_bytes for seen in clean)
    return max(learned, reserved_bytes(history))


def reserved_bytes(history: Sequence[Observation]) -> int:
    """What hits still ask for, whatever was held since; 0 without one."""
    reserved = 0
    for at, seen in enumerate(history):
        if seen.hit:
            since = max(len(history) - 1 - at - REMEMBERED, 0)
            bytes_ = max(seen.held_bytes, seen.granted_bytes) * GROWTH_PERCENT // 100
            reserved = max(reserved, bytes_ * DECAY_PERCENT**since // 100**since)
    return reserved


def _next_bytes(seen: Observation) -> int:
    if seen.held_bytes * 100 >= seen.granted_bytes * SATURATED_PERCENT:
        return max(seen.held_bytes, seen.granted_bytes) * GROWTH_PERCENT // 100
    return seen.held_bytes * MARGIN_PERCENT // 100

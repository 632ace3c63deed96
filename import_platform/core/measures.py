"""What a table's next runs do differently after its memory ran out, and when they are done with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from import_platform.core.budget import MemoryBudget

RELAXED_AFTER = 10
"""Syncs that come through before a measure is taken back."""
FIRST_PAUSE = timedelta(minutes=5)


class Measure(StrEnum):
    """In the order in which they are taken, one more at each kill; earlier ones stay in force."""

    FEWER_WORKERS = "fewer workers"
    SMALLER_CHUNKS = "smaller chunks"
    SPLIT_LEAF = "split the largest leaf"
    ASK_PERSON = "ask a person"


LADDER = tuple(Measure)


@dataclass(frozen=True)
class Measures:
    """How many of LADDER are in force, and the clean syncs since the last change."""

    level: int = 0
    clean: int = 0

    @property
    def last(self) -> Measure | None:
        return LADDER[self.level - 1] if self.level else None

    @property
    def pause(self) -> timedelta:
        """How long schedules leave the table alone after the kill that led here: 5 minutes, then four times longer."""
        return FIRST_PAUSE * 4 ** (self.level - 1) if self.level else timedelta()

    def after_kill(self) -> Measures:
        return Measures(min(self.level + 1, len(LADDER)))

    def after_success(self) -> Measures:
        """One measure less after RELAXED_AFTER syncs in a row that came through."""
        if not self.level:
            return self
        if self.clean + 1 < RELAXED_AFTER:
            return replace(self, clean=self.clean + 1)
        return Measures(self.level - 1)

    def as_json(self) -> dict[str, int]:
        return {"level": self.level, "clean": self.clean}


def measures_from_json(value: Mapping[str, Any]) -> Measures:
    return Measures(min(max(int(value.get("level", 0)), 0), len(LADDER)), int(value.get("clean", 0)))


def tightened(budget: MemoryBudget, measures: Measures) -> MemoryBudget:
    """The budget with the shares that the measures leave: one rewriting worker, then pages and chunks of a half, of a
    quarter."""
    if not measures.level:
        return budget
    return replace(budget, rewrite_divisor=4, gather_divisor=1 << min(measures.level - 1, 2))

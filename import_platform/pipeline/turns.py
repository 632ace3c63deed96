"""The one grant that a table holds at a time: to read, to flush what it has staged, or to rewrite its leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol, Self

from import_platform.core.budget import MemoryBudget
from import_platform.core.grants import Holder
from import_platform.core.step_memory import Observation, Step
from import_platform.errors import MemoryBudgetExceeded
from import_platform.io.memory import MemoryWatch
from import_platform.pipeline.step_sizes import StepSizes


class Given(Protocol):
    """What was granted; see `io.grants.Grant`."""

    def give_back(self) -> None: ...

    def note(self, held_bytes: int) -> None: ...


class Granting(Protocol):
    """Who grants; see `io.grants.Grants`."""

    def take(self, size_bytes: int, *, stop: Callable[[], bool], holder: Holder | None = None) -> Given: ...


@dataclass
class _Held:
    step: Step
    planned_bytes: int
    granted_bytes: int
    given: Given
    watch: MemoryWatch
    watching: ExitStack = field(default_factory=ExitStack)
    alone: bool = True


_working: list[_Held] = []
_working_lock = threading.Lock()


class Turns:
    """Waits before each kind of step until its share of the budget is free. Without `grants` nobody ever waits.

    What was read is on disk when a flush asks, so the grant of reading goes back first: a table that waits holds none,
    and two tables cannot wait for each other. With `sizes` grants follow what the table's steps held, and what they
    hold now is measured; a step beside another of this process proves nothing, so it is learned from only when it met
    the budget.
    """

    def __init__(
        self,
        grants: Granting | None,
        budget: MemoryBudget,
        stop: Callable[[], bool],
        *,
        sizes: StepSizes | None = None,
    ) -> None:
        self._grants = grants
        self._whole = budget
        self._stop = stop
        self._sizes = sizes
        self._held: _Held | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(hit=isinstance(error, MemoryBudgetExceeded))
        if self._sizes is not None:
            self._sizes.save(came_through=error is None)

    @property
    def budget(self) -> MemoryBudget:
        """What the step that holds the grant may use: the whole budget, or its part where less was granted."""
        held = self._held
        if held is None or held.granted_bytes >= held.planned_bytes:
            return self._whole
        free = self._whole.free_bytes * held.granted_bytes // held.planned_bytes
        return replace(self._whole, total_bytes=self._whole.base_bytes + free)

    def read(self) -> None:
        """Before pages are read. Raises Interrupted when stopped while waiting."""
        self._switch(Step.READ, self._whole.extract_bytes)

    def flush(self, staged_bytes: int | None = None) -> None:
        """Before staged chunks are merged, of so many decoded bytes (None: nobody knows, so the plan is asked for).

        Raises Interrupted when stopped while waiting.
        """
        planned = self._whole.flush_bytes
        least = planned if staged_bytes is None else min(_room_for(staged_bytes, self._whole), planned)
        self._switch(Step.FLUSH, planned, least_bytes=least)

    def rewrite(self, planned_bytes: int) -> None:
        """Before leaves are split, merged back or compacted. Raises Interrupted when stopped while waiting."""
        self._switch(Step.REWRITE, min(planned_bytes, self._whole.free_bytes))

    def give_back(self) -> None:
        self._end(hit=False)

    def _switch(self, step: Step, planned_bytes: int, *, least_bytes: int = 0) -> None:
        held = self._held
        if self._grants is None or (held and held.step is step and held.granted_bytes >= least_bytes):
            return
        self.give_back()
        sizes = self._sizes
        if sizes is None:
            given, size = self._grants.take(planned_bytes, stop=self._stop), planned_bytes
        else:
            size = max(sizes.asked(step, planned_bytes), least_bytes)
            given = self._grants.take(size, stop=self._stop, holder=sizes.holder(step, planned_bytes))
        base = self._whole.base_bytes
        watch = MemoryWatch(on_peak=lambda peak: given.note(peak - base))
        self._held = _Held(step, planned_bytes, size, given, watch)
        with _working_lock:
            _working.append(self._held)
            for each in _working:
                each.alone = each.alone and len(_working) == 1
        if sizes is not None:
            self._held.watching.enter_context(watch)

    def _end(self, *, hit: bool) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        with _working_lock:
            _working.remove(held)
        if self._sizes is not None:
            held.watching.close()
            peak = max(held.watch.peak_bytes - self._whole.base_bytes, 0)
            if hit or held.alone:
                seen = Observation(held.planned_bytes, held.granted_bytes, peak, hit)
                self._sizes.saw(held.step, seen)
        held.given.give_back()


def _room_for(staged_bytes: int, budget: MemoryBudget) -> int:
    """The least grant whose part of a merge holds the staged rows three times, so that few rows may get less."""
    return 3 * staged_bytes * budget.flush_bytes // max(budget.merge_bytes, 1)

"""The one grant that a table holds at a time: to read, or to flush what it has staged."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from import_platform.core.budget import MemoryBudget


class Given(Protocol):
    """What was granted; see `io.grants.Grant`."""

    def give_back(self) -> None: ...


class Granting(Protocol):
    """Who grants; see `io.grants.Grants`."""

    def take(self, size_bytes: int, *, stop: Callable[[], bool]) -> Given: ...


class Turns:
    """Waits before each kind of step until its share of the budget is free. Without `grants` nobody ever waits.

    What was read is on disk when a flush asks, so the grant of reading goes back first: a table that waits holds none,
    and two tables cannot wait for each other.
    """

    def __init__(self, grants: Granting | None, budget: MemoryBudget, stop: Callable[[], bool]) -> None:
        self._grants = grants
        self._budget = budget
        self._stop = stop
        self._held: tuple[int, Given] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    def read(self) -> None:
        """Before pages are read. Raises Interrupted when stopped while waiting."""
        self._switch(self._budget.extract_bytes)

    def flush(self) -> None:
        """Before staged chunks are merged. Raises Interrupted when stopped while waiting."""
        self._switch(self._budget.flush_bytes)

    def give_back(self) -> None:
        if self._held is not None:
            self._held[1].give_back()
            self._held = None

    def _switch(self, size_bytes: int) -> None:
        if self._grants is None or (self._held is not None and self._held[0] == size_bytes):
            return
        self.give_back()
        self._held = (size_bytes, self._grants.take(size_bytes, stop=self._stop))

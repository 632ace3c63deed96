"""How large a table's steps ask to be, from what its earlier ones held; and what these ones held, for the next run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from import_platform.core.budget import MemoryBudget
from import_platform.core.grants import Holder
from import_platform.core.step_memory import Observation, Step, StepHistory, asked_bytes, expected_bytes
from import_platform.errors import ImportPlatformError
from import_platform.io.lake import Lake
from import_platform.io.table_memory import TableMemory, read_memory, write_memory


@dataclass
class StepSizes:
    """Of one run on one table. Mutable: the run's steps are added as they end, and `save` writes them."""

    lake: Lake
    source: str
    table: str
    budget: MemoryBudget
    run_id: str = ""
    told: Callable[[str], None] = lambda sentence: None
    memory: TableMemory = field(default_factory=TableMemory)
    _seen: list[tuple[Step, Observation]] = field(default_factory=list)

    def asked(self, step: Step, planned_bytes: int) -> int:
        """The grant to ask for. Only a flush, which is bounded by what it gets, asks for less than planned."""
        known = self._history().of(step)
        may_shrink = step is Step.FLUSH
        return asked_bytes(known, planned_bytes, most_bytes=self.budget.free_bytes, may_shrink=may_shrink)

    def holder(self, step: Step, planned_bytes: int) -> Holder:
        return Holder(
            f"{self.source}/{self.table}",
            str(step),
            run_id=self.run_id,
            budget_bytes=self.budget.total_bytes,
            base_bytes=self.budget.base_bytes,
            planned_bytes=planned_bytes,
        )

    def saw(self, step: Step, seen: Observation) -> None:
        self._seen.append((step, seen))

    @property
    def expected_bytes(self) -> int | None:
        """What the next run is expected to hold at most, base included; None while too little is known."""
        history = self._history()
        plans = {Step.READ: self.budget.extract_bytes, Step.FLUSH: self.budget.flush_bytes}
        known = [expected_bytes(history.of(step), plan) for step, plan in plans.items() if history.of(step)]
        return self.budget.base_bytes + min(max(known), self.budget.free_bytes) if known else None

    def save(self, *, came_through: bool) -> None:
        """Adds this run's steps to what the lake has by now. A run without any leaves everything as it was.

        A lake that is away loses them: only the next grant is less well known.
        """
        if not self._seen:
            return
        try:
            memory = read_memory(self.lake, self.source, self.table)
            measures = memory.measures.after_success() if came_through else memory.measures
            self.memory = replace(memory, measures=measures)
            write_memory(self.lake, self.source, self.table, replace(self.memory, history=self._history()))
        except ImportPlatformError as error:
            self.told(f"what its steps held could not be recorded: {error.message}")

    def _history(self) -> StepHistory:
        history = self.memory.history
        for step, seen in self._seen:
            history = history.with_step(step, seen)
        return history

"""The Dagster resource from which a step gets its lake, its budget and its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import dagster as dg

from import_platform.core.budget import MemoryBudget
from import_platform.core.fan_out import within
from import_platform.core.imported import TablePatterns
from import_platform.core.measures import tightened
from import_platform.core.report import Observer
from import_platform.core.table import CheckSettings, DeclaredTable, Labels
from import_platform.io.lake import Lake
from import_platform.io.table_memory import read_memory
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.step_sizes import StepSizes
from import_platform.pipeline.turns import Turns
from import_platform.resources.connection import Connection
from import_platform.resources.memory import shared_budget, shared_grants
from import_platform.resources.project import read_settings
from import_platform.sources.protocol import Source
from import_platform.sources.registry import open_source


@dataclass(frozen=True)
class SourceConfig:
    """A declared source as assets, jobs and checks know it; nothing in it needs the source or a secret.

    `patterns` choose tables among those that discovery finds; None where every table is declared by name, and then
    `tables` are all of them. `labels` and
    `checks` are those of tables that say nothing themselves.
    """

    name: str
    connection: Connection
    schedule: str | None = None
    reconcile: str | None = None
    patterns: TablePatterns | None = None
    labels: Labels = field(default_factory=Labels)
    checks: CheckSettings = field(default_factory=CheckSettings)
    tables: frozenset[str] | None = None


def partition_max_bytes(declared: DeclaredTable) -> int:
    """What a leaf of this table may hold before it is split."""
    return declared.partition_max_bytes or read_settings().partition_max_bytes


def _with_secrets(declared: DeclaredTable) -> DeclaredTable:
    """With what its enrichments need to ask. Raises ConfigError where a variable is not set."""
    return replace(declared, enrich=tuple(replace(e, call=Connection(e.call).resolve()) for e in declared.enrich))


class PlatformResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Lake and memory of a run. Left empty, they come from IMPORT_PLATFORM_LAKE and IMPORT_PLATFORM_MEMORY."""

    lake_uri: str = ""
    memory: str = ""

    def lake(self) -> Lake:
        return Lake(self.lake_uri or read_settings().lake_uri)

    @contextmanager
    def source(self, config: SourceConfig) -> Iterator[Source]:
        """The open source, closed when the block ends. Raises ConfigError where a variable is not set."""
        opened = open_source(config.name, config.connection.resolve())
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def table(
        self,
        config: SourceConfig,
        declared: DeclaredTable,
        observer: Observer,
        *,
        stop: Callable[[], bool],
        max_run_seconds: float,
        run_id: str = "",
    ) -> Iterator[TableContext]:
        """All that one sync of one table needs. After a kill its budget is the one that the measures leave."""
        settings = read_settings()
        lake = self.lake()
        known = read_memory(lake, config.name, declared.name)
        with shared_budget(self.memory or settings.memory) as whole, self.source(config) as source:
            budget = tightened(whole, known.measures)
            sizes = StepSizes(lake, config.name, declared.name, budget, run_id=run_id, memory=known)
            yield TableContext(
                config.name,
                _with_secrets(declared),
                source,
                lake,
                budget,
                observer=observer,
                stop=stop,
                max_run_seconds=max_run_seconds,
                partition_max_bytes=None if declared.pinned else partition_max_bytes(declared),
                grants=shared_grants(settings.home, budget),
                sizes=sizes,
                tables=config.tables,
            )

    @contextmanager
    def share(self, source: str, table: str, need_bytes: int, *, stop: Callable[[], bool]) -> Iterator[MemoryBudget]:
        """What one of several steps on a table may use, granted beside the others while the block runs."""
        settings = read_settings()
        known = read_memory(self.lake(), source, table)
        with shared_budget(self.memory or settings.memory) as whole:
            budget = tightened(whole, known.measures)
            mine = within(budget, need_bytes)
            with Turns(shared_grants(settings.home, budget), mine, stop) as turns:
                turns.flush()
                yield mine

    @contextmanager
    def turns(
        self, source: str, table: str, *, stop: Callable[[], bool], run_id: str = ""
    ) -> Iterator[tuple[Turns, MemoryBudget]]:
        """A table's way to its share of the memory for work that needs no source, and the budget it may plan with."""
        settings = read_settings()
        lake = self.lake()
        known = read_memory(lake, source, table)
        with shared_budget(self.memory or settings.memory) as whole:
            budget = tightened(whole, known.measures)
            sizes = StepSizes(lake, source, table, budget, run_id=run_id, memory=known)
            with Turns(shared_grants(settings.home, budget), budget, stop, sizes=sizes) as turns:
                yield turns, budget

    @contextmanager
    def whole(self, *, stop: Callable[[], bool]) -> Iterator[MemoryBudget]:
        """All of the memory, for work on no single table: others wait until the block ends. Raises Interrupted."""
        settings = read_settings()
        with (
            shared_budget(self.memory or settings.memory) as budget,
            Turns(shared_grants(settings.home, budget), budget, stop) as turns,
        ):
            turns.rewrite(budget.free_bytes)
            yield budget

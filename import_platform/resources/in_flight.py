"""Which tables the runs and backfills that have not ended yet are about."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG, PARTITION_NAME_TAG

from import_platform.core.names import unescape
from import_platform.resources.naming import SOURCE_TAG, maintain_job, sync_now_job, table_id

UNFINISHED_RUNS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
PARTITION_TAGS = (PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG)
UNFINISHED_BACKFILLS = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]


@dataclass(frozen=True)
class InFlight:
    """What works on a table. A maintenance run and a backfill must end first; a sync may as well wait in the pool."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id[:8]}"

    @property
    def is_sync(self) -> bool:
        return self.kind == "run"


def tables_in_flight(
    instance: dg.DagsterInstance, tables: Mapping[str, Collection[str]], *, besides: str = ""
) -> dict[str, InFlight]:
    """table id -> what works on it, of the tables (source -> names).

    `besides` is the id of a run that does not count: the asker's own.
    """
    found: dict[str, InFlight] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUNS)):
        if run.run_id != besides:
            found |= dict.fromkeys(_tables_of(run, tables), InFlight(_kind_of(run), run.run_id))
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=UNFINISHED_BACKFILLS)):
        found |= dict.fromkeys(_table_ids(backfill.asset_selection or ()), InFlight("backfill", backfill.backfill_id))
    return found


def _kind_of(run: dg.DagsterRun) -> str:
    if run.job_name == maintain_job(run.tags.get(SOURCE_TAG, "")):
        return "maintenance run"
    return "partition run" if any(name in run.tags for name in PARTITION_TAGS) else "run"


def _tables_of(run: dg.DagsterRun, tables: Mapping[str, Collection[str]]) -> list[str]:
    if run.asset_selection:
        return list(_table_ids(run.asset_selection))
    source = run.tags.get(SOURCE_TAG, "")
    named = run.run_config.get("tables") if run.job_name in (sync_now_job(source), maintain_job(source)) else None
    chosen = named if isinstance(named, list) and named else tables.get(source, ())
    return [table_id(source, table) for table in chosen]


def _table_ids(keys: Collection[dg.AssetKey]) -> Iterator[str]:
    for key in keys:
        if len(key.path) == 2:
            yield table_id(key.path[0], unescape(key.path[1]))

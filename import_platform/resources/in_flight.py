"""Which tables the runs and backfills that have not ended yet are about."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

from import_platform.core.names import unescape
from import_platform.resources.naming import SOURCE_TAG, maintain_job, sync_now_job, table_id

UNFINISHED_RUNS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
UNFINISHED_BACKFILLS = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]


def tables_in_flight(
    instance: dg.DagsterInstance, tables: Mapping[str, Collection[str]], *, besides: str = ""
) -> dict[str, str]:
    """table id -> `run 1a2b3c4d` or `backfill abcdefgh`, of the tables (source -> names) that something works on.

    `besides` is the id of a run that does not count: the asker's own.
    """
    found: dict[str, str] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUNS)):
        if run.run_id != besides:
            found |= dict.fromkeys(_tables_of(run, tables), f"run {run.run_id[:8]}")
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=UNFINISHED_BACKFILLS)):
        found |= dict.fromkeys(_table_ids(backfill.asset_selection or ()), f"backfill {backfill.backfill_id}")
    return found


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

"""When the tables of a source are synced without anybody asking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from import_platform.core.report import Status
from import_platform.core.table import DeclaredTable
from import_platform.jobs.dead_runs import end_dead_runs
from import_platform.jobs.due import Tick, choose_tables, cron_of, fires, held_tables
from import_platform.resources.naming import asset_key
from import_platform.resources.platform import SourceConfig

CONTINUE_CRON = "*/10 * * * *"
TIMEZONE = "UTC"

Due = Callable[[dg.DagsterInstance, datetime], list[str]]


def sync_schedules(config: SourceConfig, tables: Sequence[DeclaredTable],
                   job: UnresolvedAssetJobDefinition) -> list[dg.ScheduleDefinition]:
    """One schedule for all crons of the source, and one that goes on with what the time limit interrupted."""
    crons = sorted({cron for table in tables if (cron := cron_of(config, table))})
    if not crons:
        return []

    def by_cron(_instance: dg.DagsterInstance, at: datetime) -> list[str]:
        firing = {cron for cron in crons if fires(cron, at)}
        return [table.name for table in tables if cron_of(config, table) in firing]

    def unfinished(instance: dg.DagsterInstance, _at: datetime) -> list[str]:
        scheduled = [table.name for table in tables if cron_of(config, table)]
        return checkpointed_tables(instance, config.name, scheduled)

    return [
        _schedule(f"sync_{config.name}", crons, by_cron, config, tables, job,
                  f"Syncs the tables of {config.name} that are due and idle. Times are UTC."),
        _schedule(f"sync_{config.name}_continue", [CONTINUE_CRON], unfinished, config, tables, job,
                  "Goes on with tables whose last sync ended at its time limit, so that a long first load "
                  "does not wait for its next regular tick."),
    ]


def _schedule(name: str, crons: list[str], due: Due, config: SourceConfig, tables: Sequence[DeclaredTable],
              job: UnresolvedAssetJobDefinition, text: str) -> dg.ScheduleDefinition:
    @dg.schedule(name=name, cron_schedule=crons if len(crons) > 1 else crons[0], job=job, execution_timezone=TIMEZONE,
                 default_status=dg.DefaultScheduleStatus.RUNNING, description=text)
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        chosen = evaluate(context, due, config, tables)
        if chosen.skip_reason:
            return dg.SkipReason(chosen.skip_reason)
        return dg.RunRequest(asset_selection=[asset_key(config.name, table) for table in chosen.tables])

    return tick


def evaluate(context: dg.ScheduleEvaluationContext, due: Due, config: SourceConfig, tables: Sequence[DeclaredTable]) -> Tick:
    """The tick's choice. Runs whose process died are ended first, or their tables would count as held for ever."""
    at = (context.scheduled_execution_time or datetime.now(UTC)).astimezone(UTC)
    end_dead_runs(context.instance)
    wanted = due(context.instance, at)
    return choose_tables(wanted, held_tables(context.instance, config.name, [table.name for table in tables]))


def checkpointed_tables(instance: dg.DagsterInstance, source: str, tables: Sequence[str]) -> list[str]:
    """Tables whose newest materialization says that more is to come."""
    keys = {asset_key(source, table): table for table in tables}
    found = []
    for record in instance.get_asset_records(list(keys)):
        last = record.asset_entry.last_materialization
        status = last.asset_materialization.metadata.get("status") if last and last.asset_materialization else None
        if status is not None and status.value == str(Status.CHECKPOINTED):
            found.append(keys[record.asset_entry.asset_key])
    return sorted(found)

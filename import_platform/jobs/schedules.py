"""When the tables of a source are synced without anybody asking."""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import dagster as dg

from import_platform.core.report import Status
from import_platform.core.table import DeclaredTable
from import_platform.errors import ImportPlatformError
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.jobs.dead_runs import end_dead_runs
from import_platform.jobs.due import choose_tables, cron_of, fires, held_tables
from import_platform.jobs.source_job import SourceJob
from import_platform.resources.naming import asset_key
from import_platform.resources.platform import SourceConfig
from import_platform.resources.project import read_settings
from import_platform.resources.run_size import size_tags

CONTINUE_CRON = "*/10 * * * *"
TIMEZONE = "UTC"

CONTINUE_TEXT = (
    "Goes on with tables whose last sync ended at its time limit, so that a long first load does not wait "
    "for its next regular tick."
)

Choice = Callable[[dg.ScheduleEvaluationContext], dg.RunRequest | dg.SkipReason]
Due = Callable[[dg.DagsterInstance, datetime], list[str]]


def sync_schedules(
    config: SourceConfig, tables: Sequence[DeclaredTable], job: SourceJob
) -> list[dg.ScheduleDefinition]:
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

    def choice(due: Due) -> Choice:
        return lambda context: evaluate(context, due, config, tables)

    return [
        _schedule(
            f"sync_{config.name}",
            choice(by_cron),
            job,
            crons=crons,
            text=f"Syncs the tables of {config.name} that are due and idle. Times are UTC.",
        ),
        _schedule(f"sync_{config.name}_continue", choice(unfinished), job, crons=[CONTINUE_CRON], text=CONTINUE_TEXT),
    ]


def _schedule(name: str, choice: Choice, job: SourceJob, *, crons: list[str], text: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        cron_schedule=crons if len(crons) > 1 else crons[0],
        job=job,
        execution_timezone=TIMEZONE,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=text,
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return choice(context)

    return tick


def evaluate(
    context: dg.ScheduleEvaluationContext, due: Due, config: SourceConfig, tables: Sequence[DeclaredTable]
) -> dg.RunRequest | dg.SkipReason:
    """One run for the due and idle tables. Runs whose process died are ended first, or they would hold theirs
    for ever.
    """
    at = context.scheduled_execution_time.astimezone(UTC)
    end_dead_runs(context.instance)
    every = due(context.instance, at)
    paused = paused_tables(config.name, every, now=at)
    wanted = [table for table in every if table not in paused]
    if paused and not wanted:
        return dg.SkipReason("; ".join(f"{table} {reason}" for table, reason in sorted(paused.items()))[:1000])
    tick = choose_tables(wanted, held_tables(context.instance, config.name, [table.name for table in tables]))
    if tick.skip_reason:
        return dg.SkipReason(tick.skip_reason)
    tags = size_tags(context.instance, config.name, tick.tables)
    return dg.RunRequest(asset_selection=[asset_key(config.name, table) for table in tick.tables], tags=tags)


def paused_tables(source: str, tables: Sequence[str], *, now: datetime) -> dict[str, str]:
    """Tables that schedules leave alone, with the reason: only a person can help, or their memory ran out a short while
    ago. A lake that is away pauses nothing.
    """
    try:
        incidents = Incidents(Lake(read_settings().lake_uri))
        found = {table: incidents.of_table(source, table) for table in tables}
    except ImportPlatformError:
        return {}
    reasons = {}
    for table, incident in found.items():
        if incident is not None and incident.is_paused:
            reasons[table] = (
                f"is paused by incident {incident.number} that only a person can mend; "
                "a sync by hand that comes through ends the pause"
            )
        elif incident is not None and incident.rests(now):
            reasons[table] = f"rests until {incident.not_before} after incident {incident.number}"
    return reasons


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

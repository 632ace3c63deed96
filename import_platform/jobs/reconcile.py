"""When tables are compared with their source without anybody asking."""

# No postponed annotations: Dagster reads those of the decorated function below at run time.

from collections.abc import Sequence
from datetime import UTC

import dagster as dg

from import_platform.core.table import DeclaredTable
from import_platform.jobs.due import choose_tables, fires, held_tables
from import_platform.resources.naming import reconcile_schedule
from import_platform.resources.platform import SourceConfig


def reconcile_schedules(
    config: SourceConfig, tables: Sequence[DeclaredTable], job: dg.JobDefinition
) -> list[dg.ScheduleDefinition]:
    """One schedule for all crons of comparisons; none when nobody wants any. A table that is worked on waits a tick."""
    crons = {table.name: cron for table in tables if (cron := table.reconcile or config.reconcile)}
    if not crons:
        return []
    every = sorted(set(crons.values()))

    @dg.schedule(
        name=reconcile_schedule(config.name),
        cron_schedule=every if len(every) > 1 else every[0],
        job=job,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Compares tables of {config.name} with the source and repairs what differs. Times are UTC.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        at = context.scheduled_execution_time.astimezone(UTC)
        due = [name for name, cron in crons.items() if fires(cron, at)]
        chosen = choose_tables(due, held_tables(context.instance, config.name, [table.name for table in tables]))
        if chosen.skip_reason:
            return dg.SkipReason(chosen.skip_reason)
        return dg.RunRequest(run_config={"tables": list(chosen.tables), "task": "reconcile"})

    return [tick]

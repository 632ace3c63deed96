"""The job of a source that splits, merges back and compacts leaves: run by the sensor, the command line and people."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from import_platform.core.table import DeclaredTable
from import_platform.jobs.table_job import TableJob, TableStep, table_job
from import_platform.resources.naming import maintain_job
from import_platform.resources.platform import SourceConfig

SILENCE = {"console": {"config": {"log_level": "CRITICAL"}}}
TASKS = ["repartition", "compact", "replay", "reconcile", "enrich"]
OPTIONS = {
    "task": dg.Field(
        dg.Enum("MaintenanceTask", [dg.EnumValue(task) for task in TASKS]),
        default_value="repartition",
        description="repartition splits leaves over the limit and merges small old ones back; compact merges the small "
        "files of each leaf and deletes dead ones; replay puts rejected rows that fit by now into the lake; reconcile "
        "compares keys and rows with the source and repairs what differs; enrich asks again for rows whose enrichment "
        "has no answer.",
    ),
    "max_bytes": dg.Field(int, default_value=0, description="Limit of a leaf; 0 means the table's own."),
    "by_hand": dg.Field(bool, default_value=True, description="Look again at leaves that were found unsplittable."),
    "to": dg.Field(
        str,
        default_value="",
        description="Another partition for the tables, such as created_at:month, id:1000000, "
        "hash:16 or none; their defs.yaml must then say the same.",
    ),
    "dry_run": dg.Field(bool, default_value=False, description="reconcile only tells what differs."),
}
"""What every table's op gets."""
QUIET = dg.Field(bool, default_value=False, description="Write to the run's log only, not to the console.")


def maintenance_job(config: SourceConfig, tables: Sequence[DeclaredTable], maintain: TableStep) -> dg.JobDefinition:
    """One op per table; see `table_job`."""
    job = TableJob(
        name=maintain_job(config.name),
        description=f"Keeps the leaves of {config.name} inside their limit, and their files few. The sensor "
        "`repartition_oversized` starts it when a leaf has outgrown the limit; nothing is read from the source.",
        op_prefix="maintain",
        chooser=f"choose_for_{config.name}",
        options=OPTIONS,
        extra={"quiet": QUIET},
        loggers=lambda value: {"loggers": SILENCE} if value["quiet"] else {},
    )
    return table_job(config, tables, job, maintain)

"""The job of a source that splits, merges back and compacts leaves: run by the sensor, the command line and people."""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import dagster as dg

from import_platform.core.table import DeclaredTable
from import_platform.jobs.choose import choose_op
from import_platform.resources.executors import executor
from import_platform.resources.naming import SOURCE_TAG, maintain_job, op_name, pool
from import_platform.resources.platform import PlatformResource, SourceConfig

SILENCE = {"console": {"config": {"log_level": "CRITICAL"}}}
TASKS = ["repartition", "compact", "replay", "reconcile", "enrich"]
CHOICE = {
    "tables": dg.Field([str], default_value=[], description="Names of tables; empty means all of them."),
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
    "quiet": dg.Field(bool, default_value=False, description="Write to the run's log only, not to the console."),
}
OPTIONS = ("task", "max_bytes", "by_hand", "to", "dry_run")
"""The fields that every table's op gets."""


class MaintainTable(Protocol):
    """Does a task on one table in an op. `options` has the fields OPTIONS."""

    def __call__(
        self,
        context: dg.OpExecutionContext,
        platform: PlatformResource,
        table: DeclaredTable,
        options: Mapping[str, Any],
    ) -> None: ...


def maintenance_job(config: SourceConfig, tables: Sequence[DeclaredTable], maintain: MaintainTable) -> dg.JobDefinition:
    """One op per table in the table's pool; the first op lets through the tables that the config names.

    A table's failure leaves the others alone.
    """
    names = {table.name: op_name(config.name, table.name) for table in tables}

    @dg.config_mapping(config_schema=CHOICE)
    def choice(value: Mapping[str, Any]) -> Mapping[str, Any]:
        options = {name: value[name] for name in OPTIONS}
        steps = {name: {"config": options} for name in names.values()}
        chosen = {f"choose_for_{config.name}": {"config": {"tables": value["tables"]}}}
        return {"ops": {**chosen, **steps}, **({"loggers": SILENCE} if value["quiet"] else {})}

    @dg.graph(name=maintain_job(config.name))
    def graph() -> None:
        chosen = choose_op(f"choose_for_{config.name}", names)()
        for table in tables:
            step = _table_op(config, table, maintain).alias(names[table.name])
            step(chosen if len(names) == 1 else getattr(chosen, names[table.name]))

    return graph.to_job(
        name=maintain_job(config.name),
        config=choice,
        executor_def=executor(),
        tags={SOURCE_TAG: config.name},
        description=f"Keeps the leaves of {config.name} inside their limit, and their files few. The sensor "
        "`repartition_oversized` starts it when a leaf has outgrown the limit; nothing is read from the source.",
    )


def _table_op(config: SourceConfig, table: DeclaredTable, maintain: MaintainTable) -> dg.OpDefinition:
    @dg.op(
        name=f"maintain_{op_name(config.name, table.name)}",  # op names are unique in a repository
        ins={"chosen": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        config_schema={name: CHOICE[name] for name in OPTIONS},
        pool=pool(config.name, table.name),
        required_resource_keys={"platform"},
    )
    def step(context: dg.OpExecutionContext) -> None:
        maintain(context, context.resources.platform, table, context.op_config)

    return step

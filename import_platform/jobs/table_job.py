"""A job of plain ops with one step per table of a source; a run's config says which tables, and what of each."""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import dagster as dg

from import_platform.core.table import DeclaredTable
from import_platform.jobs.choose import choose_op
from import_platform.resources.executors import executor
from import_platform.resources.naming import SOURCE_TAG, op_name, pool
from import_platform.resources.platform import PlatformResource, SourceConfig

TABLES = dg.Field([str], default_value=[], description="Names of tables; empty means all of them.")


class TableStep(Protocol):
    """Does one table's work in an op. `options` has the job's `options`."""

    def __call__(
        self,
        context: dg.OpExecutionContext,
        platform: PlatformResource,
        table: DeclaredTable,
        options: Mapping[str, Any],
    ) -> None: ...


@dataclass(frozen=True)
class TableJob:
    """What such a job is. `op_prefix` keeps its ops apart from those of the source's other jobs, as names of ops are
    unique in a repository. `options` are fields that every table's step gets, `extra` those that only `loggers` looks
    at; `op_tags` are a table's."""

    name: str
    description: str
    op_prefix: str
    chooser: str
    options: Mapping[str, dg.Field]
    extra: Mapping[str, dg.Field] = field(default_factory=dict)
    loggers: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda value: {}
    op_tags: Callable[[str], Mapping[str, str]] = lambda table: {}


def table_job(
    config: SourceConfig, tables: Sequence[DeclaredTable], job: TableJob, work: TableStep
) -> dg.JobDefinition:
    """One op per table in the table's pool; the first op lets through the tables that the config names, the others are
    skipped. A table's failure leaves the others alone.
    """
    names = {table.name: op_name(config.name, table.name) for table in tables}

    @dg.config_mapping(config_schema={"tables": TABLES, **job.options, **job.extra})
    def choice(value: Mapping[str, Any]) -> Mapping[str, Any]:
        options = {name: value[name] for name in job.options}
        steps = {name: {"config": options} for name in names.values()}
        return {"ops": {job.chooser: {"config": {"tables": value["tables"]}}, **steps}, **job.loggers(value)}

    @dg.graph(name=job.name)
    def graph() -> None:
        chosen = choose_op(f"{job.op_prefix}_choose_{config.name}", names).alias(job.chooser)()
        for table in tables:
            step = _table_op(config, table, job, work).alias(names[table.name])
            step(chosen if len(names) == 1 else getattr(chosen, names[table.name]))

    return graph.to_job(
        name=job.name,
        config=choice,
        executor_def=executor(),
        tags={SOURCE_TAG: config.name},
        description=job.description,
    )


def _table_op(config: SourceConfig, table: DeclaredTable, job: TableJob, work: TableStep) -> dg.OpDefinition:
    @dg.op(
        name=f"{job.op_prefix}_{op_name(config.name, table.name)}",
        ins={"chosen": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        config_schema=dict(job.options),
        pool=pool(config.name, table.name),
        tags=job.op_tags(table.name),
        required_resource_keys={"platform"},
    )
    def step(context: dg.OpExecutionContext) -> None:
        work(context, context.resources.platform, table, context.op_config)

    return step

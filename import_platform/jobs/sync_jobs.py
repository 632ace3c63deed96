"""The jobs of a source: the asset job that schedules run, and the op job from which a person syncs at once."""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import dagster as dg

from import_platform.core.table import DeclaredTable
from import_platform.jobs.choose import choose_op
from import_platform.jobs.source_job import SourceJob
from import_platform.resources.executors import executor
from import_platform.resources.naming import SOURCE_TAG, asset_key, op_name, order_tags, pool, sync_job, sync_now_job
from import_platform.resources.platform import PlatformResource, SourceConfig

CHOOSE = "choose_tables"


class RunTable(Protocol):
    """Syncs one table in an op and records what the asset itself would record."""

    def __call__(
        self, context: dg.OpExecutionContext, platform: PlatformResource, table: DeclaredTable, *, full_refresh: bool
    ) -> None: ...


def asset_sync_job(config: SourceConfig, tables: Sequence[DeclaredTable]) -> SourceJob:
    """Every table of the source as a step of its own; a run may select some of them."""
    return SourceJob(
        sync_job(config.name),
        selection=dg.AssetSelection.assets(*(asset_key(config.name, table.name) for table in tables)),
        executor_def=executor(),
        tags={SOURCE_TAG: config.name},
        description=f"Syncs the tables of {config.name}. Schedules and the command line run it; "
        f"people start {sync_now_job(config.name)}, which needs no partition.",
    )


def sync_now(config: SourceConfig, tables: Sequence[DeclaredTable], run_table: RunTable) -> dg.JobDefinition:
    """A job of plain ops, because the UI demands partitions for every asset job and opens a Launchpad for this one.

    One op per table in the table's pool; the first op lets through the tables that the config names, the others are
    skipped. A table's failure leaves the others alone.
    """
    names = {table.name: op_name(config.name, table.name) for table in tables}

    @dg.config_mapping(
        config_schema={
            "tables": dg.Field([str], default_value=[], description="Names of tables; empty means all of them."),
            "full_refresh": dg.Field(bool, default_value=False, description="Read the tables whole and swap them in."),
        }
    )
    def choice(value: Mapping[str, Any]) -> Mapping[str, Any]:
        steps = {name: {"config": {"full_refresh": value["full_refresh"]}} for name in names.values()}
        return {"ops": {CHOOSE: {"config": {"tables": value["tables"]}}, **steps}}

    @dg.graph(name=sync_now_job(config.name))
    def graph() -> None:
        chosen = choose_op(f"choose_{config.name}", names).alias(CHOOSE)()
        for table in tables:
            step = _table_op(config, table, run_table).alias(names[table.name])
            step(chosen if len(names) == 1 else getattr(chosen, names[table.name]))

    return graph.to_job(
        name=sync_now_job(config.name),
        config=choice,
        executor_def=executor(),
        tags={SOURCE_TAG: config.name},
        description=f"Brings tables of {config.name} up to date now: open the Launchpad, name tables or leave the list "
        "empty for all, and press Launch Run. The runs appear on the asset pages like scheduled ones.",
    )


def _table_op(config: SourceConfig, table: DeclaredTable, run_table: RunTable) -> dg.OpDefinition:
    @dg.op(
        name=f"now_{op_name(config.name, table.name)}",  # op names are unique in a repository
        ins={"chosen": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        config_schema={"full_refresh": bool},
        pool=pool(config.name, table.name),
        tags=order_tags(config.connection, table.name),
        required_resource_keys={"platform"},
    )
    def sync(context: dg.OpExecutionContext) -> None:
        run_table(context, context.resources.platform, table, full_refresh=context.op_config["full_refresh"])

    return sync

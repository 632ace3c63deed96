"""The jobs of a source: the asset job that schedules run, and the op job from which a person syncs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import dagster as dg

from import_platform.core.table import DeclaredTable
from import_platform.jobs.source_job import SourceJob
from import_platform.jobs.table_job import TableJob, table_job
from import_platform.resources.executors import executor
from import_platform.resources.naming import SOURCE_TAG, asset_key, order_tags, sync_job, sync_now_job
from import_platform.resources.platform import PlatformResource, SourceConfig


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
    """A job of plain ops, because the UI demands partitions for every asset job and opens a Launchpad for this one."""

    def work(
        context: dg.OpExecutionContext, platform: PlatformResource, table: DeclaredTable, options: Mapping[str, Any]
    ) -> None:
        run_table(context, platform, table, full_refresh=options["full_refresh"])

    job = TableJob(
        name=sync_now_job(config.name),
        description=f"Brings tables of {config.name} up to date now: open the Launchpad, name tables or leave the list "
        "empty for all, and press Launch Run. The runs appear on the asset pages like scheduled ones.",
        op_prefix="now",
        chooser="choose_tables",
        options={
            "full_refresh": dg.Field(bool, default_value=False, description="Read the tables whole and swap them in.")
        },
        op_tags=lambda table: order_tags(config.connection, table),
    )
    return table_job(config, tables, job, work)

"""One external table as one partitioned Dagster asset."""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from import_platform.assets.materialize import Outcome, Reading, materialize_table
from import_platform.core.table import (
    DeclaredTable,
    HashPartition,
    Labels,
    NumberPartition,
    PartitionSpec,
    SyncMode,
    TimePartition,
)
from import_platform.pipeline.table_checks import Wanted
from import_platform.resources.naming import SOURCE_TAG, asset_key, op_name, order_tags, partitions_def, pool
from import_platform.resources.platform import PlatformResource, SourceConfig
from import_platform.resources.run_size import step_tags

Evaluate = Callable[[Outcome], list[dg.AssetCheckResult]]

_COPIES = {
    None: "Copy",
    SyncMode.INCREMENTAL: "Incremental copy",
    SyncMode.FULL_REFRESH: "Full-refresh copy",
    SyncMode.APPEND: "Append-only copy",
}


class TableConfig(dg.Config):
    """What one run may ask of a table."""

    full_refresh: bool = False
    files: list[str] = Field([], description="Of a table of files: names or patterns of those to read again.")
    drop: bool = Field(False, description="Delete the table first, layout and columns included; then read it anew.")


@dataclass(frozen=True)
class Dressing:
    """What the asset's page shows before anything ran, and what is verified after each run."""

    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
    wanted: Wanted = field(default_factory=Wanted)
    check_specs: Sequence[dg.AssetCheckSpec] = ()
    evaluate: Evaluate = lambda outcome: []
    stale_after: timedelta | None = None


def table_asset(config: SourceConfig, declared: DeclaredTable, dressing: Dressing) -> dg.AssetsDefinition:
    """A run with a partition key re-imports that range; a run without one is a sync in the table's own mode."""
    key = asset_key(config.name, declared.name)
    freshness = dressing.stale_after and dg.FreshnessPolicy.time_window(fail_window=dressing.stale_after)

    @dg.multi_asset(
        name=op_name(config.name, declared.name),
        specs=[
            dg.AssetSpec(
                key,
                description=dressing.description,
                metadata=dressing.metadata,
                group_name=dressing.labels.group or config.name,
                owners=list(dressing.labels.owners),
                kinds={config.connection.kind, "deltalake"},
                freshness_policy=freshness or None,
                tags={**dressing.labels.tags, SOURCE_TAG: config.name},
            )
        ],
        partitions_def=partitions_def(config.name, declared.name),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        pool=pool(config.name, declared.name),
        op_tags={**order_tags(config.connection, declared.name), **step_tags(config.name, declared.name)},
        check_specs=dressing.check_specs,
    )
    def sync(
        context: dg.AssetExecutionContext, config: TableConfig, platform: PlatformResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster knows the bare class only
        reading = Reading(
            asked_keys(context), config.full_refresh, config.drop, dressing.wanted, files=tuple(config.files)
        )
        outcome = materialize_table(context, platform, source, declared, reading)
        return dg.MaterializeResult(asset_key=key, metadata=outcome.metadata, check_results=dressing.evaluate(outcome))

    source = config
    return sync


def asked_keys(context: dg.AssetExecutionContext) -> Sequence[str]:
    """Partition keys this run was launched for; empty for a sync. A backfill's runs carry a range even for one key."""
    return list(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else ()


def description(config: SourceConfig, declared: DeclaredTable, *, table_url: str, source_url: str) -> str:
    """Markdown: where the table comes from, how it is kept fresh, how to sync it now, and how to ask it.

    The first sentence is plain text, because lists of assets show the Markdown as it is written.
    """
    cursor = f" by `{declared.cursor}`" if declared.cursor else ""
    mode = f"{declared.sync}{cursor}" if declared.sync else "chosen from what the source reveals"
    key = ", ".join(declared.primary_key) if declared.primary_key else "the source's own"
    cron = declared.schedule or config.schedule
    schedule = f"`{cron}` (UTC)" if cron else "none"
    name = declared.name if declared.name.isidentifier() else f'"{declared.name}"'
    now = f"[Sync this table now]({table_url}) or [all of {config.name}]({source_url})."
    told = declared.labels.description or config.labels.description
    return "\n\n".join(
        [
            *([told] if told else []),
            f"{_COPIES[declared.sync]} of the {config.connection.kind} table {declared.name}, source {config.name}.",
            f"Sync mode: {mode}. Primary key: {key}. Partitions: {layout(declared.partition)}. Schedule: {schedule}.",
            f"{now} *Materialize* loads partitions again from the source.",
            f"`import-platform query 'SELECT * FROM {config.name}.{name} LIMIT 10'`",  # noqa: S608  shown, never run
        ]
    )


def layout(partition: PartitionSpec | None) -> str:
    if isinstance(partition, TimePartition):
        return f"{partition.granularity} of `{partition.column}`"
    if isinstance(partition, NumberPartition):
        return f"{partition.width:,} values of `{partition.column}` each"
    if isinstance(partition, HashPartition):
        return f"{2**partition.bits} by hash of the key" if partition.bits else "one for all rows"
    return "chosen at the first sync"

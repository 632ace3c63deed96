"""Asking a source what it holds: the snapshot that definitions load from, and partitions the lake still lacks."""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg

from import_platform.core.choose import resolve
from import_platform.core.imported import imported_tables
from import_platform.core.layout import ALL, ancestors, base_of
from import_platform.core.table import (
    DeclaredTable,
    Granularity,
    HashPartition,
    NumberPartition,
    PartitionSpec,
    TableInfo,
    TableSpec,
    TimePartition,
)
from import_platform.errors import ConfigError, SourceUnavailable
from import_platform.io.lake import Lake
from import_platform.io.memory import tame_allocators
from import_platform.pipeline.inspect import table_status
from import_platform.resources.naming import SOURCE_TAG, discover_job, partitions_def, table_id
from import_platform.resources.platform import PlatformResource, SourceConfig
from import_platform.resources.project import read_settings
from import_platform.resources.snapshots import Snapshot, save_snapshot
from import_platform.sources.protocol import Source

KEYS_MAX = 2000
TABLE_SECONDS = 20.0
SOURCE_SECONDS = 120.0
DISCOVERY_CRON = "23 4 * * *"
_COARSER = {Granularity.HOUR: Granularity.DAY, Granularity.DAY: Granularity.MONTH, Granularity.MONTH: Granularity.YEAR}
_WIDTH_MAX = 10**18


@dataclass(frozen=True)
class Discovery:
    """What was found. `new_keys`: partition keys added per table; `notes`: tables that could not be looked
    into, and why.
    """

    tables: tuple[TableInfo, ...]
    snapshot: Snapshot
    new_keys: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def discover_source(
    platform: PlatformResource,
    config: SourceConfig,
    declared: Sequence[DeclaredTable] | None,
    *,
    instance: dg.DagsterInstance,
    folder: Path | None = None,
) -> Discovery:
    """Saves what the source holds now, and adds keys for partitions of tables whose first import is still to come.

    Tables that are neither `declared` nor match the source's patterns are found, and that is all.

    Raises:
        ConfigError, SourceRejected, SourceUnavailable: the source could not be asked at all; nothing was saved.
    """
    tame_allocators()  # a source may sample rows before its first table is synced
    deadline = time.monotonic() + SOURCE_SECONDS
    with platform.source(config) as source:
        infos = tuple(source.discover())
        snapshot = save_snapshot(folder or read_settings().snapshots_folder, config.name, infos)
        found = Discovery(infos, snapshot)
        by_name = {info.name_in_lake: info for info in infos}
        for table in imported_tables(declared, config.patterns, by_name):
            name = table_id(config.name, table.name)
            seconds = min(TABLE_SECONDS, deadline - time.monotonic())
            if table.name not in by_name:
                found.notes[name] = "the source has no such table"
            elif seconds <= 0:
                found.notes[name] = "its partitions were not counted this time: the time for this source was used up"
            else:
                try:
                    spec = resolve(config.name, table, by_name[table.name])
                    keys = _lacking(platform.lake(), source, spec, timeout_seconds=seconds)
                except (ConfigError, SourceUnavailable) as error:
                    found.notes[name] = str(error)
                else:
                    found.new_keys[name] = _add_keys(instance, spec, keys)
    return found


def _lacking(lake: Lake, source: Source, spec: TableSpec, *, timeout_seconds: float) -> list[str]:
    """Keys of partitions that the source holds and the lake lacks."""
    status = table_status(lake, spec.source, spec.name)
    if status is not None and status.open_attempts == 0:
        return []  # a finished sync has every partition there is; asking the source again would cost a scan
    held = source_keys(source, spec.info, spec.partition, timeout_seconds=timeout_seconds)
    return missing_keys(held, status.leaves if status else (), spec.partition)


def _add_keys(instance: dg.DagsterInstance, spec: TableSpec, keys: Sequence[str]) -> list[str]:
    """The keys that were new."""
    name = str(partitions_def(spec.source, spec.name).name)
    known = set(instance.get_dynamic_partitions(name))
    new = [key for key in keys if key not in known]
    if new:
        instance.add_dynamic_partitions(name, new)
    return new


def source_keys(source: Source, info: TableInfo, partition: PartitionSpec, *, timeout_seconds: float) -> list[str]:
    """Base keys that the source holds, at most 2,000: the finest level of the tree that stays under that."""
    level: PartitionSpec | None = partition
    while level is not None and not isinstance(level, HashPartition):
        keys = source.base_keys(info, level, limit=KEYS_MAX, timeout_seconds=timeout_seconds)
        if keys is not None:
            return keys
        level = coarser(level)
    return [ALL] if level is not None else []


def coarser(partition: PartitionSpec) -> PartitionSpec | None:
    if isinstance(partition, TimePartition) and partition.granularity in _COARSER:
        return replace(partition, granularity=_COARSER[partition.granularity])
    if isinstance(partition, NumberPartition) and partition.width < _WIDTH_MAX:
        return replace(partition, width=partition.width * 10)
    return None


def missing_keys(held_by_source: Iterable[str], leaves: Collection[str], partition: PartitionSpec) -> list[str]:
    """Keys whose rows no leaf of the lake can hold: neither the key's own, nor one above it, nor one below it."""
    bases = {base_of(leaf) for leaf in leaves}
    above = {node for base in bases for node in ancestors(base, partition)}
    return [
        key
        for key in held_by_source
        if key not in bases and key not in above and bases.isdisjoint(ancestors(key, partition))
    ]


def discovery_job(config: SourceConfig, declared: Sequence[DeclaredTable] | None, *, known: int) -> dg.JobDefinition:
    """An op job that a schedule and people run; `known` is how many tables these definitions were loaded with."""

    @dg.op(name=f"look_at_{config.name}", required_resource_keys={"platform"}, out=dg.Out(dg.Nothing))
    def look(context: dg.OpExecutionContext) -> None:
        found = discover_source(context.resources.platform, config, declared, instance=context.instance)
        for table, note in found.notes.items():
            context.log.warning("%s: %s", table, note)
        keys = sum(len(keys) for keys in found.new_keys.values())
        context.log.info("%s holds %d tables; %d partitions were added", config.name, len(found.tables), keys)
        names = [table.name_in_lake for table in found.tables]
        if config.patterns is not None and len(imported_tables(declared, config.patterns, names)) != known:
            context.log.warning("these definitions know %d tables: reload the code location to see the others", known)

    @dg.graph(name=discover_job(config.name))
    def graph() -> None:
        look()

    hint = "" if known else " No table is known yet: run this job, then reload the code location."
    return graph.to_job(
        name=discover_job(config.name),
        executor_def=dg.in_process_executor,
        tags={SOURCE_TAG: config.name},
        description=f"Looks at {config.name} for tables, columns and partitions.{hint}",
    )


def discovery_schedule(config: SourceConfig, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=discover_job(config.name),
        job=job,
        cron_schedule=DISCOVERY_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Looks at {config.name} once a day for new tables, columns and partitions.",
    )

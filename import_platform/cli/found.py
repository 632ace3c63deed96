"""What a declared source really holds, and what the platform makes of each table; shared by `check` and `tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from import_platform.components.external_source import ExternalSource
from import_platform.core.choose import resolve
from import_platform.core.enrichment import without_enriched
from import_platform.core.identity import check_identity
from import_platform.core.imported import imported_tables
from import_platform.core.sampled import with_known
from import_platform.core.table import (
    DeclaredTable,
    HashPartition,
    NumberPartition,
    PartitionSpec,
    TableInfo,
    TableSpec,
    TimePartition,
)
from import_platform.core.wording import close_names
from import_platform.errors import ConfigError, ImportPlatformError
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.pipeline.context import stored_identity
from import_platform.sources.protocol import NoRowsYet


@dataclass(frozen=True)
class Found:
    """One table. `info` None: declared but not at the source. `spec` None: it cannot be synced, `error` says why."""

    name: str
    is_declared: bool
    info: TableInfo | None = None
    spec: TableSpec | None = None
    error: ImportPlatformError | None = None

    @property
    def has_no_rows(self) -> bool:
        """Its columns are only known from rows, and there is none yet: nothing to import, and no fault."""
        return isinstance(self.error, NoRowsYet)


def judge(source: ExternalSource, tables: Sequence[TableInfo], lake: Lake) -> list[Found]:
    """Every table found or declared, by name; patterns choose among those found."""
    infos = {info.name_in_lake: info for info in tables}
    declared = {table.name: table for table in imported_tables(source.tables, source.patterns, infos)}
    absent = [_absent(source.name, name, infos) for name in declared if name not in infos]
    present = [_judge(source.name, declared.get(name), info, lake) for name, info in infos.items()]
    return sorted(absent + present, key=lambda found: found.name)


def _absent(source: str, name: str, infos: Mapping[str, TableInfo]) -> Found:
    close = close_names(name, infos)
    error = ConfigError(
        "the source has no such table",
        table=f"{source}/{name}",
        **({"close": close} if close else {}),
        remedy=f"See what it has: import-platform tables {source}",
    )
    return Found(name, is_declared=True, error=error)


def _judge(source: str, declared: DeclaredTable | None, info: TableInfo, lake: Lake) -> Found:
    name = info.name_in_lake
    try:
        snapshot = DeltaLog(lake.store, lake.table_path(source, name)).snapshot()
        if snapshot is not None:
            info = with_known(info, without_enriched(snapshot.schema, declared.enrich if declared is not None else ()))
        if info.sampled and not info.columns:
            raise NoRowsYet("0 rows: its first row makes the table")
        spec = resolve(source, declared or DeclaredTable(name), info)
        stored = stored_identity(snapshot)
        if stored is not None and declared is not None and declared.partition is not None:
            check_identity(stored, spec)
    except ImportPlatformError as error:
        return Found(name, declared is not None, info, error=error)
    return Found(name, declared is not None, info, spec)


def partition_text(partition: PartitionSpec) -> str:
    """`created_at by month`, `id by 1,000,000`, `16 hashes of the key` or `none`."""
    match partition:
        case TimePartition(column, granularity):
            return f"{column} by {granularity.value}"
        case NumberPartition(column, width):
            return f"{column} by {width:,}"
        case HashPartition(bits):
            return f"{1 << bits} hashes of the key" if bits else "none"

"""A table of a ListSource with a lake: what a test changes, syncs and reads back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from import_platform.core.budget import GIB, MIB, MemoryBudget
from import_platform.core.report import SyncReport
from import_platform.core.schema import stored_schema
from import_platform.core.table import DeclaredTable, Granularity, PartitionSpec, SchemaPolicy, SyncMode, TimePartition
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import backfill_table, sync_table
from tests.pipeline.list_source import ListSource

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
MONTHLY = TimePartition("created", Granularity.MONTH)
ROOMY = MemoryBudget(8 * GIB, 8 * GIB - 312 * MIB)


class TinyBudget(MemoryBudget):
    """Everything is larger than its share: chunks of one page, and source rows that are streamed, never held."""

    chunk_bytes = 1  # type: ignore[assignment]
    merge_bytes = 1  # type: ignore[assignment]


STREAMED = TinyBudget(8 * GIB, 8 * GIB - 312 * MIB)


class Steps(MemoryBudget):
    """Source rows are held, but every page becomes a chunk."""

    chunk_bytes = 1  # type: ignore[assignment]


PAGE_BY_PAGE = Steps(8 * GIB, 8 * GIB - 312 * MIB)


def rows(ids: list[int] | range, *, day: int = 0, text: str = "x") -> pa.Table:
    """Rows of table `t`: one hour of `created` per id; all of them updated on `day`, one second apart."""
    return pa.table({
        "id": pa.array(ids, pa.int64()),
        "created": pa.array([EPOCH + timedelta(hours=i) for i in ids], pa.timestamp("us", "UTC")),
        "updated": pa.array([EPOCH + timedelta(days=day, seconds=i) for i in ids], pa.timestamp("us", "UTC")),
        "text": pa.array([f"{text}{i}" for i in ids], pa.string()),
    })  # fmt: skip


def replaced(table: pa.Table, changed: pa.Table) -> pa.Table:
    """The table with the changed rows in place of those with the same id, new ones at the end."""
    old = pl.DataFrame(pl.from_arrow(table)).join(pl.DataFrame(pl.from_arrow(changed)), on="id", how="anti")
    return pa.concat_tables([old.to_arrow().cast(table.schema), changed])


def without(table: pa.Table, ids: list[int] | range) -> pa.Table:
    frame = pl.DataFrame(pl.from_arrow(table)).filter(~pl.col("id").is_in(list(ids)))
    return frame.to_arrow().cast(table.schema)


@dataclass
class SyncedTable:
    """`lake_frame()` and `source_frame()` are sorted the same way, so `matches()` says that the lake has every row once."""

    lake: Lake
    source: ListSource
    mode: SyncMode = SyncMode.INCREMENTAL
    cursor: str | None = "updated"
    primary_key: tuple[str, ...] | None = None
    partition: PartitionSpec | None = MONTHLY
    budget: MemoryBudget = ROOMY
    extra: dict[str, Any] = field(default_factory=dict)
    policy: SchemaPolicy = SchemaPolicy.EVOLVE
    declared: dict[str, Any] = field(default_factory=dict)

    def context(self, **changed: Any) -> TableContext:
        cursor = None if self.mode is SyncMode.FULL_REFRESH else self.cursor
        declared = DeclaredTable(
            self.source.name,
            self.mode,
            cursor,
            self.primary_key,
            self.partition,
            schema_policy=self.policy,
            **self.declared,
        )
        return TableContext("s", declared, self.source, self.lake, self.budget, **(self.extra | changed))

    def sync(self, source_rows: pa.Table | None = None, *, full_refresh: bool = False, **changed: Any) -> SyncReport:
        if source_rows is not None:
            self.source.rows = source_rows
        return sync_table(self.context(**changed), full_refresh=full_refresh)

    def backfill(self, key: str, **changed: Any) -> SyncReport:
        return backfill_table(self.context(**changed), key)

    @property
    def uri(self) -> str:
        return self.lake.table_uri("s", self.source.name)

    @property
    def log(self) -> DeltaLog:
        return DeltaLog(self.lake.store, self.lake.table_path("s", self.source.name))

    @property
    def staging(self) -> Staging:
        return Staging(self.lake.store, self.lake.staging_path("s", self.source.name))

    @property
    def version(self) -> int:
        snapshot = self.log.snapshot()
        return -1 if snapshot is None else snapshot.version

    def paths(self) -> set[str]:
        """Relative paths of the active data files."""
        snapshot = self.log.snapshot()
        return set() if snapshot is None else set(snapshot.files["path"])

    def leaves(self) -> dict[str, int]:
        frame = self.raw_frame().group_by("_partition").len().sort("_partition")
        return dict(frame.iter_rows())

    def raw_frame(self) -> pl.DataFrame:
        return pl.read_delta(self.uri, storage_options=self.lake.store.storage_options)

    def lake_frame(self) -> pl.DataFrame:
        return _sorted(self.raw_frame().drop("_partition"))

    def source_frame(self) -> pl.DataFrame:
        return _sorted(pl.DataFrame(pl.from_arrow(self.source.rows.cast(stored_schema(self.source.rows.schema)))))

    def matches(self) -> bool:
        lake, source = self.lake_frame(), self.source_frame()
        return lake.columns == source.columns and lake.equals(source, null_equal=True)


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(frame.columns, nulls_last=False)

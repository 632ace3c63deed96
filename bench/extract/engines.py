"""The three ways from a PostgreSQL table to files: ours, dlt's, and straight to one Parquet file as the floor.

Each is a function of (dsn, table, folder) that brings `folder` up to date. Imports stand at the top of each, because the
process that measures one must not hold the others'.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

MEMORY_MIB = 512


def ours() -> Callable[[str, str, Path], int]:
    import dagster  # noqa: F401  a sync always runs below it

    from import_platform.core.budget import MIB, budget_of
    from import_platform.core.table import DeclaredTable, SyncMode
    from import_platform.io.lake import Lake
    from import_platform.io.memory import held_bytes
    from import_platform.pipeline.context import TableContext
    from import_platform.pipeline.sync import sync_table
    from import_platform.sources.postgres import PostgresSource

    def sync(dsn: str, table: str, folder: Path) -> int:
        source = PostgresSource({"kind": "postgres", "dsn": dsn})
        declared = DeclaredTable(table, SyncMode.INCREMENTAL, "updated_at", ("id",))
        budget = budget_of(MEMORY_MIB * MIB, base_bytes=held_bytes())
        return sync_table(TableContext("pg", declared, source, Lake(str(folder)), budget)).rows_read

    return sync


def dlt_upsert() -> Callable[[str, str, Path], int]:
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    import deltalake  # noqa: F401
    import dlt
    from dlt.sources.sql_database import sql_table

    def sync(dsn: str, table: str, folder: Path) -> int:
        pipeline = dlt.pipeline(
            f"bench_{table}",
            pipelines_dir=str(folder / "pipelines"),
            destination=dlt.destinations.filesystem(bucket_url=str(folder / "lake")),
            dataset_name="pg",
        )
        resource = sql_table(
            credentials=dsn.replace("postgresql://", "postgresql+psycopg2://"),
            table=table,
            backend="pyarrow",
            incremental=dlt.sources.incremental("updated_at"),
        )
        resource.apply_hints(primary_key="id", write_disposition={"disposition": "merge", "strategy": "upsert"})
        pipeline.run(resource, table_format="delta")
        counts = pipeline.last_trace.last_normalize_info.row_counts
        return int(counts.get(table, 0))

    return sync


def floor() -> Callable[[str, str, Path], int]:
    import adbc_driver_postgresql.dbapi as driver
    from pyarrow import parquet

    def copy(dsn: str, table: str, folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        rows = 0
        with driver.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table}")
            reader = cursor.fetch_record_batch()
            with parquet.ParquetWriter(folder / f"{table}.parquet", reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
                    rows += batch.num_rows
        return rows

    return copy


ENGINES: dict[str, Callable[[], Callable[[str, str, Path], int]]] = {"ours": ours, "dlt": dlt_upsert, "floor": floor}

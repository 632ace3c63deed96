"""DuckLake MERGE on DuckDB: not Delta, but the nearest alternative; its base is the same files, registered."""

from __future__ import annotations

from pathlib import Path

import duckdb
import duckdb_extension_ducklake
from deltalake import DeltaTable

from bench.cases import TableAt
from bench.engines.protocol import PARTITION, Conflict, read_batch

CATALOG = "catalog.ducklake"
REGISTERED = "registered"


def attach(connection: duckdb.DuckDBPyConnection, scratch: Path, data: Path) -> None:
    """Makes `lake.t` visible; the catalog is created when missing."""
    extension = next(Path(duckdb_extension_ducklake.__file__).parent.rglob("*.duckdb_extension"))
    connection.execute(f"LOAD '{extension}'")
    connection.execute(f"ATTACH IF NOT EXISTS 'ducklake:{scratch / CATALOG}' AS lake (DATA_PATH '{data}/')")


def commits(connection: duckdb.DuckDBPyConnection, scratch: Path) -> int:
    """Snapshots since the files were registered."""
    return _snapshots(connection) - int(Path(scratch, REGISTERED).read_text())


def _snapshots(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute("SELECT count(*) FROM ducklake_snapshots('lake')").fetchall()[0][0])


class Engine:
    """Engines of one table share one DuckDB, as DuckLake's file catalog serves one process only."""

    def __init__(self, table: TableAt, mode: str) -> None:
        self._at = table
        self._duckdb = duckdb.connect(
            f":memory:{Path(table.scratch).parent.name}",
            config={"memory_limit": f"{table.budget_bytes}B", "temp_directory": table.scratch},
        )

    def prepare(self) -> None:
        fresh = not Path(self._at.scratch, CATALOG).exists()
        attach(self._duckdb, Path(self._at.scratch), Path(self._at.uri))
        if fresh:
            self._register()

    def _register(self) -> None:
        files = DeltaTable(self._at.uri).file_uris()
        source = f"read_parquet('{files[0]}', hive_partitioning = false)"
        self._duckdb.execute(f"CREATE TABLE lake.t AS SELECT *, ''::VARCHAR AS {PARTITION} FROM {source} LIMIT 0")
        self._duckdb.execute(f"ALTER TABLE lake.t SET PARTITIONED BY ({PARTITION})")
        for file in files:
            self._duckdb.execute(f"CALL ducklake_add_data_files('lake', 't', '{file}', hive_partitioning => true)")
        Path(self._at.scratch, REGISTERED).write_text(str(_snapshots(self._duckdb)))

    def merge(self, batch: Path) -> None:
        rows = read_batch(batch)
        self._duckdb.register("batch", rows)
        try:
            self._duckdb.execute(f"""
                MERGE INTO lake.t USING batch ON t.{self._at.key} = batch.{self._at.key}
                WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT BY NAME
            """)
        except duckdb.TransactionException as error:
            raise Conflict from error

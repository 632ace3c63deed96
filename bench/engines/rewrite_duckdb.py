"""An anti-join per file in DuckDB, under its own memory limit."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from bench.engines.rewrite import FileRewrite


class Engine(FileRewrite):
    """DuckDB is given the budget as `memory_limit`; insertion order is not asked of it, which saves memory."""

    def take_keys(self, keys: pa.Table) -> None:
        self._duckdb = duckdb.connect(
            config={
                "memory_limit": f"{self.at.budget_bytes}B",
                "temp_directory": self.at.scratch,
                "preserve_insertion_order": False,
            }
        )
        self._duckdb.register("source", keys)
        self._duckdb.execute("CREATE TABLE keys AS FROM source")

    def survivors(self, source: Path, target: Path) -> None:
        self._duckdb.execute(f"""
            COPY (SELECT * FROM read_parquet('{source}', hive_partitioning = false)
                  WHERE {self.at.key} NOT IN (SELECT {self.at.key} FROM keys))
            TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
        """)

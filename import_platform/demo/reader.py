"""The demo's lake as a stranger sees it: DuckDB over the Delta tables, and the Delta log's own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from import_platform.core.table import PARTITION_COLUMN
from import_platform.io.duckdb_lake import extension_path
from import_platform.io.lake import Lake

_MEMORY = "512MB"
_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class TableFacts:
    """What the Delta log says of a table's current version; `size_bytes` is the size of its data files."""

    rows: int
    partitions: int
    files: int
    size_bytes: int


def facts(lake: Lake, source: str, table: str) -> TableFacts:
    """Read from the log alone; no data file is opened."""
    adds = pa.table(DeltaTable(lake.table_uri(source, table)).get_add_actions(flatten=True))
    return TableFacts(
        rows=sum(adds["num_records"].to_pylist()),
        partitions=len(set(adds[f"partition.{PARTITION_COLUMN}"].to_pylist())),
        files=adds.num_rows,
        size_bytes=sum(adds["size_bytes"].to_pylist()),
    )


class LakeReader:
    """A DuckDB with one view per table, `<source>.<table>`; spills beside the lake past 512 MB."""

    def __init__(self, lake: Lake, source: str, tables: Sequence[str], *, spill_folder: Path) -> None:
        self._connection = duckdb.connect(
            config={
                "memory_limit": _MEMORY,
                "temp_directory": str(spill_folder),
                "preserve_insertion_order": "false",
            }
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(f"LOAD {_quoted(str(extension_path('delta')))}")
        self._connection.execute(f"CREATE SCHEMA {source}")
        for table in tables:
            scan = f"SELECT * EXCLUDE ({PARTITION_COLUMN}) FROM delta_scan({_quoted(lake.table_uri(source, table))})"
            self._connection.execute(f"CREATE VIEW {source}.{table} AS {scan}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def ordered(self, table: str, key: Sequence[str]) -> pa.RecordBatchReader:
        """Every row in the order of `key`, texts by code point, 65,536 rows at a time."""
        done = self._connection.execute(f"SELECT * FROM {table} ORDER BY {', '.join(key)}")
        return done.to_arrow_reader(_BATCH_ROWS)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

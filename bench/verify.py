"""Whether a result is right, row for row: `python -m bench.verify TABLE BASE KIND` prints the checksum of a table.

The checksum is the number of rows, and the sum and the exclusive or of a 64-bit hash over all columns of each row, so
neither order nor file layout matters. DuckDB streams it; the right answer comes from the base and the batches alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow import ipc

PARTITION = "_partition"
MEMORY = "2GB"


def connect() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"memory_limit": MEMORY, "threads": 2})


def checksum(connection: duckdb.DuckDBPyConnection, relation: str, schema: pa.Schema) -> dict[str, Any]:
    """Of `relation` (SQL text), whose columns are cast to the base's types first: same value, same hash."""
    columns = ", ".join(
        f"CAST({name} AS {_SQL_TYPES[str(kind)]})" for name, kind in zip(schema.names, schema.types, strict=True)
    )
    row = connection.execute(f"""
        SELECT count(*), sum(h::HUGEINT), bit_xor(h) FROM (SELECT hash({columns}, {PARTITION}) AS h FROM {relation})
    """).fetchone()
    assert row is not None
    return {"rows": row[0], "sum": str(row[1]), "xor": str(row[2])}


_SQL_TYPES = {
    "int32": "INTEGER",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
}


def expected_checksum(base: Path, batches: Sequence[Path]) -> dict[str, Any]:
    """Of the base without the batches' keys, and the batches."""
    connection = connect()
    files = sorted(base.rglob("*.parquet"))
    connection.register("batch", pa.concat_tables([ipc.open_file(pa.OSFile(str(path))).read_all() for path in batches]))
    return checksum(
        connection,
        f"""(
        SELECT * FROM {scan(files)} WHERE id NOT IN (SELECT id FROM batch) UNION ALL BY NAME SELECT * FROM batch
    )""",
        pq.read_schema(files[0]),
    )


def scan(files: Sequence[Path]) -> str:
    """SQL of hive-style files with `_partition` as text."""
    names = ", ".join(f"'{path}'" for path in files)
    return f"read_parquet([{names}], hive_partitioning = true, hive_types = {{'{PARTITION}': VARCHAR}})"


def table_checksum(table: Path, base: Path) -> dict[str, Any]:
    """Of a Delta table on local disk; `base` tells the types."""
    files = [Path(uri) for uri in DeltaTable(str(table)).file_uris()]
    return checksum(connect(), scan(files), _types(base))


def ducklake_checksum(table: Path, base: Path) -> dict[str, Any]:
    """Of the DuckLake table whose data is in `table`, with the `commits` made after its files were registered."""
    from bench.engines.ducklake import attach, commits

    connection = connect()
    scratch = table.parent / "scratch"
    attach(connection, scratch, table)
    return checksum(connection, "lake.t", _types(base)) | {"commits": commits(connection, scratch)}


def _types(base: Path) -> pa.Schema:
    return pq.read_schema(next(base.rglob("*.parquet")))


if __name__ == "__main__":
    of = table_checksum if sys.argv[3] == "delta" else ducklake_checksum
    sys.stdout.write(json.dumps(of(Path(sys.argv[1]), Path(sys.argv[2]))))

"""`_ops/`: Delta tables for people, beside the sources. Rebuildable; nothing correct rests on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from import_platform.core.rejected import RejectedRow
from import_platform.io.lake import Lake

REJECTED_ROWS = pa.schema(
    [
        ("source", pa.string()),
        ("table", pa.string()),
        ("attempt", pa.string()),
        ("chunk", pa.int64()),
        ("row_number", pa.int64()),
        ("key", pa.string()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("row", pa.string()),
        ("recorded_at", pa.timestamp("us", "UTC")),
    ]
)


def record_rejected(
    lake: Lake, source: str, table: str, attempt: str, chunks: Sequence[tuple[int, Sequence[RejectedRow]]]
) -> None:
    """Appends rejected rows to `_ops/rejected_rows`, once per (attempt, chunk) however often it is called."""
    uri, options = f"{lake.uri}/_ops/rejected_rows", lake.store.storage_options
    known: set[int] = set()
    if DeltaTable.is_deltatable(uri, storage_options=options):
        seen = pl.scan_delta(uri, storage_options=options).filter(pl.col("attempt") == attempt).select("chunk")
        known = set(seen.unique().collect()["chunk"].to_list())
    now = datetime.now(UTC)
    rows = [
        {
            "source": source,
            "table": table,
            "attempt": attempt,
            "chunk": chunk,
            "row_number": number,
            "key": json.dumps(dict(row.key)),
            "column": row.column,
            "reason": row.reason,
            "row": row.row,
            "recorded_at": now,
        }
        for chunk, rejected in chunks
        if chunk not in known
        for number, row in enumerate(rejected)
    ]
    if rows:
        write_deltalake(uri, pa.Table.from_pylist(rows, schema=REJECTED_ROWS), mode="append", storage_options=options)

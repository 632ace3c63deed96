"""What the lake says of a table, from its log alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa

from import_platform.core.identity import Identity
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from import_platform.pipeline.context import stored_identity


@dataclass(frozen=True)
class LeafStatus:
    """One leaf: rows, bytes at rest, files."""

    rows: int
    bytes: int
    files: int


@dataclass(frozen=True)
class TableStatus:
    """One table in the lake. `leaves` in name order; times UTC; `open_attempts` passes that can be resumed."""

    table: str
    uri: str
    rows: int
    bytes: int
    files: int
    leaves: Mapping[str, LeafStatus]
    delta_version: int
    cursor_value: str | None
    last_commit_at: datetime
    schema: pa.Schema
    identity: Identity
    open_attempts: int


def table_status(lake: Lake, source: str, table: str) -> TableStatus | None:
    """The table's status; None when the lake has no such table. Reads the Delta log and small state files only.

    Raises:
        StoreUnavailable, ConfigError: the log cannot be read, or the table is not ours.
    """
    log = DeltaLog(lake.store, lake.table_path(source, table))
    snapshot = log.snapshot()
    identity = stored_identity(snapshot)
    if snapshot is None or identity is None:
        return None
    staging = Staging(lake.store, lake.staging_path(source, table))
    by_leaf = (
        snapshot.files.group_by("leaf").agg(pl.col("rows").sum(), pl.col("size_bytes").sum(), pl.len()).sort("leaf")
    )
    return TableStatus(
        table=f"{source}/{table}",
        uri=log.uri,
        rows=snapshot.rows,
        bytes=snapshot.size_bytes,
        files=snapshot.files.height,
        leaves={leaf: LeafStatus(rows, size, files) for leaf, rows, size, files in by_leaf.iter_rows()},
        delta_version=snapshot.version,
        cursor_value=staging.state(snapshot.transaction).cursor,
        last_commit_at=log.committed_at(),
        schema=snapshot.schema,
        identity=identity,
        open_attempts=len(staging.attempts()),
    )

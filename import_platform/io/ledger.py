"""`_ops/`: Delta tables for people, beside the sources. Rebuildable; nothing correct rests on them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from import_platform.core.rejected import RejectedRow
from import_platform.errors import StoreUnavailable
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
TRIES = 20
BACKOFF_SECONDS = 0.05
FORGET_AT_ONCE = 500


@dataclass(frozen=True)
class RejectedId:
    """What names one rejected row of a table in the ledger."""

    attempt: str
    chunk: int
    row_number: int


def record_rejected(
    lake: Lake, source: str, table: str, attempt: str, chunks: Sequence[tuple[int, Sequence[RejectedRow]]]
) -> None:
    """Appends rejected rows to `_ops/rejected_rows`, once per (attempt, chunk) however often it is called.

    Two processes may create the ledger at once: the loser looks again and appends.

    Raises:
        StoreUnavailable: the ledger could not be written.
    """
    for round_ in range(1, TRIES + 1):
        try:
            return _append(lake, source, table, attempt, chunks)
        except (CommitFailedError, DeltaError, OSError) as error:
            lake.store.refuse_missing_bucket(error)
            if round_ == TRIES:
                raise _unwritten(lake) from error
            time.sleep(random.uniform(0, BACKOFF_SECONDS * 2 ** min(round_, 5)))
    return None


def _append(
    lake: Lake, source: str, table: str, attempt: str, chunks: Sequence[tuple[int, Sequence[RejectedRow]]]
) -> None:
    known: set[int] = set()
    ledger = _ledger(lake)
    if ledger is not None:
        mine = (pl.col("source") == source) & (pl.col("table") == table) & (pl.col("attempt") == attempt)
        seen = _rows(lake, ledger).filter(mine).select("chunk")
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
        data = pa.Table.from_pylist(rows, schema=REJECTED_ROWS)
        options = lake.store.storage_options
        # Not the default retries: a commit whose answer got lost would be made once more on top of itself.
        once = CommitProperties(max_commit_retries=0)
        write_deltalake(_uri(lake), data, mode="append", storage_options=options, commit_properties=once)


def rejected_batches(lake: Lake, source: str, table: str | None, *, rows: int = 4096) -> Iterator[pa.RecordBatch]:
    """The ledger's rows of a table, or of all tables of a source, in batches of REJECTED_ROWS' columns."""
    ledger = _readable(lake)
    if ledger is None:
        return
    wanted = _rows(lake, ledger).filter(pl.col("source") == source)
    if table is not None:
        wanted = wanted.filter(pl.col("table") == table)
    for frame in wanted.collect_batches(chunk_size=rows, maintain_order=True):
        yield from frame.select(REJECTED_ROWS.names).to_arrow().cast(REJECTED_ROWS).to_batches(max_chunksize=rows)


def latest_rejected(lake: Lake, source: str | None, table: str | None, *, limit: int) -> pl.DataFrame:
    """The newest rejected rows, newest first, at most `limit`; of all sources where none is named."""
    ledger = _readable(lake)
    if ledger is None:
        return pl.DataFrame(pa.Table.from_pylist([], schema=REJECTED_ROWS))
    found = _rows(lake, ledger)
    for column, value in (("source", source), ("table", table)):
        found = found if value is None else found.filter(pl.col(column) == value)
    newest = found.sort("recorded_at", "attempt", "chunk", "row_number", descending=True).head(limit)
    return newest.collect(engine="streaming")


def count_rejected(lake: Lake, source: str | None, table: str | None) -> int:
    """How many rows the ledger holds."""
    ledger = _readable(lake)
    if ledger is None:
        return 0
    found = _rows(lake, ledger)
    for column, value in (("source", source), ("table", table)):
        found = found if value is None else found.filter(pl.col(column) == value)
    return int(found.select(pl.len()).collect().item())


def forget_rejected(lake: Lake, source: str, table: str, ids: Sequence[RejectedId]) -> None:
    """Takes rows out of the ledger: they are in the lake now, or a newer version is.

    Raises:
        StoreUnavailable: the ledger could not be written; the rows are replayed once more the next time.
    """
    ledger = _readable(lake)
    if ledger is None:
        return
    for start in range(0, len(ids), FORGET_AT_ONCE):
        some = ids[start : start + FORGET_AT_ONCE]
        each = " OR ".join(
            f"(attempt = {_literal(i.attempt)} AND chunk = {i.chunk} AND row_number = {i.row_number})" for i in some
        )
        try:
            ledger.delete(f'source = {_literal(source)} AND "table" = {_literal(table)} AND ({each})')
        except (CommitFailedError, DeltaError, OSError) as error:
            raise _unwritten(lake) from error


def _ledger(lake: Lake) -> DeltaTable | None:
    options = lake.store.storage_options
    if not DeltaTable.is_deltatable(_uri(lake), storage_options=options):
        return None
    return DeltaTable(_uri(lake), storage_options=options)


def _readable(lake: Lake) -> DeltaTable | None:
    try:
        return _ledger(lake)
    except (DeltaError, OSError) as error:
        lake.store.refuse_missing_bucket(error)
        raise StoreUnavailable(
            "the ledger of rejected rows cannot be read", ledger=_uri(lake), remedy="Check the lake; then try again."
        ) from error


def _uri(lake: Lake) -> str:
    return f"{lake.uri}/_ops/rejected_rows"


def _rows(lake: Lake, ledger: DeltaTable) -> pl.LazyFrame:
    """Not by `scan_delta`, which of a lake at `a b` looks for the files in `a%20b`, and takes `a=b` for a column."""
    paths = [unquote(uri) for uri in ledger.file_uris()]
    if not paths:
        return pl.LazyFrame(pa.Table.from_pylist([], schema=REJECTED_ROWS))
    return pl.scan_parquet(
        paths, glob=False, hive_partitioning=False, storage_options=lake.store.storage_options or None
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _unwritten(lake: Lake) -> StoreUnavailable:
    return StoreUnavailable(
        "the ledger of rejected rows cannot be written", ledger=_uri(lake), remedy="Check the lake; then run it again."
    )

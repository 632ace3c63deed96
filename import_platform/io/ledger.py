"""`_ops/`: Delta tables for people, beside the sources. Rebuildable; nothing correct rests on them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
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
from import_platform.io.ops_table import OpsTable

_ROW = (
    ("source", pa.string()),
    ("table", pa.string()),
    ("attempt", pa.string()),
    ("chunk", pa.int64()),
    ("row_number", pa.int64()),
)
"""What names one rejected row of a lake."""

REJECTED_ROWS = pa.schema(
    [
        *_ROW,
        ("key", pa.string()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("row", pa.string()),
        ("recorded_at", pa.timestamp("us", "UTC")),
    ]
)
RESOLVED_REJECTS = pa.schema(
    [
        *_ROW,
        ("rejected", pa.string()),
        ("how", pa.string()),
        ("resolved_by", pa.string()),
        ("resolved_at", pa.timestamp("us", "UTC")),
    ]
)
"""Which rejected rows are open no more, how and by which attempt; `rejected` is the three columns before it as one."""

_SAME = tuple(name for name, _ in _ROW)
TRIES = 20
BACKOFF_SECONDS = 0.05
FORGET_AT_ONCE = 500


@dataclass(frozen=True)
class RejectedId:
    """What names one rejected row of a table in the ledger."""

    attempt: str
    chunk: int
    row_number: int

    def __str__(self) -> str:
        return f"{self.attempt}/{self.chunk}/{self.row_number}"


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


def open_rejected(
    lake: Lake, source: str, table: str | None, *, rows: int = 4096, before: datetime | None = None
) -> Iterator[pa.RecordBatch]:
    """The open rows of a table (None: of a whole source), in batches of REJECTED_ROWS: only those that
    were recorded `before` an instant, if given."""
    ledger = _readable(lake)
    if ledger is None:
        return
    wanted = _of(_rows(lake, ledger), source, table)
    if before is not None:
        wanted = wanted.filter(pl.col("recorded_at") < before)
    left = wanted.join(_resolved(lake, source, table).lazy(), on=_SAME, how="anti", maintain_order="left")
    for frame in left.collect_batches(chunk_size=rows, maintain_order=True):
        yield from frame.select(REJECTED_ROWS.names).to_arrow().cast(REJECTED_ROWS).to_batches(max_chunksize=rows)


def resolve_rejected(
    lake: Lake, source: str, table: str, ids: Mapping[RejectedId, str], *, attempt: str, since: datetime
) -> None:
    """Notes how rejected rows were resolved by an attempt that began at `since`; the rows stay in the ledger.

    Raises:
        StoreUnavailable: the ledger could not be written; the rows stay open.
    """
    if not ids:
        return
    now = datetime.now(UTC)
    rows = [
        {
            "source": source,
            "table": table,
            "attempt": each.attempt,
            "chunk": each.chunk,
            "row_number": each.row_number,
            "rejected": str(each),
            "how": how,
            "resolved_by": attempt,
            "resolved_at": now,
        }
        for each, how in ids.items()
    ]
    _resolutions(lake).append_new(pa.Table.from_pylist(rows, schema=RESOLVED_REJECTS), key="rejected", since=since)


def resolved_rejected(lake: Lake, source: str, table: str) -> list[RejectedId]:
    """The rejected rows of a table that are in the ledger and open no more."""
    ledger = _readable(lake)
    if ledger is None:
        return []
    done = _resolved(lake, source, table)
    held = _of(_rows(lake, ledger), source, table).select(_SAME).join(done.lazy(), on=_SAME, how="semi").collect()
    return [RejectedId(*row) for row in held.select("attempt", "chunk", "row_number").iter_rows()]


def latest_rejected(
    lake: Lake, source: str | None, table: str | None, *, limit: int, resolved: bool = False
) -> pl.DataFrame:
    """The newest rejected rows, newest first, at most `limit`; of all sources where none is named. Those that are open,
    or all, with `how` and `resolved_at` (null: open)."""
    ledger = _readable(lake)
    if ledger is None:
        return pl.DataFrame(pa.Table.from_pylist([], schema=REJECTED_ROWS)).with_columns(
            pl.lit(None, pl.String).alias("how"), pl.lit(None, pl.Datetime("us", "UTC")).alias("resolved_at")
        )
    done = _resolved(lake, source, table)
    found = _of(_rows(lake, ledger), source, table).join(done.lazy(), on=_SAME, how="left")
    found = found if resolved else found.filter(pl.col("resolved_at").is_null())
    newest = found.sort("recorded_at", "attempt", "chunk", "row_number", descending=True).head(limit)
    return newest.collect(engine="streaming")


def count_rejected(lake: Lake, source: str | None, table: str | None, *, resolved: bool = False) -> int:
    """How many rows of the ledger are open, or were resolved."""
    ledger = _readable(lake)
    if ledger is None:
        return 0
    found = _of(_rows(lake, ledger), source, table).select(_SAME)
    done = _resolved(lake, source, table).lazy()
    left = found.join(done, on=_SAME, how="semi" if resolved else "anti")
    return int(left.select(pl.len()).collect().item())


def _of(rows: pl.LazyFrame, source: str | None, table: str | None) -> pl.LazyFrame:
    for column, value in (("source", source), ("table", table)):
        rows = rows if value is None else rows.filter(pl.col(column) == value)
    return rows


def _resolutions(lake: Lake) -> OpsTable:
    return OpsTable(lake, "resolved_rejects", RESOLVED_REJECTS, time_column="resolved_at")


def _resolved(lake: Lake, source: str | None, table: str | None) -> pl.DataFrame:
    """Once per rejected row, the first time it was resolved. Memory: about 100 bytes per rejected row ever resolved."""
    read = _resolutions(lake).read([*_SAME, "how", "resolved_at"])
    found = _of(pl.DataFrame(read).lazy(), source, table).collect()
    return found.sort("resolved_at").unique(_SAME, keep="first")


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

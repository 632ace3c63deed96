"""What ran, what it held and who pays, for SQL: `_ops/{runs,chunks,usage,incidents}`, Delta tables beside the sources.

A run is written at once as one small document, `_ops/run_documents/<run>.json`: that takes a millisecond and no
compare-and-swap. `fold` moves the documents of all tables into the Delta tables, in one commit each, once per Dagster
run; rows are known by the run's id, so folding again, or by two processes at once, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa

from import_platform.core.run_record import ChunkRecord, RunRecord, record_from_json
from import_platform.io.incident_table import project_incidents
from import_platform.io.lake import Lake
from import_platform.io.ledger import REJECTED_ROWS
from import_platform.io.ops_table import OpsTable
from import_platform.io.store import REQUESTS

DOCUMENTS = "_ops/run_documents"
FOLD_AT_ONCE = 500
KEPT_RUNS, KEPT_CHUNKS, KEPT_REJECTED = timedelta(days=400), timedelta(days=90), timedelta(days=400)

_INSTANT = pa.timestamp("us", "UTC")
_TYPES: Mapping[str, pa.DataType] = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "datetime": _INSTANT,
    "int | None": pa.int64(),
    "str | None": pa.string(),
}
RUNS = pa.schema([(field.name, _TYPES[str(field.type)]) for field in fields(RunRecord) if field.name != "chunks"])
CHUNKS = pa.schema([
    ("run", pa.string()), ("source", pa.string()), ("table", pa.string()),
    *((field.name, _TYPES[str(field.type)]) for field in fields(ChunkRecord)),
    ("ended_at", _INSTANT),
])  # fmt: skip
_COUNTED = ("rows_read", "rows_inserted", "rows_updated", "rows_deleted", "bytes_read", "bytes_written")
USAGE = pa.schema([
    ("day", pa.string()), ("source", pa.string()), ("table", pa.string()), ("kind", pa.string()),
    ("billable", pa.bool_()), ("runs", pa.int64()),
    *((name, pa.int64()) for name in _COUNTED),
    ("seconds", pa.float64()),
])  # fmt: skip


def runs_table(lake: Lake) -> OpsTable:
    return OpsTable(lake, "runs", RUNS, time_column="ended_at")


def chunks_table(lake: Lake) -> OpsTable:
    return OpsTable(lake, "chunks", CHUNKS, time_column="ended_at")


def usage_table(lake: Lake) -> OpsTable:
    return OpsTable(lake, "usage", USAGE, time_column="day", partition="day")


def put_run(lake: Lake, record: RunRecord) -> None:
    """Writes the document of a run; one of that run that is there stays as it is.

    Raises:
        StoreUnavailable: the lake did not take it.
    """
    lake.store.put_if_absent(f"{DOCUMENTS}/{record.run}.json", record.to_json())


def has_document(lake: Lake, run: str) -> bool:
    """True for a run that waits to be folded."""
    return lake.store.size_bytes(f"{DOCUMENTS}/{run}.json") is not None


def fold(lake: Lake) -> int:
    """Moves documents of runs into the ledger's tables; returns how many. Also projects incidents.

    Raises:
        StoreUnavailable: the ledger could not be written; its documents stay for the next time.
    """
    folded = 0
    while paths := sorted(entry.path for entry in lake.store.entries(DOCUMENTS))[:FOLD_AT_ONCE]:
        with ThreadPoolExecutor(1 if lake.store.is_local else REQUESTS, thread_name_prefix="ledger") as pool:
            found = [data for data in pool.map(lake.store.get, paths) if data is not None]
        add_runs(lake, [record_from_json(data) for data in found])
        lake.store.delete(paths)
        folded += len(found)
    project_incidents(lake)
    if folded and runs_table(lake).is_scattered():
        tend(lake)
    return folded


def add_runs(lake: Lake, records: Sequence[RunRecord]) -> int:
    """Adds runs that the ledger does not have, and counts their days' usage anew; returns how many were new."""
    if not records:
        return 0
    since = min(record.started_at for record in records)
    chunks = [
        {
            "run": record.run,
            "source": record.source,
            "table": record.table,
            **asdict(chunk),
            "ended_at": record.ended_at,
        }
        for record in records
        for chunk in record.chunks
    ]
    if chunks:
        chunks_table(lake).append_new(pa.Table.from_pylist(chunks, schema=CHUNKS), key="run", since=since)
    rows = [{name: getattr(record, name) for name in RUNS.names} for record in records]
    new = runs_table(lake).append_new(pa.Table.from_pylist(rows, schema=RUNS), key="run", since=since)
    _count_usage(lake, {record.ended_at.date().isoformat() for record in records})
    return new


def known_runs(lake: Lake, *, since: datetime) -> frozenset[str]:
    """Ids of runs that the ledger has among those that ended since then."""
    return frozenset(runs_table(lake).read(["run"], since=since).column(0).to_pylist())


def tend(lake: Lake) -> None:
    """Keeps the ledger small: few files, and nothing older than its tables are kept. `usage` is kept for ever."""
    now = datetime.now(UTC)
    runs_table(lake).tend(keep_since=now - KEPT_RUNS)
    chunks_table(lake).tend(keep_since=now - KEPT_CHUNKS)
    rejected = OpsTable(lake, "rejected_rows", REJECTED_ROWS, time_column="recorded_at")
    rejected.tend(keep_since=now - KEPT_REJECTED)
    usage_table(lake).tend()


def _count_usage(lake: Lake, days: Iterable[str]) -> None:
    wanted = sorted(days)
    first = datetime.fromisoformat(wanted[0]).replace(tzinfo=UTC)

    def usage() -> pa.Table:
        columns = ["ended_at", "source", "table", "kind", "billable", *_COUNTED, "seconds"]
        runs = pl.DataFrame(runs_table(lake).read(columns, since=first))
        counted = (
            runs.with_columns(pl.col("ended_at").dt.strftime("%Y-%m-%d").alias("day"))
            .filter(pl.col("day").is_in(wanted))
            .group_by("day", "source", "table", "kind", "billable")
            .agg(pl.len().cast(pl.Int64).alias("runs"), *(pl.col(name).sum() for name in (*_COUNTED, "seconds")))
            .sort("day", "source", "table", "kind", "billable")
        )
        return counted.select(USAGE.names).to_arrow().cast(USAGE)

    named = ", ".join(f"'{day}'" for day in wanted)
    usage_table(lake).replace(usage, predicate=f"day IN ({named})")

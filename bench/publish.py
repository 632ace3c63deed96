"""`python -m bench.publish --rows N`: a publication to PostgreSQL against a bare binary COPY of the same rows.

Each in a process of its own, in turns, on a server of this run; the target of both has the same primary key. `create` is a
first publication, `swap` one over a table that is full, `merge` one of a hundredth of the rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.identity import Identity
from import_platform.core.publication import PublishMode, ToPostgres
from import_platform.core.table import UNPARTITIONED
from import_platform.demo.postgres_server import PostgresServer
from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.memory import MemoryWatch, tame_allocators
from import_platform.io.parquet import LeafWriter, read_batches

BATCH_ROWS = 100_000
BUDGET = MemoryBudget(512 * MIB, 180 * MIB)
DDL = (
    "id bigint, customer text, note text, price numeric(12,2), weight double precision, quantity integer,"
    " paid boolean, day date, created timestamptz, updated timestamptz"
)


def batch_of(first: int, rows: int, *, seed: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(first + seed)
    ids = np.arange(first, first + rows, dtype=np.int64)
    cents = pa.array(random.integers(0, 10**7, rows)).cast(pa.decimal128(21, 2)).cast(pa.decimal128(12, 2))
    return pa.RecordBatch.from_pydict({
        "id": pa.array(ids),
        "customer": pa.array([f"customer-{number:08x}" for number in random.integers(0, 10**6, rows)]),
        "note": pa.array([None if i % 4 == 0 else f"order {i} of the year" for i in ids], pa.string()),
        "price": cents,
        "weight": pa.array(random.random(rows)),
        "quantity": pa.array(random.integers(1, 100, rows).astype(np.int32)),
        "paid": pa.array(random.random(rows) < 0.5),
        "day": pa.array((ids % 3650 + 15_000).astype(np.int32)).cast(pa.date32()),
        "created": pa.array(ids * 1_000_000 + 1_500_000_000_000_000, pa.timestamp("us", "UTC")),
        "updated": pa.array(random.integers(15 * 10**14, 17 * 10**14, rows), pa.timestamp("us", "UTC")),
    })  # fmt: skip


def write(lake: Lake, rows: int) -> None:
    schema = batch_of(0, 1).schema
    writer = LeafWriter(lake.store, lake.table_path("bench", "orders"), "all", schema)
    for first in range(0, rows, BATCH_ROWS):
        writer.write(batch_of(first, min(BATCH_ROWS, rows - first)))
    log = DeltaLog(lake.store, lake.table_path("bench", "orders"))
    log.create(schema, Commit(writer.close(), ()), identity=Identity(UNPARTITIONED, ("id",)).to_json())


def touch(lake: Lake, rows: int) -> None:
    """A new version with every file rewritten and a hundredth of the rows changed."""
    folder = lake.table_path("bench", "orders")
    log = DeltaLog(lake.store, folder)
    snapshot = log.snapshot()
    assert snapshot is not None
    writer = LeafWriter(lake.store, folder, "all", snapshot.schema)
    for first in range(0, rows, BATCH_ROWS):
        batch = batch_of(first, min(BATCH_ROWS, rows - first))
        changed = batch.slice(0, batch.num_rows // 100)
        notes = pa.array([f"changed {number}" for number in range(changed.num_rows)])
        writer.write(changed.set_column(2, snapshot.schema.field("note"), notes))
        writer.write(batch.slice(changed.num_rows))
    log.commit(snapshot, Commit(writer.close(), snapshot.files["path"].to_list()))


def bare(lake: Lake, dsn: str) -> int:
    """What anybody would write: the Parquet files' batches into one COPY of the driver."""
    import adbc_driver_postgresql.dbapi as driver

    snapshot = DeltaLog(lake.store, lake.table_path("bench", "orders")).snapshot()
    assert snapshot is not None
    paths = [f"{lake.table_path('bench', 'orders')}/{path}" for path in snapshot.files["path"]]
    batches = (batch for path in paths for _, batch in read_batches(lake.store, path))
    with driver.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bare")
        cursor.execute(f"CREATE TABLE bare ({DDL}, PRIMARY KEY (id))")
        rows = cursor.adbc_ingest(
            "bare", pa.RecordBatchReader.from_batches(snapshot.schema, batches), mode="append", db_schema_name="public"
        )
        connection.commit()
        return int(rows)


def ours(lake: Lake, dsn: str, mode: str) -> int:
    from import_platform.pipeline.publish import Publishing, publish_group

    to = ToPostgres("DSN", mode=PublishMode.SWAP if mode == "swap" else None)
    [report] = publish_group(Publishing(lake, "bench", BUDGET), [("orders", to)], dsn)
    return report.rows_read


def child(what: str, lake: Lake, dsn: str) -> None:
    tame_allocators()
    import adbc_driver_postgresql.dbapi  # noqa: F401  both begin with what both have to import

    with MemoryWatch() as watch:
        began = time.perf_counter()
        rows = bare(lake, dsn) if what == "bare" else ours(lake, dsn, what)
        seconds = time.perf_counter() - began
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    told = {"what": what, "rows": rows, "seconds": round(seconds, 2), "peak_mb": round(watch.peak_bytes / 1e6),
            "cpu_seconds": round(cpu.ru_utime + cpu.ru_stime, 2)}  # fmt: skip
    print(json.dumps(told), flush=True)


def measured(what: str, lake: Lake, dsn: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.publish", "--child", what, lake.uri, dsn]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(result), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "LAKE", "DSN"))
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], Lake(asked.child[1]), asked.child[2])
        return
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as server:
        Path(folder).chmod(0o755)
        lake, dsn = Lake(f"{folder}/lake"), server.start(Path(folder) / "data")
        write(lake, asked.rows)
        results = {"bare": measured("bare", lake, dsn), "create": measured("create", lake, dsn)}
        touch(lake, asked.rows)
        results["merge"] = measured("merge", lake, dsn)
        touch(lake, asked.rows)
        results["swap"] = measured("swap", lake, dsn)
        again = measured("bare", lake, dsn)
        base = (results["bare"]["seconds"] + again["seconds"]) / 2
        for name in ("create", "merge", "swap"):
            print(f"{name}: {results[name]['seconds'] / base:.2f} x bare COPY, peak {results[name]['peak_mb']} MB")


if __name__ == "__main__":
    main()

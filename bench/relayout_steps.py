"""The measured processes of `bench.relayout`: one step each, its result a line of JSON."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from bench.cases import Base, Shape
from bench.child import reset_peak, status_bytes
from bench.environment import ROOT
from bench.relayout import BATCH_ROWS, JANUARY_MICROS, SENSOR_LEAVES, SENSOR_TABLES, SPLIT_BUDGET
from bench.rows import FIRST_DAY_MICROS, rows, schema
from import_platform.core.budget import MemoryBudget
from import_platform.core.identity import Identity
from import_platform.core.table import DeclaredTable, Granularity, NumberPartition, SyncMode, TimePartition
from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.memory import MemoryWatch, held_bytes, tame_allocators
from import_platform.io.parquet import LeafWriter, WrittenFile
from import_platform.pipeline.context import TableContext, open_lake_table
from import_platform.pipeline.split import plan_split, split_leaf
from import_platform.pipeline.sync import sync_table
from import_platform.sources.registry import open_source

CONVERGE_SECONDS = 600.0
SHOP = """\
type: import_platform.components.ExternalSource
attributes:
  name: shop
  connection: {kind: sqlite, path: "{{ env.SHOP_DB }}"}
  tables:
    - {name: orders, sync: incremental, cursor: updated_at, primary_key: [id], partition: {column: id, width: 100}}
"""
MONTH = TimePartition("created_at", Granularity.MONTH)
SOURCE, TABLE = "bench", "events"


def build(folder: str, size: float, order: str) -> dict[str, Any]:
    """The table `bench/events`: January of about `size` bytes in files as syncs leave them, and a little February."""
    lake = Lake(folder)
    path = lake.table_path(SOURCE, TABLE)
    files: list[WrittenFile] = []
    for leaf, limit in (("2025-01", size), ("2025-02", size / 50)):
        writer = LeafWriter(lake.store, path, leaf, schema(Shape.NARROW), statistics_first=["id"])
        for batch in _month(leaf, limit, order):
            writer.write(batch)
        files += writer.close()
    log = DeltaLog(lake.store, path)
    log.create(schema(Shape.NARROW), Commit(files, [], number=1), identity=Identity(MONTH, ("id",)).to_json())
    january = [file for file in files if file.leaf == "2025-01"]
    return {"bytes": sum(f.size_bytes for f in january), "rows": sum(f.rows for f in january), "files": len(january)}


def _month(leaf: str, limit: float, order: str) -> Iterator[pa.RecordBatch]:
    """Batches that come to about the limit at rest: 61 bytes a row, found by writing them."""
    total = int(limit / 61)
    base = Base(Shape.NARROW, files=1, rows_per_file=total)
    begins = FIRST_DAY_MICROS + (JANUARY_MICROS if leaf == "2025-02" else 0)
    for start in range(0, total, BATCH_ROWS):
        numbers = np.arange(start, min(start + BATCH_ROWS, total))
        batch = rows(base, numbers, version=0)
        at = numbers if order == "time" else numbers * 7_919_999 % total
        created = begins + at * (28 * 86_400_000_000 // total)
        stamps = pa.array(created, pa.int64()).cast(batch.schema.field("created_at").type)
        key = pa.array(numbers + (10**12 if leaf == "2025-02" else 0))
        yield batch.set_column(1, batch.schema.field(1), stamps).set_column(0, batch.schema.field(0), key)


def plain(folder: str, out: str) -> dict[str, Any]:
    """Every file of the month read and written again by Polars, as it comes: what the bytes themselves cost."""
    january = sorted(Path(folder).rglob("_partition=2025-01/*.parquet"))
    Path(out).mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(Path(out) / "warm-up.parquet")
    reset_peak()
    began = time.perf_counter()
    for file in january:
        frame = pl.read_parquet(file, hive_partitioning=False)
        frame.write_parquet(Path(out) / file.name, compression="zstd", compression_level=1)
    return {"seconds": time.perf_counter() - began, "peak": status_bytes("VmHWM")}


def split(folder: str) -> dict[str, Any]:
    """The month taken apart by the platform at the budget; plan included."""
    tame_allocators()
    budget = MemoryBudget(SPLIT_BUDGET, held_bytes())
    table = open_lake_table(Lake(folder), SOURCE, TABLE)
    before = table.snapshot
    assert before is not None
    began = time.perf_counter()
    with MemoryWatch(budget.total_bytes) as watch:
        plan = plan_split(table, "2025-01", limit_bytes=int(before.size_bytes * 0.9))
        done = split_leaf(table, plan, budget=budget, watch=watch)
        seconds = time.perf_counter() - began
    after = table.log.snapshot()
    assert after is not None
    others = set(before.files.filter(pl.col("leaf") != "2025-01")["path"])
    return {
        "seconds": seconds,
        "peak": watch.peak_bytes,
        "written": done.rewritten_bytes,
        "files": done.files_added,
        "leaves": len(done.leaves),
        "others_untouched": others == set(after.files["path"]) & set(before.files["path"]),
        "same_rows": _sums(table, before.files["path"]) == _sums(table, after.files["path"]),
    }


def _sums(table: Any, paths: pl.Series) -> dict[str, Any]:
    """Sums of every number over the files, a file at a time."""
    totals: dict[str, Any] = {}
    for path in sorted(paths):
        scan = pl.scan_parquet(f"{table.log.uri}/{path}", hive_partitioning=False)
        wide = pl.col("id", "account_id").cast(pl.Int128).sum()
        times = pl.col("created_at", "updated_at").to_physical().cast(pl.Int128).sum()
        text = pl.col("token", "note").str.len_bytes().cast(pl.Int128).sum()
        found = scan.select(wide, times, text, rows=pl.len().cast(pl.Int128)).collect().to_dicts()[0]
        totals = {name: totals.get(name, 0) + value for name, value in found.items()}
    return totals


def sensor(folder: str) -> dict[str, Any]:
    """One evaluation over tables whose logs are real, and another when nothing has changed."""
    import dagster as dg

    from import_platform.sensors.repartition_oversized import Memory, Watched, evaluate

    lake = Lake(folder)
    leaves = [f"2025-{month:02}-{day:02}" for month in range(1, 9) for day in range(1, 26)][:SENSOR_LEAVES]
    identity = Identity(TimePartition("created_at", Granularity.DAY), ("id",)).to_json()
    for number in range(SENSOR_TABLES):
        path = lake.table_path("s", f"t{number}")
        files = [
            WrittenFile(f"_partition={leaf}/{uuid.uuid4().hex}.parquet", leaf, 1, 10, 1, '{"numRecords": 10}')
            for leaf in leaves
        ]
        for file in files:
            lake.store.put(f"{path}/{file.path}", b"0")
        DeltaLog(lake.store, path).create(schema(Shape.NARROW), Commit(files, [], number=1), identity=identity)
    tables, memory = [Watched("s", f"t{number}") for number in range(SENSOR_TABLES)], Memory()
    Path(f"{folder}-home").mkdir()
    with dg.DagsterInstance.local_temp(f"{folder}-home") as instance:
        for number in range(SENSOR_TABLES):
            instance.add_dynamic_partitions(f"s/t{number}", leaves)
        taken = []
        for _ in range(2):
            began = time.perf_counter()
            evaluate(instance, lake, tables, memory, now=datetime.now(UTC), limit_bytes=10**9)
            taken.append(time.perf_counter() - began)
    return {"first": taken[0], "again": taken[1], "looked_at": len(memory.fine)}


def converge(folder: str) -> dict[str, Any]:
    """A shop whose 64 leaves are all over the limit; only the sensor and the daemon know. A sync goes on beside them,
    of a process that no pool holds back."""
    shop = _Shop(Path(folder))
    shop.sync()
    leaves, total_bytes = shop.leaves(), sum(shop.leaves().values())
    limit_bytes = min(leaves.values()) - 1
    ui = shop.start_daemon(limit_bytes)
    began, syncs = time.perf_counter(), 0
    try:
        while max(shop.leaves().values()) > limit_bytes and time.perf_counter() - began < CONVERGE_SECONDS:
            shop.change(syncs)
            shop.sync()
            syncs += 1
            time.sleep(1)
        seconds = time.perf_counter() - began
    finally:
        ui.terminate()
        ui.wait()
    shop.sync()
    after = shop.leaves()
    over = sum(size > limit_bytes for size in after.values())
    return {"seconds": seconds, "syncs": syncs, "bytes": total_bytes, "over": over, "before": len(leaves),
            "leaves": len(after), "matches": shop.matches()}  # fmt: skip


class _Shop:
    """A project with a SQLite source of one table and a Dagster home of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.database, self.rows = root, root / "shop.db", 6400
        (root / "defs" / "shop").mkdir(parents=True)
        (root / "defs" / "shop" / "defs.yaml").write_text(SHOP)
        self.environment = {
            "SHOP_DB": str(self.database),
            "DAGSTER_HOME": str(root / "home"),
            "IMPORT_PLATFORM_LAKE": str(root / "lake"),
            "IMPORT_PLATFORM_DEFS": str(root / "defs"),
            "IMPORT_PLATFORM_MEMORY": "1GiB",
        }
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("create table orders (id integer primary key, updated_at timestamp, note text)")
            made = ((n, "2025-01-01 00:00:00", uuid.uuid4().hex) for n in range(self.rows))
            connection.executemany("insert into orders values (?, ?, ?)", made)

    def change(self, number: int) -> None:
        at = f"2025-01-02 {number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"
        with closing(sqlite3.connect(self.database)) as connection, connection:
            some = [(at, f"changed {number}", (number * 37 + step) % 6400) for step in (0, 1777, 4242)]
            connection.executemany("update orders set updated_at = ?, note = ? where id = ?", some)
            connection.execute("insert into orders values (?, ?, ?)", (self.rows + number, at, f"new {number}"))

    def sync(self) -> None:
        declared = DeclaredTable("orders", SyncMode.INCREMENTAL, "updated_at", ("id",), NumberPartition("id", 100))
        source = open_source("shop", {"kind": "sqlite", "path": str(self.database)})
        budget = MemoryBudget(1 << 30, held_bytes())
        try:
            sync_table(TableContext("shop", declared, source, Lake(str(self.root / "lake")), budget))
        finally:
            source.close()

    def start_daemon(self, limit_bytes: int) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.environment, "IMPORT_PLATFORM_PARTITION_MAX": str(limit_bytes)}
        command = [sys.executable, "-m", "import_platform.cli", "ui", "--port", "34567"]
        log = (self.root / "ui.log").open("wb")
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)

    def leaves(self) -> dict[str, int]:
        snapshot = DeltaLog(Lake(str(self.root / "lake")).store, "shop/orders").snapshot()
        assert snapshot is not None
        return dict(snapshot.files.group_by("leaf").agg(pl.col("size_bytes").sum()).iter_rows())

    def matches(self) -> bool:
        lake = pl.read_delta(str(self.root / "lake" / "shop" / "orders")).select("id", "note").sort("id")
        with closing(sqlite3.connect(self.database)) as connection:
            source = connection.execute("select id, note from orders order by id").fetchall()
        return lake.rows() == source


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    steps = {"build": build, "plain": plain, "split": split, "sensor": sensor, "converge": converge}
    sys.stdout.write(json.dumps(steps[request.pop("step")](**request)) + "\n")

"""One large flush on an object store: by the ordinary path, by parts in one process, and by parts in two.

`python -m bench.fan_out [--leaves 64] [--rows 15000] [--changed 4] [--latency 20] [--runs 3]` changes every fourth row of a
table of so many leaves on an S3 server of its own (moto), each of whose answers comes 20 ms late. Everything is staged
before the clock starts. Every run's table is read back and compared; prints one JSON object, exits 1 when rows differ.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from bench.environment import ROOT
from bench.object_store import BUCKET, ObjectStore, object_store
from import_platform.core.budget import GIB, budget_of
from import_platform.core.cursor import encode
from import_platform.core.fan_out import FanOut, within
from import_platform.core.table import ColumnInfo, DeclaredTable, Granularity, SyncMode, TableInfo, TimePartition
from import_platform.io.lake import Lake
from import_platform.io.memory import MemoryWatch, held_bytes, tame_allocators
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.fan_out import PLAN, planned_table, write_part
from import_platform.pipeline.sync import sync_table
from import_platform.sources.protocol import Ceiling, Page, ReadRequest

LAKE = f"s3://{BUCKET}/lake"
START = datetime(2025, 1, 1, tzinfo=UTC)
STAMP = pa.timestamp("us", "UTC")
PAGE_ROWS = 100_000
PARTS = 4
BUDGET_BYTES = GIB


@dataclass
class Rows:
    """A source of `leaves` days of `each` rows; `version` says what they hold and when they were updated."""

    leaves: int
    each: int
    version: int = 0
    stride: int = 1
    kind: str = "bench"
    reads_ahead: bool = field(default=False)

    def table(self, numbers: np.ndarray[Any, Any], version: int) -> pa.RecordBatch:
        dice = np.random.Generator(np.random.PCG64([version, int(numbers[0])]))
        created = [START + timedelta(days=int(n // self.each), seconds=int(n % self.each)) for n in numbers]
        words = dice.integers(0, 1 << 60, (3, numbers.size)).astype("U20")
        return pa.record_batch({
            "id": pa.array(numbers, pa.int64()),
            "created": pa.array(created, STAMP),
            "version": pa.array(np.full(numbers.size, version), pa.int64()),
            "amount": pa.array(dice.random(numbers.size)),
            **{f"text{i}": pa.array(word.tolist(), pa.string()) for i, word in enumerate(words)},
        })  # fmt: skip

    def check(self) -> str:
        return "rows made up"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        schema = self.table(np.arange(1), 0).schema
        columns = tuple(ColumnInfo(f.name, f.type, str(f.type), f.nullable) for f in schema)
        return [TableInfo("", "t", columns, ("id",), self.leaves * self.each, 0)]

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling:
        return Ceiling(encode(self.version, pa.int64()), settled=True)

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        return self.leaves * self.each

    def base_keys(self, table: TableInfo, partition: Any, *, limit: int, timeout_seconds: float) -> list[str] | None:
        return None

    def read(self, request: ReadRequest) -> Iterator[Page]:
        numbers = np.arange(self.version % self.stride, self.leaves * self.each, self.stride)
        start = int(request.after["row"]) if request.after else 0
        for at in range(start, numbers.size, PAGE_ROWS):
            page = numbers[at : at + PAGE_ROWS]
            yield Page(self.table(page, self.version), {"row": at + page.size})

    def close(self) -> None: ...


def context(source: Rows, fan_out: FanOut | None) -> TableContext:
    declared = DeclaredTable("t", SyncMode.INCREMENTAL, "version", None, TimePartition("created", Granularity.DAY))
    budget = budget_of(BUDGET_BYTES, base_bytes=held_bytes())
    return TableContext("s", declared, source, Lake(LAKE), budget, fan_out=fan_out)


def work() -> None:
    """A process that writes the parts that it is told by number, line by line."""
    tame_allocators()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        planned = planned_table(Lake(LAKE), "s", "t")
        assert planned is not None
        part = planned.plan.parts[int(line) - 1]
        budget = within(budget_of(BUDGET_BYTES, base_bytes=held_bytes()), part.need_bytes)
        with MemoryWatch(budget.total_bytes) as watch:
            write_part(planned, part, budget, watch=watch)
        sys.stdout.write(f"{watch.peak_bytes} {budget.total_bytes}\n")
        sys.stdout.flush()


@dataclass
class Worker:
    """A process of `work`, started and ready."""

    process: subprocess.Popen[str]

    def write(self, number: int) -> tuple[int, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        peak, total = self.process.stdout.readline().split()
        return int(peak), int(total)

    def end(self) -> None:
        self.process.communicate()


def started() -> Worker:
    command = [sys.executable, "-m", "bench.fan_out", "--work"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return Worker(process)


def shared(source: Rows, processes: int) -> dict[str, Any]:
    """The staged flush by so many processes, and its commit by this one."""
    begun = time.monotonic()
    workers = [started() for _ in range(processes)]
    ready = time.monotonic()
    left: queue.SimpleQueue[int] = queue.SimpleQueue()
    planned = planned_table(Lake(LAKE), "s", "t")
    assert planned is not None
    for part in planned.plan.parts:
        left.put(part.number)
    peaks: list[tuple[int, int]] = []

    def run(worker: Worker) -> None:
        while True:
            try:
                number = left.get_nowait()
            except queue.Empty:
                return
            peaks.append(worker.write(number))

    threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = time.monotonic()
    sync_table(context(source, None))
    done = time.monotonic()
    for worker in workers:
        worker.end()
    return {
        "seconds": done - ready,
        "commit_seconds": done - written,
        "start_seconds": ready - begun,
        "peak_bytes": max(peak for peak, _ in peaks),
        "budget_bytes": max(total for _, total in peaks),
    }


def alone(source: Rows) -> dict[str, Any]:
    """The same staged flush by the ordinary path."""
    planned = planned_table(Lake(LAKE), "s", "t")
    assert planned is not None
    lake = planned.lake
    lake.store.delete([f"{lake.staging_path('s', 't')}/attempts/{planned.attempt.id}/{PLAN}"])
    begun = time.monotonic()
    report = sync_table(context(source, None))
    return {"seconds": time.monotonic() - begun, "peak_bytes": report.peak_memory_bytes, "budget_bytes": BUDGET_BYTES}


def is_right(source: Rows, store: ObjectStore, before: pl.DataFrame) -> tuple[bool, pl.DataFrame]:
    """Whether every row has its newest version, once; `before` are key and version as they should have been then."""
    expected = before.with_columns(
        version=pl.when(pl.col("id") % source.stride == source.version % source.stride)
        .then(source.version)
        .otherwise("version")
    )
    options = store.options(delayed=False)
    found = pl.read_delta(f"{LAKE}/s/t", storage_options=options, columns=["id", "version"]).sort("id")
    return found.equals(expected), expected


def measure(arguments: argparse.Namespace, store: ObjectStore) -> dict[str, Any]:
    source = Rows(arguments.leaves, arguments.rows)
    os.environ.update(store.options(delayed=False))
    sync_table(context(source, None))
    os.environ.update(store.options(delayed=True))
    expected = pl.DataFrame({"id": range(arguments.leaves * arguments.rows), "version": 0})
    source.stride = arguments.changed
    ways = {"ordinary": alone, "one process": lambda s: shared(s, 1), "two processes": lambda s: shared(s, 2)}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    wrong = 0
    for _ in range(arguments.runs):
        for name, way in ways.items():
            source.version += 1
            sync_table(context(source, FanOut(1, PARTS)))
            requests = store.requests()
            measured = way(source) | {"requests": store.requests() - requests}
            found[name].append(measured)
            right, expected = is_right(source, store, expected)
            wrong += not right
            sys.stderr.write(f"{name}: {measured['seconds']:.1f} s, {measured['requests']} requests\n")
    summary = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()
    }
    return {"leaves": arguments.leaves, "rows": arguments.leaves * arguments.rows, "wrong": wrong, **summary}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=64)
    parser.add_argument("--rows", type=int, default=15_000, help="per leaf")
    parser.add_argument("--changed", type=int, default=4, help="every so manieth row changes")
    parser.add_argument("--latency", type=int, default=20, help="milliseconds added to each request")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work()
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        object_store(Path(sys.executable), latency_ms=arguments.latency) as store,
    ):
        os.environ["DAGSTER_HOME"] = folder
        result = measure(arguments, store)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if result["wrong"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

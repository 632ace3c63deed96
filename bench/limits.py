"""`python -m bench.limits [keys] [filters] [foreign]`: what a budget of 512 MiB must survive.

    keys      20 million rows synced again with every row changed, in random order of their keys
    filters   100 million UUID keys over 200 leaves; then twice 2,000 changed rows in two leaves, one in a hundred of
              them moved to another leaf: files probed, filter bytes, no stale copy
    foreign   a file that others wrote as one row group of 10,000 rows of 200 kB, 2 GB decoded; a hundred rows change

Each sync runs in a process of its own on rows that are made as they are read, so that what is measured is ours. A line
is printed per sync; the exit code is 1 when the lake has another row than it should or a peak is over the budget.
About 5 GB of scratch and twenty minutes; `--scale 0.01` for a try.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from bench.rows import Numbers, mixed, uuid_text
from import_platform.core.budget import MIB, budget_of
from import_platform.core.table import ColumnInfo, DeclaredTable, Granularity, SyncMode, TableInfo, TimePartition
from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.memory import held_bytes
from import_platform.io.parquet import WrittenFile, conform, leaf_path
from import_platform.io.statistics import statistics_json
from import_platform.io.store import Store
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.protocol import Ceiling, Page, ReadRequest

BUDGET_BYTES = 512 * MIB
PAGE_ROWS = 100_000
LEAVES = 200
MIXED = 2654435761  # odd, so a bijection on 32 bits: keys in no order
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
STAMP = pa.timestamp("us", tz="UTC")
DAY_MICROS = 86_400_000_000
NAMES = {"keys": (20_000_000, 2), "filters": (100_000_000, 3), "foreign": (10_000, 2)}
WIDE_BYTES = 200_000


@dataclass(frozen=True)
class Made:
    """A source of one table whose rows follow from their number and `version`, which counts the syncs before."""

    name: str
    rows: int
    version: int
    kind = "made"

    def check(self) -> str:
        return "rows made up"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        key = pa.string() if self.name == "filters" else pa.int64()
        kinds = {"id": key, "created_at": STAMP, "updated_at": STAMP}
        kinds |= {"payload": pa.string()} if self.name == "foreign" else {}
        columns = tuple(ColumnInfo(name, kind, str(kind), False) for name, kind in kinds.items())
        return [TableInfo("", "t", columns, ("id",), self.rows, self.rows * 40)]

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling:
        return Ceiling((EPOCH + timedelta(days=self.version, hours=23)).isoformat(), settled=True)

    def read(self, request: ReadRequest) -> Iterator[Page]:
        start = int(request.after["at"]) if request.after else 0
        numbers = self.changed()
        rows = 10 if self.name == "foreign" else PAGE_ROWS
        for at in range(start, len(numbers), rows):
            yield Page(self.batch(np.asarray(numbers[at : at + rows])), {"at": at + rows})

    def close(self) -> None: ...

    def changed(self) -> Sequence[int]:
        """Numbers of the rows that a sync of this version finds; ranges, because a list of them would be measured."""
        if self.name == "foreign":
            return range(0, self.rows, self.rows // (100 if self.version else 1))
        if self.name == "keys" or not self.version:
            return range(self.rows)
        first = np.arange(0, min(self.rows, LEAVES * 1000), LEAVES) + self.version
        return list(np.sort(np.concatenate([first, first + LEAVES // 2])))

    def batch(self, numbers: Numbers) -> pa.RecordBatch:
        """The rows of these numbers."""
        if self.name == "foreign":
            key, days = pa.array(numbers, pa.int64()), np.zeros(len(numbers), np.int64)
        elif self.name == "keys":
            key, days = pa.array(numbers * MIXED % (1 << 32), pa.int64()), np.zeros(len(numbers), np.int64)
        else:
            # In the order in which a database gives its rows, which is that of the key.
            ordered = numbers.astype(np.uint64) * np.uint64((1 << 64) // self.rows)
            key, days = uuid_text(ordered.byteswap(), mixed(numbers.astype(np.uint64))), numbers % LEAVES
            if self.version:
                days = np.where(numbers // LEAVES % 100 == 0, LEAVES - 1, days)
        micros = int(EPOCH.timestamp()) * 1_000_000
        stamps = (micros + days * DAY_MICROS, micros + self.version * DAY_MICROS + numbers)
        arrays = [key, *(pa.array(stamp, pa.int64()).cast(STAMP) for stamp in stamps)]
        if self.name == "foreign":
            words = [f'{{"number": {number}, "version": {self.version}}}, ' for number in numbers]
            arrays.append(pa.array([(word * (WIDE_BYTES // len(word) + 1))[:WIDE_BYTES] for word in words]))
        return pa.RecordBatch.from_arrays(arrays, names=["id", "created_at", "updated_at", "payload"][: len(arrays)])


def sync(made: Made, lake: str) -> dict[str, Any]:
    """One sync, in the process that calls it."""
    granularity = Granularity.DAY if made.name == "filters" else Granularity.YEAR
    declared = DeclaredTable("t", SyncMode.INCREMENTAL, "updated_at", ("id",), TimePartition("created_at", granularity))
    budget = budget_of(BUDGET_BYTES, base_bytes=held_bytes())
    context = TableContext("s", declared, made, Lake(lake), budget, max_run_seconds=7200)  # type: ignore[arg-type]
    return sync_table(context).as_json()


def exchange(made: Made, lake: str) -> None:
    """Puts one file of one row group in place of the table's files, as another program might have written it."""
    log = DeltaLog(Store(lake), "s/t")
    snapshot = log.snapshot()
    assert snapshot is not None
    path = f"{leaf_path('2025')}/foreign.parquet"
    footers: list[pq.FileMetaData] = []
    with pq.ParquetWriter(f"{lake}/s/t/{path}", snapshot.schema, metadata_collector=footers) as writer:
        parts = [made.batch(np.arange(at, min(at + 100, made.rows))) for at in range(0, made.rows, 100)]
        rows = pa.Table.from_batches([conform(part, snapshot.schema) for part in parts])
        writer.write_table(rows, row_group_size=made.rows)
    [footer] = footers
    assert footer.num_row_groups == 1
    size_bytes = Path(f"{lake}/s/t/{path}").stat().st_size
    statistics = statistics_json(footer, ["id", "updated_at"])
    file = WrittenFile(path, "2025", size_bytes, made.rows, made.rows * WIDE_BYTES, statistics)
    log.commit(snapshot, Commit([file], snapshot.files["path"].to_list()))


def is_right(made: Made, lake: str) -> bool:
    """The lake has as many rows as there are keys, and the changed ones in their new version: so no stale copy."""
    files = DeltaTable(f"{lake}/s/t").file_uris()
    since = (EPOCH + timedelta(days=made.version)).isoformat()
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT count(*), count(*) FILTER (updated_at >= '{since}') FROM read_parquet({files})"
        ).fetchone()
    return found == (made.rows if made.version else len(made.changed()), len(made.changed()))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.limits")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of rows")
    parser.add_argument("--scratch", type=Path)
    options = parser.parse_args(arguments)
    good = True
    for name in options.names or list(NAMES):
        rows, syncs = NAMES[name]
        with tempfile.TemporaryDirectory(prefix=f"bench-limits-{name}-", dir=options.scratch) as lake:
            for version in range(syncs):
                made = Made(name, int(rows * options.scale), version)
                with multiprocessing.get_context("spawn").Pool(1) as process:
                    report = process.apply(sync, (made, lake))
                right = is_right(made, lake)
                if name == "foreign" and not version:
                    exchange(made, lake)
                good = good and right and report["peak_memory_bytes"] <= BUDGET_BYTES
                _say(name, version, report, right=right)
    return 0 if good else 1


def _say(name: str, version: int, report: dict[str, Any], *, right: bool) -> None:
    counts = {key: report[key] for key in ("files_considered", "files_probed", "files_removed", "files_added")}
    sys.stdout.write(
        f"{name} sync {version}: {report['rows_read']:,} rows in {report['seconds']:.1f} s,"
        f" peak {report['peak_memory_bytes'] / 1e6:.0f} MB of {BUDGET_BYTES / 1e6:.0f},"
        f" {json.dumps(counts)}, filters {report['filter_bytes'] / 1e6:.1f} MB, {'right' if right else 'WRONG ROWS'}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

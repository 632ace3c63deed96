"""The peak of a merge follows the batch and the budget, not the partition it goes into. Each merge in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.s3_server import environment

MERGE = """
import json, sys, tempfile
import numpy as np, pyarrow as pa
from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.table import HashPartition
from import_platform.io.lake import Lake
from import_platform.io.memory import held_bytes
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import EPOCH, SyncedTable

folder, count, width, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def rows(ids, day):
    ids = np.asarray(ids)
    noise = pa.py_buffer(np.random.default_rng(day).bytes(len(ids) * width))
    return pa.table({
        "id": pa.array(ids), "updated": pa.array(np.full(len(ids), day), pa.timestamp("us", "UTC")),
        "text": pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(ids), [None, noise]).cast(pa.binary()),
    })

def table(source_rows, budget):
    source = ListSource(source_rows, page_rows=max(1, (1 << 20) // width))
    return SyncedTable(Lake(folder), source, partition=HashPartition(0), budget=budget)

if step == "fill":
    budget = MemoryBudget(8 << 30, (8 << 30) - 1024 * MIB)
    for part in range(0, count, 20_000_000 // width):
        ids = range(part, min(count, part + 20_000_000 // width))
        table(rows(ids, part + 1), budget).sync()
    print(json.dumps({"bytes": table(rows(ids, 1), budget).log.snapshot().size_bytes}))
else:
    base = held_bytes()
    budget = MemoryBudget(1024 * MIB, 1024 * MIB - 120 * MIB)
    changed = rows(np.linspace(0, count - 1, 200).astype(np.int64), 2_000_000_000)
    merged = table(changed, budget)
    report = merged.sync()
    assert report.rows_updated == len(set(changed["id"].to_pylist())), report
    assert report.files_removed > 1
    print(json.dumps({"peak": report.peak_memory_bytes - base, "written": report.bytes_written}))
"""


def run(folder: Path, *arguments: object) -> dict[str, int]:
    command = [sys.executable, "-c", MERGE, str(folder), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment({}), cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 40_000], ids=["narrow rows", "wide rows"])
def test_the_peak_of_a_merge_does_not_grow_with_the_partition(tmp_path, width):
    peaks = {}
    for megabytes in (30, 240):
        folder = tmp_path / str(megabytes)
        count = megabytes * 1_000_000 // width
        assert run(folder, count, width, "fill")["bytes"] > 0.9 * megabytes * 1_000_000
        merged = run(folder, count, width, "merge")
        assert merged["written"] > 0.7 * megabytes * 1_000_000, "every file was rewritten"
        peaks[megabytes] = merged["peak"]
    # Eight times the partition. What grows a little is how long both workers overlap; and a peak is the greatest of
    # samples, of which a short run on a busy machine has few.
    assert peaks[240] < max(peaks[30], 100_000_000) * 1.5, peaks
    assert peaks[240] < 240_000_000, "less than the partition at rest"

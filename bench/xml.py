"""`python -m bench.xml [--megabytes 2000] [--memory 512MiB] [--runs 3]`: twelve tables of one XML file against a bare walk.

The walk is lxml's `iterparse` over the end of every element in a process of its own; it takes nothing, and clears what it
has passed. Beside it stands a walk that is told of records only (`tag=`), the least that lxml can do with a file. Ours is
`import-platform sync` of all twelve tables from an empty lake, imports and commits included, also in a process of its own.
They take turns; medians are printed. Peak is the summed PSS of ours, sampled every 0.1 s. Every table's rows are compared
with what the file's tags say. Exit code 1 when a promise is not kept or a count is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bench.environment import ROOT
from bench.measure import PssSampler
from import_platform.core.budget import parse_bytes

EXAMPLE = ROOT / "examples" / "court_records"
TAGS = {
    "cases": "case",
    "courts": "caseCourt",
    "keywords": "keyword",
    "parties": "party",
    "addresses": "contactMailingAddress",
    "attorneys": "attorney",
    "charges": "charge",
    "sentences": "sentence",
    "docket_entries": "docketEntry",
    "documents": "document",
    "hearings": "hearing",
    "fees": "fee",
}
SPEED_LEAST = 0.5
_WALK = """
import sys
from lxml import etree
elements = 0
for _, element in etree.iterparse(sys.argv[1]):
    elements += 1
    element.clear()
print(elements)
"""
_WALK_OF_RECORDS = """
import sys
from lxml import etree
records = 0
for _, element in etree.iterparse(sys.argv[1], tag="{urn:example:court-records}case"):
    records += 1
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]
print(records)
"""


@dataclass(frozen=True)
class Took:
    """What one process took."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=float, default=2000)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-xml-", dir=asked.scratch) as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, str(EXAMPLE / "generate.py"), str(folder / "court_records"), str(asked.megabytes)],
            check=True,
        )
        return compare(folder, asked.memory, asked.runs)


def compare(folder: Path, memory: str, runs: int) -> int:
    [file] = (folder / "court_records").glob("*.xml")
    expected = counts(file)
    walks, walks_of_records, ours, wrong = [], [], [], []
    for run in range(runs):
        walks.append(measured([sys.executable, "-c", _WALK, str(file)], folder, {}))
        walks_of_records.append(measured([sys.executable, "-c", _WALK_OF_RECORDS, str(file)], folder, {}))
        lake = folder / f"lake-{run}"
        ours.append(measured([sys.executable, "-m", "import_platform.cli", "--json", "sync", "court"], folder, {
            "IMPORT_PLATFORM_LAKE": str(lake),
            "IMPORT_PLATFORM_MEMORY": memory,
            "IMPORT_PLATFORM_DEFS": str(EXAMPLE / "defs"),
            "DAGSTER_HOME": str(folder / f"home-{run}"),
            "TMPDIR": str(folder),
        }))  # fmt: skip
        found = {name: pl.scan_delta(str(lake / "court" / name)).select(pl.len()).collect().item() for name in TAGS}
        wrong += [
            f"{name}: {found[name]} rows, expected {expected[name]}" for name in TAGS if found[name] != expected[name]
        ]
    return told(file, memory, (walks, walks_of_records, ours), wrong)


def told(file: Path, memory: str, series: tuple[list[Took], list[Took], list[Took]], wrong: list[str]) -> int:
    walk, of_records, mine = (statistics.median(took.seconds for took in one) for one in series)
    processor = [round(statistics.median(took.processor_seconds for took in one), 2) for one in series]
    peak = max(took.peak_bytes for took in series[-1])
    print(json.dumps({
        "file_mb": round(file.stat().st_size / 1e6),
        "walk_seconds": round(walk, 2),
        "walk_of_records_seconds": round(of_records, 2),
        "sync_seconds": round(mine, 2),
        "processor_seconds": processor,
        "speed_of_walk": round(walk / mine, 3),
        "speed_of_walk_of_records": round(of_records / mine, 3),
        "peak_mb": round(peak / 1e6),
        "wrong": wrong,
    }))  # fmt: skip
    kept = walk / mine >= SPEED_LEAST and peak <= parse_bytes(memory, name="--memory")
    return 0 if kept and not wrong else 1


def counts(file: Path) -> dict[str, int]:
    """How often each table's element begins; the generator writes no comments and no other namespaces."""
    found = dict.fromkeys(TAGS, 0)
    with file.open("rb") as stream:
        for line in stream:
            for name, tag in TAGS.items():
                start = f"<c:{tag}".encode()
                found[name] += line.count(start + b" ") + line.count(start + b">")
    return found


def measured(command: list[str], folder: Path, env: dict[str, str]) -> Took:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        sampler = PssSampler(child.pid)
        sampler.start()
        _, complaint = child.communicate()
        sampler.stop()
    if child.returncode:
        raise SystemExit(complaint.decode()[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(time.perf_counter() - began, processor, sampler.peak_bytes)


if __name__ == "__main__":
    sys.exit(main())

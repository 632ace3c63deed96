"""`python -m bench.group [--rows 2e8] [--memory 1GiB] [--runs 3]`: ordered measurements, one row per address with lists.

Ours is `import-platform group`; DuckDB runs `GROUP BY address` with `list()` over the same files at the same memory limit
and number of threads. Each run is a process of its own, they take turns, and medians are printed: wall time, processor
time, the kernel's peak RSS, and rows per second of processor time. Ours verifies the order of every row and writes
lists in that order; DuckDB is not asked for either. Both results are compared once, by groups, lengths, and sums that
no order changes. Exit code 1 when they differ. Scratch: about 9 GB at 2e8 rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench.environment import ROOT

_DUCKDB = """
import sys, duckdb
files, out, memory, spill = sys.argv[1:]
connection = duckdb.connect(config={"memory_limit": memory, "temp_directory": spill, "preserve_insertion_order": False})
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f'''COPY (SELECT address, list(measured_at) AS measured_at, list(round_trip_ms) AS round_trip_ms,
    list(hops) AS hops FROM '{files}' GROUP BY address) TO '{out}/part.parquet' (FORMAT parquet, COMPRESSION zstd)''')
"""


@dataclass(frozen=True)
class Taken:
    """What one process took; `error` is the last line of one that failed."""

    seconds: float
    processor_seconds: float
    peak_bytes: int
    error: str = ""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=float, default=2e8)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-group-", dir=asked.scratch) as folder:
        return compare(Path(folder), int(asked.rows), asked.memory, asked.runs)


def compare(folder: Path, rows: int, memory: str, runs: int) -> int:
    made = folder / "measurements"
    script = ROOT / "examples" / "measurements" / "make_measurements.py"
    subprocess.run([sys.executable, str(script), str(made), str(rows)], check=True)
    size = sum(path.stat().st_size for path in made.iterdir())
    say(f"{rows:,} rows, {size / 1e6:,.0f} MB in {len(list(made.iterdir()))} files; {memory}, {os.cpu_count()} cores")
    files, taken = str(made / "*.parquet"), {name: list[Taken]() for name in ("ours", "duckdb")}
    for number in range(runs):
        for name, results in taken.items():
            out = folder / name
            shutil.rmtree(out, ignore_errors=True)
            results.append(run(command(name, files, out, memory, folder), memory))
            say(f"  {name:7} #{number}  {line(results[-1], rows)}")
    for name, results in taken.items():
        done = [each for each in results if not each.error]
        say(f"{name:7} {len(done)} of {runs} runs came through")
        if done:
            say(f"        median {line(median(done), rows)}")
    if any(each.error for each in taken["duckdb"]):
        return int(any(each.error for each in taken["ours"]))
    same = contents(folder / "ours") == contents(folder / "duckdb")
    say("the same groups" if same else "DIFFERENT groups")
    return int(not same)


def command(name: str, files: str, out: Path, memory: str, folder: Path) -> list[str]:
    if name == "duckdb":
        out.mkdir()
        return [sys.executable, "-c", _DUCKDB, files, str(out), memory, str(folder / "spill")]
    start = "import sys; from import_platform.cli.app import main; main()"
    return [sys.executable, "-c", start, "group", files, "--by", "address", "--order-by", "measured_at",
            "--out", str(out), "--json"]  # fmt: skip


def run(command: list[str], memory: str) -> Taken:
    environment = {**os.environ, "IMPORT_PLATFORM_MEMORY": memory}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stderr is not None
        complaint = child.stderr.read().decode().strip().splitlines()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    error = (complaint or [f"exit code {child.returncode}"])[-1][:160] if child.returncode else ""
    return Taken(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, error)


def median(taken: list[Taken]) -> Taken:
    return Taken(
        statistics.median(each.seconds for each in taken),
        statistics.median(each.processor_seconds for each in taken),
        int(statistics.median(each.peak_bytes for each in taken)),
    )


def line(taken: Taken, rows: int) -> str:
    if taken.error:
        return f"FAILED after {taken.seconds:.1f} s at {taken.peak_bytes / 1e6:,.0f} MB: {taken.error}"
    return (
        f"{taken.seconds:6.1f} s  {taken.processor_seconds:6.1f} s of processor  "
        f"{rows / taken.processor_seconds / 1e6:5.1f} M rows/s of a core  peak {taken.peak_bytes / 1e6:,.0f} MB"
    )


def contents(folder: Path) -> str:
    """Groups, their keys with their lengths and times, and the sums of all values."""
    found = duckdb.sql(f"""
        SELECT count(*), sum(len(measured_at)), bit_xor(hash(address, len(hops))),
               sum(hash(address, list_sum(list_transform(measured_at, lambda x: epoch_us(x)))) % 1000003),
               sum(list_sum(hops)), sum(list_sum(list_transform(round_trip_ms, lambda x: round(x * 100)::BIGINT)))
        FROM '{folder}/**/*.parquet'
    """).fetchone()
    return json.dumps(found, default=str)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

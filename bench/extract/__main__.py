"""`python -m bench.extract`: a PostgreSQL table into Delta by us and by dlt, and the floor; see bench/extract/README.md."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.environment import FOLDER, ROOT, python_of
from bench.extract.source import WIDE_ROWS, make_tables, touch
from import_platform.demo.postgres_server import PostgresServer

TIMEOUT_SECONDS = 900
MIB = 1 << 20
Results = dict[tuple[str, str], list[dict[str, Any]]]
"""Runs by (case, engine)."""


def main() -> int:
    options = _options()
    results: Results = {}
    scratch = options.scratch.absolute()
    with PostgresServer(settings={"synchronous_commit": "off", "max_wal_size": "4GB"}) as server:
        dsn = server.start(scratch / "postgres")
        make_tables(dsn, rows=options.rows)
        for run in range(options.runs):
            for engine in ("floor", "ours", "dlt"):
                folder = scratch / engine
                shutil.rmtree(folder, ignore_errors=True)
                _note(results, "initial", engine, _child(engine, dsn, "big", folder), options.rows)
                if engine != "floor":
                    changed = touch(dsn, run=run * 2 + (engine == "dlt"))
                    _note(results, "1 % incremental", engine, _child(engine, dsn, "big", folder), changed)
                shutil.rmtree(folder, ignore_errors=True)
                _note(results, "60 rows of 8 MB", engine, _child(engine, dsn, "wide", folder), WIDE_ROWS)
                shutil.rmtree(folder, ignore_errors=True)
    text = _table(results, options)
    sys.stdout.write(text)
    if options.publish:
        _publish(text)
    return 0 if all("error" not in run for runs in results.values() for run in runs) else 1


def _child(engine: str, dsn: str, table: str, folder: Path) -> dict[str, Any]:
    request = json.dumps({"engine": engine, "dsn": dsn, "table": table, "folder": str(folder)})
    command = [str(python_of("extract")), "-m", "bench.extract.child", request]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {TIMEOUT_SECONDS} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _note(results: Results, case: str, engine: str, run: dict[str, Any], rows: int) -> None:
    # Everybody reads the rows at the last cursor value again, so a few more than changed is right.
    if "error" not in run and not rows <= run["rows"] <= rows + 10:
        run = {"error": f"{run['rows']} rows instead of {rows}"}
    results.setdefault((case, engine), []).append(run)
    said = run.get("error") or f"{run['seconds']:.2f} s, peak {run['peak_rss_bytes'] / MIB:.0f} MiB"
    sys.stderr.write(f"{case:16} {engine:6} {said}\n")


def _table(results: Results, options: argparse.Namespace) -> str:
    lines = [
        f"{options.rows:,} rows, median of {options.runs}, spread in brackets; ratios are to the engine named.",
        "",
        "| case | engine | seconds | peak RSS MiB | ratio of the times |",
        "|---|---|---|---|---|",
    ]
    against = {"initial": "floor", "1 % incremental": "dlt", "60 rows of 8 MB": "dlt"}
    for (case, engine), runs in sorted(results.items()):
        good = [run for run in runs if "error" not in run]
        if not good:
            lines.append(f"| {case} | {engine} | failed: {runs[0]['error']} | | |")
            continue
        seconds = [run["seconds"] for run in good]
        peak = median(run["peak_rss_bytes"] for run in good) / MIB
        other = [run["seconds"] for run in results.get((case, against[case]), []) if "error" not in run]
        ratio = f"{median(seconds) / median(other):.2f} x {against[case]}" if other else ""
        spread = f"{median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
        lines.append(f"| {case} | {engine} | {spread} | {peak:.0f} | {ratio} |")
    return "\n".join(lines) + "\n"


def _publish(text: str) -> None:
    readme = Path(__file__).with_name("README.md")
    head, _, rest = readme.read_text().partition("<!-- results -->\n")
    tail = rest.partition("<!-- end of results -->")[2]
    readme.write_text(f"{head}<!-- results -->\n{text}<!-- end of results -->{tail}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.extract")
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=FOLDER / "extract-data")
    parser.add_argument("--publish", action="store_true", help="write the table into bench/extract/README.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench.relayout`: what splits and the sensor take at full size; prints its findings and keeps nothing.

    split     a month of 1.5 GB into days at 512 MiB, against a plain Polars read-and-write of the same files
    sensor    one evaluation over 500 tables of 200 leaves
    converge  64 leaves over the limit, split while a sync commits every second

Every measured step runs in a process of its own. Exit code 1 when a promise of README.md is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.environment import ROOT

MIB = 1 << 20
SPLIT_BUDGET = 512 * MIB
WRITTEN_MAX, SLOWER_MAX = 1.1, 2.5
SENSOR_TABLES, SENSOR_LEAVES, SENSOR_SECONDS = 500, 200, 10.0
BATCH_ROWS = 250_000
JANUARY_MICROS = 31 * 86_400_000_000


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.relayout", description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=[], help=f"of {', '.join(CASES)}; all when left out")
    parser.add_argument("--bytes", type=float, default=1.5e9, help="size of the month that is split")
    parser.add_argument("--order", choices=["time", "key"], default=None, help="rows in the order of time, or not")
    parser.add_argument("--scratch", type=Path, default=None, help="where the tables are made and deleted again")
    options = parser.parse_args(arguments)
    unkept: list[str] = []
    with tempfile.TemporaryDirectory(prefix="relayout-", dir=options.scratch) as scratch:
        for name in options.cases or list(CASES):
            unkept += CASES[name](Path(scratch), options)
    for sentence in unkept:
        _say(f"NOT KEPT: {sentence}")
    return 1 if unkept else 0


def split_case(scratch: Path, options: argparse.Namespace) -> list[str]:
    """In the order of time a file has rows of few days; in another order every file has rows of every day."""
    unkept = []
    for order in [options.order] if options.order else ["time", "key"]:
        folder = scratch / f"split-{order}"
        made = _child("build", folder=str(folder), size=options.bytes, order=order)
        _say(f"split, rows in the order of {order}: a month of {_mb(made['bytes'])}, {made['rows']:,} rows, "
             f"{made['files']} files")  # fmt: skip
        plain = _child("plain", folder=str(folder), out=str(scratch / "plain"))
        shutil.rmtree(scratch / "plain")
        ours = _child("split", folder=str(folder))
        written, slower = ours["written"] / made["bytes"], ours["seconds"] / plain["seconds"]
        _say(f"  plain Polars read and write   {plain['seconds']:6.1f} s   peak {_mb(plain['peak'])}")
        _say(f"  split into {ours['leaves']} leaves           {ours['seconds']:6.1f} s   peak {_mb(ours['peak'])} of "
             f"{_mb(SPLIT_BUDGET)}   {slower:.2f} x the time   {written:.3f} x the bytes, {ours['files']} files")  # fmt: skip
        found = {
            f"the peak is inside the budget ({order})": ours["peak"] <= SPLIT_BUDGET,
            f"at most {WRITTEN_MAX} x the bytes are written ({order})": written <= WRITTEN_MAX,
            f"no other file is touched ({order})": ours["others_untouched"],
            f"the rows are the same ({order})": ours["same_rows"],
            f"it takes at most {SLOWER_MAX} x the time of a plain read and write ({order})": slower <= SLOWER_MAX,
        }
        unkept += [sentence for sentence, kept in found.items() if not kept]
        shutil.rmtree(folder)
    return unkept


def sensor_case(scratch: Path, _: argparse.Namespace) -> list[str]:
    found = _child("sensor", folder=str(scratch / "sensor"))
    _say(f"sensor: {SENSOR_TABLES} tables of {SENSOR_LEAVES} leaves in {found['first']:.1f} s the first time, "
         f"{found['again']:.2f} s when nothing has changed; {found['looked_at']} looked at")  # fmt: skip
    quick = found["first"] <= SENSOR_SECONDS and found["looked_at"] == SENSOR_TABLES
    return [] if quick else [f"{SENSOR_TABLES} tables are looked at in {SENSOR_SECONDS:.0f} s"]


def converge_case(scratch: Path, _: argparse.Namespace) -> list[str]:
    found = _child("converge", folder=str(scratch / "converge"))
    _say(f"converge: 64 leaves of {found['bytes'] / 1e3:,.0f} kB together, {found['seconds']:.1f} s beside {found['syncs']} syncs; "
         f"{found['over']} over the limit, {found['leaves']} leaves after")  # fmt: skip
    return [] if found["matches"] and not found["over"] else ["64 leaves converge beside a sync, none lost or doubled"]


CASES: dict[str, Callable[[Path, argparse.Namespace], list[str]]] = {
    "split": split_case,
    "sensor": sensor_case,
    "converge": converge_case,
}


def _child(step: str, **request: Any) -> dict[str, Any]:
    """What a step printed, run in a process of its own."""
    command = [sys.executable, "-m", "bench.relayout_steps", json.dumps({"step": step, **request})]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
    found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

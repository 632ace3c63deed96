"""`python -m bench.merge`: every engine merges the same batches into the same tables; see bench/README.md.

This process only starts others and watches them. It imports the standard library alone, so that it is small and quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cases import Case, Places, TableAt, select
from bench.engines import ENGINES, Registered
from bench.environment import FOLDER, ROOT, Unavailable, python_of
from bench.measure import Run, job, link_table, run_engine, written
from bench.object_store import ObjectStore, object_store

RESULTS = FOLDER / "results.jsonl"
QUICK_RESULTS = FOLDER / "results-quick.jsonl"


@dataclass(frozen=True)
class Options:
    """What the command line said. `verify` is `every` run or the `first` of each engine and case."""

    engines: list[str]
    runs: int
    quick: bool
    verify: str
    scratch: Path
    results: Path


class Bench:
    """Runs cases and appends a line per run to the results file."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._python = python_of("main")
        self._failed = 0

    def run(self, cases: list[Case]) -> int:
        """The number of runs that failed or gave another table than the right one."""
        self._options.results.parent.mkdir(parents=True, exist_ok=True)
        for case in cases:
            _say(f"== {case.name}: {case.title}")
            self._module(
                "bench.build", case.name, str(self._options.scratch), "quick" if self._options.quick else "full"
            )
            with self._store(case) as store:
                self._case(case, store)
            shutil.rmtree(Places(self._options.scratch, case).base, ignore_errors=True)
        return self._failed

    def _case(self, case: Case, store: ObjectStore | None) -> None:
        engines = [name for name in case.engines if not self._options.engines or name in self._options.engines]
        usable = {name: python for name in engines if (python := self._interpreter(name)) is not None}
        for number in range(self._options.runs):
            for name, python in usable.items():
                run = self._one(case, name, number, python, store)
                self._failed += bool(run.error) or run.equal is False
                with self._options.results.open("a") as results:
                    results.write(run.to_json() + "\n")
                _show(run)

    def _one(self, case: Case, name: str, number: int, python: Path, store: ObjectStore | None) -> Run:
        engine, places = ENGINES[name], Places(self._options.scratch, case)
        shutil.rmtree(self._lake, ignore_errors=True)
        at = _fresh_table(case, places.base, self._lake / "measured")
        table, before = Path(at.uri), 0
        if store is not None:
            store.put(table, "lake/table")
            at = replace(at, uri="s3://bench/lake/table", storage_options=store.options(delayed=True))
            before = store.requests()
        warm = Places(self._options.scratch, case.warm_up())
        jobs = {
            "warm_up": job(_fresh_table(warm.case, warm.base, self._lake / "warm"), warm.batches),
            "measured": job(at, places.batches),
        }
        run = Run(case.name, name, number, **run_engine(python, engine, jobs))
        if store is not None:
            run = replace(run, requests=store.requests() - before)
            shutil.rmtree(table)
            store.get("lake/table", table)
            store.delete("lake")
        run = replace(run, **written(places.base, table))
        if not run.error and (number == 0 or self._options.verify == "every"):
            run = self._verified(run, places, engine, table)
        return run

    def _verified(self, run: Run, places: Places, engine: Registered, table: Path) -> Run:
        expected = json.loads(places.expected.read_text())
        found = json.loads(
            self._module("bench.verify", str(table), str(places.base), "delta" if engine.delta else "ducklake")
        )
        commits = found.pop("commits", run.commits)
        return replace(run, equal=found == expected, commits=commits)

    def _interpreter(self, name: str) -> Path | None:
        try:
            return python_of(ENGINES[name].venv)
        except Unavailable as error:
            _say(f"!! {name} is SKIPPED: {error}")
            return None

    def _module(self, module: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._python, "-m", module, *arguments], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
        )
        return done.stdout

    @contextmanager
    def _store(self, case: Case) -> Iterator[ObjectStore | None]:
        if not case.latency_ms:
            yield None
            return
        with object_store(self._python, latency_ms=case.latency_ms, on_ceph=case.on_ceph) as store:
            yield store

    @property
    def _lake(self) -> Path:
        return self._options.scratch / "run"


def _fresh_table(case: Case, base: Path, folder: Path) -> TableAt:
    link_table(base, folder / "table")
    (folder / "scratch").mkdir()
    return TableAt(
        str(folder / "table"),
        "id",
        "created_at" if case.base.leaf_per_file else "",
        case.budget_bytes,
        str(folder / "scratch"),
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _show(run: Run) -> None:
    verdict = run.error or {True: "equal", False: "DIFFERENT ROWS", None: "not compared"}[run.equal]
    above = run.peak_rss_bytes - run.start_rss_bytes
    _say(
        f"   {run.case:5} {run.engine:18} #{run.number} {run.seconds:8.2f} s"
        f"  peak {run.peak_rss_bytes / 1e6:5.0f} MB (+{above / 1e6:.0f})  pss {run.peak_pss_bytes / 1e6:5.0f} MB"
        f"  wrote {run.written_bytes / 1e6:7.1f} MB in {run.written_files:3} files, {run.commits} commits,"
        f" {run.conflicts} conflicts, {run.requests} requests  {verdict}"
    )


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.merge", description="Compare merge engines.")
    parser.add_argument("--case", action="append", default=[], help="a case by name, or g for the sweep; repeatable")
    parser.add_argument("--engine", action="append", default=[], choices=sorted(ENGINES), help="repeatable")
    parser.add_argument("--runs", type=int, help="runs per engine and case (5; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="scaled down, in about two minutes: a smoke test")
    parser.add_argument("--verify", choices=["every", "first"], default="every", help="which results are compared")
    parser.add_argument("--scratch", type=Path, help="folder for tables, up to 12 GB (default: a temporary one)")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results instead of adding to them")
    parser.add_argument("--publish", action="store_true", help="write bench/README.md and the plots from the results")
    parser.add_argument("--only-publish", action="store_true", help="the same without running anything")
    options = parser.parse_args(arguments)
    if options.quick and (options.publish or options.only_publish):
        parser.error("--quick is a smoke test and measures nothing worth publishing")
    return options


def main(arguments: list[str]) -> int:
    """Exit code 0 when every run succeeded and every result was right."""
    options = _options(arguments)
    results = QUICK_RESULTS if options.quick else RESULTS
    failed = 0
    if not options.only_publish:
        if options.quick or options.fresh:
            results.unlink(missing_ok=True)
        if options.scratch:
            options.scratch.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="bench-merge-", dir=options.scratch))
        try:
            chosen = Options(
                options.engine,
                options.runs or (1 if options.quick else 5),
                options.quick,
                options.verify,
                scratch,
                results,
            )
            failed = Bench(chosen).run(select(options.case, quick=options.quick))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if options.publish or options.only_publish:
        subprocess.run([python_of("main"), "-m", "bench.report", str(results)], cwd=ROOT, check=True, env=os.environ)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

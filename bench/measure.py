"""One measured run: fresh table, one engine process, what it took and what it left. Standard library only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cases import TableAt
from bench.engines import Registered
from bench.environment import ROOT

SAMPLE_SECONDS = 0.1
TIMEOUT_SECONDS = 1200


@dataclass(frozen=True)
class Run:
    """A result. `peak_rss_bytes` is exact (the kernel's), `peak_pss_bytes` sampled every 0.1 s from outside;
    `start_rss_bytes` is what the imports hold. Written bytes and files include what no commit names."""

    case: str
    engine: str
    number: int
    seconds: float = 0.0
    start_rss_bytes: int = 0
    peak_rss_bytes: int = 0
    peak_pss_bytes: int = 0
    written_bytes: int = 0
    written_files: int = 0
    commits: int = 0
    conflicts: int = 0
    requests: int = 0
    equal: bool | None = None
    error: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def link_table(base: Path, table: Path) -> None:
    """A table of the same bytes: hard links, as no engine changes a file in place."""
    shutil.copytree(base, table, copy_function=os.link)


def run_engine(python: Path, engine: Registered, jobs: Mapping[str, Any]) -> dict[str, Any]:
    """What `bench.child` printed, plus the sampled `peak_pss_bytes`; only `error` when it died."""
    request = {"module": engine.module, "mode": engine.mode, "first": engine.first, **jobs}
    command = [str(python), "-m", "bench.child", json.dumps(request)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        sampler = PssSampler(child.pid)
        watchdog = threading.Timer(TIMEOUT_SECONDS, child.kill)
        watchdog.start()
        assert child.stdout is not None
        assert child.stderr is not None
        first = child.stdout.readline()
        if first.strip() == "ready":
            sampler.start()
        rest, complaint = child.communicate()
        watchdog.cancel()
        sampler.stop()
    if child.returncode:
        last = complaint.strip().splitlines()[-1:] or [f"killed by signal {-child.returncode}"]
        return {"error": last[0][:200]}
    return {**json.loads(rest.strip().splitlines()[-1]), "peak_pss_bytes": sampler.peak_bytes}


def job(table: TableAt, batches: Sequence[Path]) -> dict[str, Any]:
    """Batches to merge into a table, side by side, as `bench.child` takes it."""
    return {"table": table.as_dict(), "batches": [str(batch) for batch in batches]}


def written(before: Path, after: Path) -> dict[str, int]:
    """Data files and bytes that are in `after` alone, and Delta commits on top of `before`."""
    old = {p.relative_to(before) for p in before.rglob("*") if p.is_file()}
    new = [p for p in after.rglob("*") if p.is_file() and p.relative_to(after) not in old]
    data = [p for p in new if p.suffix == ".parquet" and "_delta_log" not in p.parts]
    commits = [p for p in new if p.suffix == ".json" and p.parent.name == "_delta_log"]
    return {"written_files": len(data), "written_bytes": sum(p.stat().st_size for p in data), "commits": len(commits)}


class PssSampler:
    """The greatest proportional set size of a process, sampled by the parent."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._rollup = Path(f"/proc/{pid}/smaps_rollup")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _sample(self) -> None:
        while not self._done.is_set():
            began = time.perf_counter()
            try:
                lines = self._rollup.read_text().splitlines()
            except OSError:
                return
            pss = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
            self.peak_bytes = max(self.peak_bytes, pss)
            self._done.wait(max(SAMPLE_SECONDS - (time.perf_counter() - began), 0.01))

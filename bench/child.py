"""The measured process: `python -m bench.child REQUEST` imports one engine, merges, and prints one line of JSON.

The clock starts after the imports, after a merge into a tiny table (which triggers the imports that libraries put
off: pandas alone took seconds) and after `prepare`. The peak is the kernel's own (VmHWM of this address space, reset
when the clock starts: it counts what the imports left behind, and nothing of their own peak).
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bench.cases import TableAt

ATTEMPTS = 40


def status_bytes(field: str) -> int:
    """A memory field of this process, such as VmHWM (peak resident) or VmRSS (resident now)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def reset_peak() -> None:
    """Makes VmHWM start over from what is resident now (Linux 4.0 and later)."""
    Path("/proc/self/clear_refs").write_text("5")


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Writer(threading.Thread):
    """One writer; tries again after each lost commit, and counts them."""

    def __init__(self, engine: Any, batch: Path, conflict: type[Exception]) -> None:
        super().__init__()
        self.conflicts = 0
        self.error = ""
        self._engine = engine
        self._batch = batch
        self._conflict = conflict

    def run(self) -> None:
        try:
            while self.conflicts < ATTEMPTS:
                try:
                    return self._engine.merge(self._batch)
                except self._conflict:
                    self.conflicts += 1
            self.error = f"gave up after {ATTEMPTS} conflicts"
        except Exception as error:
            self.error = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def writers(request: dict[str, Any], job: str) -> list[Writer]:
    """A writer per batch of the job, each with an engine of its own that is ready to merge."""
    module = importlib.import_module(request["module"])
    conflict = importlib.import_module("bench.engines.protocol").Conflict
    table = TableAt(**request[job]["table"])
    made = []
    for batch in request[job]["batches"]:
        engine = module.Engine(table, request["mode"])
        engine.prepare()
        made.append(Writer(engine, Path(batch), conflict))
    return made


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Merges a tiny table off the clock, then the real one on it; batches of one job run side by side."""
    if request["first"]:
        importlib.import_module(request["first"])
    for writer in writers(request, "warm_up"):
        writer.run()
    measured = writers(request, "measured")
    reset_peak()
    start_bytes = status_bytes("VmRSS")
    _tell("ready")
    began = time.perf_counter()
    for writer in measured[1:]:
        writer.start()
    measured[0].run()
    for writer in measured[1:]:
        writer.join()
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "start_rss_bytes": start_bytes,
        "peak_rss_bytes": status_bytes("VmHWM"),
        "conflicts": sum(w.conflicts for w in measured),
        "error": "; ".join(w.error for w in measured if w.error),
    }


if __name__ == "__main__":
    _tell(json.dumps(measured(json.loads(sys.argv[1]))))

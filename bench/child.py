"""The measured process: `python -m bench.child REQUEST` imports one engine, merges, and prints one line of JSON.

The clock starts after the imports and after `prepare`; the peak is the kernel's own (VmHWM of this address space, reset
when the clock starts, so it counts what imports left behind and nothing of their peak).
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
        except Exception as error:  # whatever an engine raises is a result of the benchmark
            self.error = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Runs one merge per batch, side by side when there are several."""
    module = importlib.import_module(request["module"])
    conflict = importlib.import_module("bench.engines.protocol").Conflict
    table = TableAt(**request["table"])
    engines = [module.Engine(table, request["mode"]) for _ in request["batches"]]
    for engine in engines:
        engine.prepare()
    reset_peak()
    start_bytes = status_bytes("VmRSS")
    writers = [Writer(engine, Path(batch), conflict) for engine, batch in zip(engines, request["batches"], strict=True)]
    print("ready", flush=True)
    began = time.perf_counter()
    if len(writers) == 1:
        writers[0].run()
    else:
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "start_rss_bytes": start_bytes, "peak_rss_bytes": status_bytes("VmHWM"),
            "conflicts": sum(w.conflicts for w in writers), "error": "; ".join(w.error for w in writers if w.error)}


if __name__ == "__main__":
    print(json.dumps(measured(json.loads(sys.argv[1]))), flush=True)

"""What this process really holds: proportional set size, its peak over a block, and what the machine allows."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pyarrow as pa

SAMPLE_SECONDS = 0.1
"""PSS is read from smaps_rollup, about 5 ms for a 500 MB process: 5 % of one core at this interval."""


def held_bytes() -> int:
    """PSS of this process (Linux), else its RSS. A sync starts no children, so this is its whole process tree."""
    try:
        with Path(f"/proc/{os.getpid()}/smaps_rollup").open("rb") as rollup:
            for line in rollup:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int(psutil.Process().memory_info().rss)


def release_unused() -> None:
    """Gives freed memory back to the system, so that the next measurement and the next step start low."""
    gc.collect()
    pa.default_memory_pool().release_unused()


class PeakMemory:
    """Samples `held_bytes` in a thread while the block runs; `peak_bytes` afterwards and meanwhile."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        self._note()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._note()

    def _note(self) -> None:
        self.peak_bytes = max(self.peak_bytes, held_bytes())

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._note()

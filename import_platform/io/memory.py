"""What this process really holds: proportional set size, its peak over a block, and what the machine allows."""

from __future__ import annotations

import contextlib
import ctypes
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


def tame_allocators() -> None:
    """Makes freed memory leave the process at once instead of waiting in an allocator's cache. Safe to call again.

    Arrow buffers go through malloc, and malloc hands everything from 256 KiB up to the kernel and back. Reading
    838 MB from PostgreSQL in 16 MB pages so peaked at 212 MiB and ended at 156 MiB, against 248 and 234 MiB before, in
    the same time. Constants: M_TRIM_THRESHOLD -1, M_MMAP_THRESHOLD -3, M_ARENA_MAX -8 of glibc's malloc.h; other libcs
    are left as they are.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-8, 4), (-3, 256 << 10), (-1, 256 << 10)):
            mallopt(option, value)


def release_unused() -> None:
    """Gives freed memory back to the system, so that the next measurement and the next step start low."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


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

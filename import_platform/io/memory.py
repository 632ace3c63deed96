"""What this process really holds: proportional set size, its peak over a block, and what the machine allows."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pyarrow as pa

from import_platform.errors import MemoryBudgetExceeded

SAMPLE_SECONDS = 0.1
EXACT_EVERY = 20
"""PSS comes from smaps_rollup, which takes the kernel 5 ms for a 500 MB process and holds up its page faults. One
sample of twenty reads it; the others read the resident size and take off what the last exact one showed as shared."""


TOLD_BYTES = 16 << 20
"""A peak is told to whoever wants to know it when it has grown by so much."""

PRESSED, EXCEEDED = 0.85, 0.97
"""Shares of the limit. Between two samples a worker decodes at most a few row groups, 10 % of the smallest budget."""


def held_bytes() -> int:
    """PSS of this process (Linux), else its RSS. A sync starts no children, so this is its whole process tree."""
    try:
        with Path(f"/proc/{os.getpid()}/smaps_rollup").open("rb") as rollup:
            for line in rollup:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident_bytes()


def resident_bytes() -> int:
    """RSS of this process, in microseconds."""
    return int(psutil.Process().memory_info().rss)


def tame_allocators() -> None:
    """Makes freed memory leave the process instead of waiting in an allocator's cache. Safe to call again.

    Arrow buffers go through malloc, and malloc hands what is 4 MiB or more straight to the kernel and back; a threshold
    of 256 KiB held no less memory and cost 1.6 times the CPU in page faults. Constants: M_TRIM_THRESHOLD -1,
    M_MMAP_THRESHOLD -3, M_ARENA_MAX -8 of glibc's malloc.h; other libcs are left as they are.

    pyarrow looks for pandas at its first array, and imports it where it is installed: 80 MB that no budget knows of. It
    is told once that there is none; whoever asks for pandas itself gets it, `to_pandas` included.

    What lives at the first call (modules, definitions: hundreds of thousands of objects) is looked through by no later
    collection; that took 0.1 to 0.2 s at the end of every table.
    """
    with _FIRST:
        _settle()
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-8, 4), (-3, 4 << 20), (-1, 8 << 20)):
            mallopt(option, value)


_FIRST = threading.Lock()


@functools.cache
def _settle() -> None:
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _WITHOUT_PANDAS)
        try:
            pa.array([0])
        finally:
            sys.meta_path.remove(_WITHOUT_PANDAS)
    gc.collect()
    gc.freeze()


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname, name=fullname)


_WITHOUT_PANDAS = _WithoutPandas()


def release_unused() -> None:
    """Gives freed memory back to the system, so that the next measurement and the next step start low."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim()


def trim() -> None:
    """Gives back what lies free between what malloc's arenas hold; takes some milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class MemoryWatch:
    """Samples `held_bytes` in a thread while the block runs, and makes work slow down, then stop, before the limit.

    Loops call `breathe` once per batch: past PRESSED of the limit only one of them goes on at a time, past EXCEEDED it
    raises. Outside its block, and with no limit, it only lets everybody through. `on_peak` is called in the thread with
    the peak so far as it grows, and must return quickly.
    """

    def __init__(self, limit_bytes: int | None = None, *, on_peak: Callable[[int], None] | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.peak_bytes = 0
        self._on_peak = on_peak
        self._told_bytes = 0
        self._held_bytes = 0
        self._shared_bytes = 0
        self._samples = 0
        self._lane = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._note()
        self._thread = threading.Thread(target=self._sample, name="memory-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._note()
        self._held_bytes = 0

    @contextlib.contextmanager
    def breathe(self) -> Iterator[None]:
        """Around the work on one batch.

        Raises:
            MemoryBudgetExceeded: the process holds more than EXCEEDED of its limit (retryable, with a larger budget or
                fewer neighbours; nothing is committed).
        """
        if not self._above(PRESSED):
            yield
            return
        with self._lane:
            if self._above(EXCEEDED):
                release_unused()
                self._note()
            if self._above(EXCEEDED):
                raise MemoryBudgetExceeded(
                    "the step stopped before it outgrew its memory budget",
                    held_bytes=self._held_bytes,
                    budget_bytes=self.limit_bytes,
                    remedy="Run again with a larger IMPORT_PLATFORM_MEMORY; it goes on from the last checkpoint.",
                )
            yield

    def _above(self, share: float) -> bool:
        return self.limit_bytes is not None and self._held_bytes > self.limit_bytes * share

    def _note(self) -> None:
        resident = resident_bytes()
        self._held_bytes = resident - self._shared_bytes
        if self._samples % EXACT_EVERY == 0 or self._above(PRESSED):
            self._held_bytes = held_bytes()
            self._shared_bytes = max(resident - self._held_bytes, 0)
        self._samples += 1
        self.peak_bytes = max(self.peak_bytes, self._held_bytes)
        if self._on_peak is not None and self.peak_bytes >= self._told_bytes + TOLD_BYTES:
            self._told_bytes = self.peak_bytes
            self._on_peak(self.peak_bytes)

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._note()

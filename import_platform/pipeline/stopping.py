"""A flush that a stop finds under way: it may end by itself for a moment, then it is given up.

What is staged stays staged, so the next run merges it anew. Files written until then belong to no commit; `maintain`
deletes them, as it does after a killed process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa

from import_platform.core.state import Checkpoint
from import_platform.errors import Interrupted
from import_platform.io.memory import MemoryWatch
from import_platform.io.staging import Staging
from import_platform.pipeline.context import OpenTable

GRACE_SECONDS = 2.0
"""Most flushes end by themselves in this time, and a process that is asked to stop has ten seconds."""


class _Patience:
    """Counts from the first time that a stop is seen."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._since: float | None = None

    def check(self) -> None:
        """Raises Interrupted once the stop was asked for longer ago than a flush may go on."""
        if not self._stop():
            return
        self._since = time.monotonic() if self._since is None else self._since
        if time.monotonic() - self._since > GRACE_SECONDS:
            raise Interrupted("stopped in the middle of a flush", remedy="The next run flushes what is staged.")


class _Watch(MemoryWatch):
    """Another watch's lane, with the patience looked at once per batch."""

    def __init__(self, watch: MemoryWatch, patience: _Patience) -> None:
        super().__init__(watch.limit_bytes)
        self._watch = watch
        self._patience = patience

    @contextmanager
    def breathe(self) -> Iterator[None]:
        self._patience.check()
        with self._watch.breathe():
            yield


class _Staging(Staging):
    """Staged rows are read several times before the first file is written, so their readers look too."""

    def __init__(self, table: OpenTable, patience: _Patience) -> None:
        context = table.context
        super().__init__(table.store, context.lake.staging_path(context.source_name, context.declared.name))
        self._patience = patience

    def batches(
        self, attempt_id: str, checkpoint: Checkpoint, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        for batch in super().batches(attempt_id, checkpoint, columns):
            self._patience.check()
            yield batch


def stoppable(table: OpenTable) -> OpenTable:
    """The table for one flush, which raises Interrupted soon after a stop was asked for and commits nothing then."""
    patience = _Patience(table.context.stop)
    context = replace(table.context, watch=_Watch(table.context.watch, patience))
    return replace(table, context=context, staging=_Staging(table, patience))

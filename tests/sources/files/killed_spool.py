"""Syncs of tables that share a pass over XML, in a process of its own that something happens to at a given step.

One argument, a JSON object: `lake`, `files` as of a connection, `tables` in their order, `beside` (all at once), `step`
(`Class.method`), `nth` (from 1), and what happens behind that step: `kill`, or `hold` (says so by making the file
`said`, and never goes on). With `waits` that file is made when somebody else's lock is met. Prints where each pass over
the file that is for several tables began.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from import_platform.core.budget import GIB, MIB, MemoryBudget
from import_platform.core.table import DeclaredTable
from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files import spool, xml_shred, xml_spool
from import_platform.sources.files.connector import FilesSource
from tests.sources.files.child import Steps

OWNERS = {
    "Spool": spool.Spool,
    "Lock": spool.Lock,
    "spool": spool,
    "Staging": Staging,
    "FilesSource": FilesSource,
    "shutil": shutil,
}


def main() -> None:
    asked = json.loads(sys.argv[1])
    small_segments()
    xml_spool.STALLED_SECONDS = math.inf
    passes = watched_passes()
    if asked.get("step"):
        _interrupt(asked)
    if asked.get("waits"):
        _tell_waiting(Path(asked["waits"]))
    if asked.get("beside"):
        threads = [threading.Thread(target=_sync, args=(asked, name)) for name in asked["tables"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        for name in asked["tables"]:
            _sync(asked, name)
    print(json.dumps(passes))


def small_segments() -> None:
    """A stretch of 64 kB is a segment."""
    xml_spool.SEGMENT_BYTES = 1
    xml_shred.TASK_BYTES = 1 << 16


def watched_passes() -> list[int]:
    """Records before which a pass for several tables began, filled as passes begin."""
    passes: list[int] = []
    made = xml_shred.Shredder.stretches

    def counted(self: Any, read: Any) -> Any:
        if len(self._tables) > 1:
            passes.append(self._done)
        return made(self, read)

    xml_shred.Shredder.stretches = counted  # type: ignore[method-assign]
    return passes


def _sync(asked: dict[str, Any], name: str) -> None:
    source = FilesSource({"kind": "files", "files": asked["files"]})
    budget = (Steps if asked.get("step") == "Staging.stage" else MemoryBudget)(2 * GIB, 2 * GIB - 312 * MIB)
    try:
        sync_table(TableContext("s", DeclaredTable(name), source, Lake(asked["lake"]), budget))
    finally:
        source.close()


def _interrupt(asked: dict[str, Any]) -> None:
    owner, _, name = asked["step"].partition(".")
    step, met = getattr(OWNERS[owner], name), [0]

    def interrupted(*args: Any, **options: Any) -> Any:
        before = asked.get("before", False)
        met[0] += 1
        here = met[0] == asked["nth"]
        if here and before:
            os.kill(os.getpid(), signal.SIGKILL)
        found = step(*args, **options)
        if here and asked.get("said"):
            Path(asked["said"]).touch()
            threading.Event().wait()
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(OWNERS[owner], name, interrupted)


def _tell_waiting(said: Path) -> None:
    alone: Callable[[spool.Lock], bool] = spool.Lock.alone

    def told(self: spool.Lock) -> bool:
        found = alone(self)
        if not found:
            said.touch()
        return found

    spool.Lock.alone = told  # type: ignore[method-assign]


if __name__ == "__main__":
    main()

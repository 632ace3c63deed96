"""A sync in a process of its own that kills itself, or waits, at a chosen step.

The steps are set by wrapping methods here; the package knows nothing of them. The source is an Arrow file, so that
what the parent changes is what the child reads.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import feather

from import_platform.core.table import SyncMode
from import_platform.errors import ImportPlatformError
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.parquet import LeafWriter
from import_platform.io.staging import Staging
from import_platform.io.store import Store
from import_platform.pipeline import sync
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, STREAMED, SyncedTable

STEPS = {
    "before begin": (Staging, "begin", "before"),
    "after begin": (Staging, "begin", "after"),
    "between chunk and checkpoint": (Store, "put_if_absent", "before", "/attempts/"),
    "after checkpoint": (Staging, "stage", "after"),
    "in the middle of files": (LeafWriter, "drain", "before"),
    "after files": (LeafWriter, "close", "after"),
    "before claim": (Staging, "claim", "before"),
    "after claim": (Staging, "claim", "after"),
    "before commit": (DeltaLog, "commit", "before"),
    "after commit": (DeltaLog, "commit", "after"),
    "before create": (DeltaLog, "create", "before"),
    "after create": (DeltaLog, "create", "after"),
    "before discard": (Staging, "discard", "before"),
    "in the middle of discard": (Store, "remove_folder", "before"),
    "after discard": (Staging, "discard", "after"),
    "before columns": (DeltaLog, "add_columns", "before"),
    "after columns": (DeltaLog, "add_columns", "after"),
}


def kill_at(step: str, nth: int) -> None:
    """Ends this process without any clean-up, the nth time it gets to the step."""
    do_at(step, nth, lambda: os.kill(os.getpid(), signal.SIGKILL))


def hold_at(step: str, nth: int, *, held: str, go: str) -> None:
    """The nth time it gets to the step it says so with one file, and waits for the other."""

    def hold() -> None:
        Path(held).touch()
        wait_for(go)

    do_at(step, nth, hold)


def do_at(step: str, nth: int, action: Callable[[], None]) -> None:
    kind, name, when, *path = STEPS[step]
    original, count = getattr(kind, name), 0

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += not path or path[0] in args[0]
        due = count == nth
        if due and when == "before":
            action()
        result = original(self, *args, **kwargs)
        if due and when == "after":
            action()
        return result

    setattr(kind, name, wrapped)


def wait_for(flag: str) -> None:
    """So that processes meet. One whose test has failed ends by itself."""
    until = time.monotonic() + 300
    while not Path(flag).exists():
        assert time.monotonic() < until, flag
        time.sleep(0.005)


def table(options: dict[str, Any]) -> SyncedTable:
    rows = feather.read_table(options["rows"], memory_map=False)
    source = ListSource(rows, page_rows=options.get("page_rows", 100), page_seconds=options.get("page_seconds", 0.0))
    source.settled = options.get("settled", False)
    budget = STREAMED if options.get("streamed") else PAGE_BY_PAGE
    return SyncedTable(Lake(options["lake"]), source, SyncMode(options.get("mode", "incremental")), budget=budget)


def main(options: dict[str, Any]) -> None:
    pa.set_cpu_count(1)
    sync.release_unused = lambda: None  # collecting the garbage of a forked process copies all its memory
    synced = table(options)
    if options.get("held"):
        hold_at(options["step"], options.get("nth", 1), held=options["held"], go=options["go"])
    elif options.get("step"):
        kill_at(options["step"], options.get("nth", 1))
    if options.get("start"):
        Path(options["ready"]).touch()
        wait_for(options["start"])
    try:
        if options.get("backfill"):
            report = synced.backfill(options["backfill"])
        else:
            report = synced.sync(full_refresh=options.get("full_refresh", False))
        print(json.dumps(report.as_json()))
    except ImportPlatformError as error:
        print(json.dumps({"error": type(error).__name__, "retryable": error.retryable, "message": str(error)}))
        sys.exit(1)

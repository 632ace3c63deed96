"""A sync in a process of its own that kills itself behind its n-th durable step: lake, table, n, tables as JSON, and
`sync`, or `again` for all files that were read."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from import_platform.core.budget import GIB, MIB
from import_platform.core.table import DeclaredTable
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from import_platform.io.store import Store
from import_platform.io.tombstones import Tombstones
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import read_files_again, sync_table
from import_platform.sources.files.connector import FilesSource
from tests.sources.files.child import Steps

STEPS = (
    (Staging, "begin"),
    (Staging, "stage"),
    (Tombstones, "added"),
    (Staging, "claim"),
    (DeltaLog, "create"),
    (DeltaLog, "commit"),
    (Staging, "discard"),
    (Store, "put_if_absent"),
)


def main() -> None:
    lake, table, nth, tables = Lake(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
    done = [0]

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **options: Any) -> Any:
            found = step(*args, **options)
            done[0] += 1
            if done[0] == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return counting

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
    source = FilesSource({"kind": "files", "files": tables})
    context = TableContext("s", DeclaredTable(table), source, lake, Steps(2 * GIB, 2 * GIB - 312 * MIB))
    if sys.argv[5] == "again":
        read_files_again(context, ["*"])
    else:
        sync_table(context)


if __name__ == "__main__":
    main()

"""A sync in a process of its own that kills itself behind its n-th staged chunk: folder, lake, n, format words as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys

from import_platform.core.budget import GIB, MIB, MemoryBudget
from import_platform.core.table import DeclaredTable
from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files.connector import FilesSource


class Steps(MemoryBudget):
    """Every page becomes a chunk, and a page is 64 kB of a file."""

    chunk_bytes = 1  # type: ignore[assignment]
    page_bytes = 1 << 17  # type: ignore[assignment]


def main() -> None:
    lake, nth, words = Lake(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    stage, staged = Staging.stage, [0]

    def killed(self: Staging, *args: object) -> None:
        stage(self, *args)  # type: ignore[arg-type]
        staged[0] += 1
        if staged[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    Staging.stage = killed  # type: ignore[method-assign,assignment]
    source = FilesSource({"kind": "files", "files": [{"name": "t", **words}]})
    budget = Steps(2 * GIB, 2 * GIB - 312 * MIB)
    report = sync_table(TableContext("s", DeclaredTable("t"), source, lake, budget))
    print(json.dumps({"rows_read": report.rows_read, "resumed": report.resumed, "rejected": report.rows_rejected}))


if __name__ == "__main__":
    main()

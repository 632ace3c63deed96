"""A table of an API with a lake: synced here, or in a process of its own that can be killed.

As a program it reads `{connection, table, lake, ...}` from its first argument and syncs once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from import_platform.core.budget import MemoryBudget
from import_platform.core.report import SyncReport
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.registry import open_source
from tests.pipeline.synced_table import PAGE_BY_PAGE, ROOMY
from tests.sources.rest.api_server import ApiServer, Asked

ROOT = Path(__file__).parents[3]


@dataclass
class RestTable:
    """Options are those of a sync: `sync` mode, `page_by_page` makes a chunk of every answer."""

    connection: Mapping[str, Any]
    table: str
    lake: str
    sync_mode: str | None = None
    page_by_page: bool = False
    notes: list[str] = field(default_factory=list)
    stop: Any = None
    observer: Any = None

    @property
    def budget(self) -> MemoryBudget:
        return PAGE_BY_PAGE if self.page_by_page else ROOMY

    def sync(self, *, full_refresh: bool = False, table: str | None = None) -> SyncReport:
        name = table or self.table
        source = open_source("api", self.connection)
        declared = DeclaredTable(name, sync=SyncMode(self.sync_mode) if self.sync_mode else None)
        try:
            context = TableContext("api", declared, source, Lake(self.lake), self.budget)
            said = {"stop": self.stop, "observer": self.observer}
            context = replace(context, **{name: value for name, value in said.items() if value is not None})
            return sync_table(context, full_refresh=full_refresh)
        finally:
            source.close()

    def log(self, table: str | None = None) -> DeltaLog:
        lake = Lake(self.lake)
        return DeltaLog(lake.store, lake.table_path("api", table or self.table))

    def frame(self, table: str | None = None) -> pl.DataFrame:
        lake = Lake(self.lake)
        return pl.read_delta(str(Path(self.lake) / lake.table_path("api", table or self.table))).drop("_partition")

    def ids(self, table: str | None = None) -> list[Any]:
        return sorted(self.frame(table)["id"].to_list())

    def staging(self) -> Staging:
        lake = Lake(self.lake)
        return Staging(lake.store, lake.staging_path("api", self.table))

    def start(self) -> subprocess.Popen[str]:
        """The same sync in a process of its own."""
        options = {
            "connection": self.connection,
            "table": self.table,
            "lake": self.lake,
            "sync_mode": self.sync_mode,
            "page_by_page": self.page_by_page,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.sources.rest.rest_table", json.dumps(options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def staged_rows(self) -> int:
        staging = self.staging()
        return sum(chunk.rows for attempt in staging.attempts() for chunk in staging.checkpoints(attempt.id))

    def kill_at_request(self, server: ApiServer, number: int, *, staged_rows: int = 0) -> int:
        """The sync in a process of its own, killed when so many rows are staged and its `number`th request waits for an
        answer that never comes; how many requests it had sent, which are more where it sends several at once."""
        over = threading.Event()

        def hold(asked: Asked) -> None:
            if len(server.asked) >= number:
                over.wait()

        server.asked.clear()
        server.refuse = hold
        child = self.start()
        try:
            until = time.monotonic() + 300
            while len(server.asked) < number or self.staged_rows() < staged_rows:
                assert child.poll() is None, child.communicate()
                assert time.monotonic() < until, (len(server.asked), self.staged_rows())
                time.sleep(0.02)
        finally:
            child.kill()
            child.communicate()
            server.refuse = None
            asked = len(server.asked)
            over.set()
        return asked


def main() -> None:
    from import_platform.sources.rest import read

    table = RestTable(**json.loads(sys.argv[1]))
    if table.page_by_page:
        read.GROUP_ROWS = 1
    report = table.sync()
    sys.stdout.write(json.dumps(report.as_json()))


if __name__ == "__main__":
    main()

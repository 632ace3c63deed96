"""An enriched sync in a process of its own that kills itself behind its n-th staged chunk: lake, address, n."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from tests.pipeline.enriched import enrichment
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, SyncedTable, rows

ROWS = 50


def table(lake: Lake, url: str) -> SyncedTable:
    """Five pages of ten rows, every one a chunk; the text of row 40 is that of row 0."""
    found = rows(range(ROWS))
    texts = [f"x{i % 40}" for i in range(ROWS)]
    source = ListSource(found.set_column(3, "text", [texts]), page_rows=10)
    declared: dict[str, Any] = {"enrich": (enrichment({"url": url}),)}
    return SyncedTable(lake, source, budget=PAGE_BY_PAGE, declared=declared)


def main() -> None:
    staged, nth, stage = [0], int(sys.argv[3]), Staging.stage

    def counted(*args: Any, **options: Any) -> None:
        stage(*args, **options)
        staged[0] += 1
        if staged[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    Staging.stage = counted  # type: ignore[method-assign]
    table(Lake(sys.argv[1]), sys.argv[2]).sync()


if __name__ == "__main__":
    main()

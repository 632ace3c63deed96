"""One sync of one table of an API, for `bench.rest`: says when it begins, then its report."""

from __future__ import annotations

import json
import sys

from import_platform.core.table import DeclaredTable
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.resources.memory import memory_budget
from import_platform.sources.registry import open_source


def main() -> None:
    options = json.loads(sys.argv[1])
    source = open_source("bench", options["connection"])
    context = TableContext(
        "bench",
        DeclaredTable(options["table"]),
        source,
        Lake(options["lake"]),
        memory_budget(options["memory"]),
        max_run_seconds=float("inf"),
    )
    sys.stdout.write("begin\n")
    sys.stdout.flush()
    report = sync_table(context)
    sys.stdout.write(json.dumps(report.as_json(), default=str) + "\n")


if __name__ == "__main__":
    main()

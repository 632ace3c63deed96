"""pandas, where it is installed, stays out of a process that syncs: 80 MB that no budget knows of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SYNC = """
import sys
from datetime import UTC, datetime, timedelta
import polars as pl
from import_platform.io.lake import Lake
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import SyncedTable

def rows(count, day):
    first = datetime(2025, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame({"id": range(count)}, schema={"id": pl.Int64}).with_columns(
        created=pl.lit(first).dt.cast_time_unit("us") + pl.duration(hours="id"),
        updated=pl.lit(first + timedelta(days=day)).dt.cast_time_unit("us") + pl.duration(seconds="id"),
        text=pl.col("id").cast(pl.String),
    )
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())

source = ListSource(rows(500, 0))
table = SyncedTable(Lake(sys.argv[1]), source)
print(table.sync().rows_inserted)
source.rows = rows(600, 3)
report = table.sync()
print(report.rows_inserted, report.rows_updated, "pandas" in sys.modules)
import pandas
"""


def test_a_first_sync_and_a_merge_leave_pandas_alone(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SYNC, str(tmp_path / "lake")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr  # the last import too: pandas is there to be imported
    assert ended.stdout.split() == ["500", "100", "500", "False"]


def test_a_command_is_loaded_without_pandas_and_without_a_databases_driver() -> None:
    """A demo's database, which commands look for, brought both."""
    modules = "import_platform.cli.sync", "import_platform.definitions"
    code = f"import sys, {', '.join(modules)}; print({{'pandas', 'adbc_driver_postgresql.dbapi'}} & set(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert ended.stdout.strip() == "set()", ended.stderr

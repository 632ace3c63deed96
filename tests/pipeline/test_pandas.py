"""pandas, where it is installed, stays out of a process that syncs: 80 MB that no budget knows of."""

from __future__ import annotations

import json
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


COMMAND = """
import sys, traceback

class Told:
    def find_spec(self, name, *_):
        if name == "pandas.core":  # of pandas itself Polars asks whether it is there
            traceback.print_stack()
            print("pandas is imported", file=sys.stderr)

sys.meta_path.insert(0, Told())
if sys.argv[1:] == ["pandas"]:
    import pandas
from import_platform.cli.app import main
sys.argv = ["import-platform", "sync", "s", "--json"]
main()
"""
TO_PANDAS = """
import sys
import pyarrow as pa
from import_platform.io.memory import tame_allocators

tame_allocators()
assert "pandas" not in sys.modules
assert pa.array([1, 2]).to_pandas().sum() == 3
import pandas
assert pa.Table.from_pandas(pandas.DataFrame({"x": [1.5, None]})).column("x").null_count == 1
assert pa.array(pandas.Series([1.5, None]), from_pandas=True).null_count == 1
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


def test_a_sync_of_files_leaves_pandas_alone(tmp_path: Path) -> None:
    (tmp_path / "rows.xml").write_text("<all><r><id>1</id><k>a</k></r><r><id>2</id><k>b</k><k>c</k></r></all>")
    (tmp_path / "defs" / "s").mkdir(parents=True)
    (tmp_path / "defs" / "s" / "defs.yaml").write_text(
        "type: import_platform.components.ExternalSource\n"
        "attributes:\n"
        "  name: s\n"
        "  connection:\n"
        "    kind: files\n"
        "    files:\n"
        f"      - {{name: t, pattern: '{tmp_path}/rows.xml', record: r, primary_key: [id],\n"
        "         columns: {id: {path: id, type: bigint}, k: {path: k, list: true}}}\n"
    )
    place = {
        "IMPORT_PLATFORM_LAKE": str(tmp_path / "lake"),
        "IMPORT_PLATFORM_DEFS": str(tmp_path / "defs"),
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    told = []
    for asked in ([], ["pandas"]):  # the second shows that an import would be seen
        ended = subprocess.run(
            [sys.executable, "-c", COMMAND, *asked],
            env={**os.environ, "PYTHONPATH": str(ROOT), **place},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["rows_inserted"] == (0 if asked else 2)
        told.append("pandas is imported" in ended.stderr)
    assert told == [False, True]


def test_who_asks_for_pandas_gets_it() -> None:
    subprocess.run([sys.executable, "-c", TO_PANDAS], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)

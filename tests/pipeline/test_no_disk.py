"""A lake on S3 needs no disk: the kernel kills whoever writes a byte of a file, in whatever language."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

from tests.s3_server import environment, new_bucket, s3_server

ROOT = Path(__file__).parents[2]
WORK = """
import sys
from datetime import timedelta
from import_platform.core.table import SyncMode
from import_platform.io.lake import Lake
from import_platform.pipeline.maintain import maintain
from tests.pipeline.lake_table import in_lake, split
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, ROOMY, SyncedTable, replaced, rows

for mode in SyncMode:
    source = ListSource(rows(range(700, 800)), name=mode.value, page_rows=40)
    table = SyncedTable(Lake(sys.argv[1]), source, mode, budget=PAGE_BY_PAGE)
    table.sync()
    change = rows(range(800, 820) if mode is SyncMode.APPEND else range(780, 820), day=1)
    table.sync(replaced(source.rows, change))
    assert table.matches()
    if mode is SyncMode.INCREMENTAL:
        split(table, "2025-02", limit_bytes=3000)
        table.backfill("2025-01")
        maintain(in_lake(table), budget=ROOMY, vacuum_age=timedelta(0))
        assert table.matches()
print("done")
"""


def no_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def work(lake: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-c", WORK, lake]
    return subprocess.run(
        command, cwd=ROOT, env=environment(environ), preexec_fn=no_disk, capture_output=True, text=True, check=False
    )


def test_syncs_splits_backfills_and_maintenance_write_no_file():
    with s3_server() as environ:
        done = work(new_bucket(environ), environ)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]


def test_a_lake_on_disk_is_stopped_at_its_first_byte(tmp_path):
    """The control: this limit would have told."""
    done = work(str(tmp_path / "lake"), {})
    assert done.returncode == -signal.SIGXFSZ or "File too large" in done.stderr

"""`python -m bench.extract.wide`: a table of 1,000 rows of 30 MB of JSON, 30 GB in all, into the lake under 1 GiB.

The command line does the whole sync in a process of its own, as a person would start it; its peak is the kernel's own of
that process, imports and all. Then every row of the lake is compared with the source by the MD5 of its JSON. The rows
are made by the server, in two kinds: `repeated` compresses to a hundredth, `varied` to about a sixth, so that all of it
stays under 10 GB of scratch. It measures memory, not time. `--rows 100` for a try.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from bench.environment import ROOT
from import_platform.core.budget import MIB
from import_platform.demo.postgres_server import PostgresServer
from import_platform.io.delta import DeltaLog
from import_platform.io.parquet import read_batches
from import_platform.io.store import Store

BUDGET_MIB = 1024
ROW_BYTES = 30_000_000
BODIES = 10
"""Different texts that the rows of a kind are made of; the compressors' windows are far smaller than one."""
REPEATED = """SELECT b, '"' || repeat(md5(b::text), {bytes} / 32) || '"' FROM generate_series(0, {bodies} - 1) b"""
VARIED = """
SELECT b, '[' || string_agg('{{"n": ' || g || ', "word": "' || repeat(substr(md5((b * 7 + g)::text), 1, 8), 12) || '"}}', ',') || ']'
FROM generate_series(0, {bodies} - 1) b CROSS JOIN generate_series(1, {bytes} / 125) g GROUP BY b
"""
KINDS = {"repeated": REPEATED, "varied": VARIED}
DECLARED = """
type: import_platform.components.ExternalSource
attributes:
  name: pg
  connection: {kind: postgres, dsn: "{{ env.WIDE_DSN }}"}
  tables:
    - {name: wide, sync: incremental, cursor: updated_at, primary_key: [id]}
"""


def main() -> int:
    options = _options()
    good = True
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix=f"bench-wide-{kind}-", dir=options.scratch) as folder:
            Path(folder).chmod(0o755)  # under root the server runs as another user
            settings = {
                "synchronous_commit": "off",
                "max_wal_size": "1GB",
                "wal_level": "minimal",
                "max_wal_senders": "0",
            }
            with PostgresServer(settings=settings) as server:
                dsn = server.start(Path(folder) / "postgres")
                stored_bytes = make_table(dsn, kind, rows=options.rows)
                run = sync(dsn, Path(folder))
                run["right"] = not run.get("error") and is_right(dsn, Path(folder) / "lake", rows=options.rows)
                lake_bytes = _bytes_below(Path(folder) / "lake")
            good = good and run["right"] and run["peak_rss_bytes"] <= BUDGET_MIB * MIB and not run["rows_rejected"]
            _say(kind, run, stored_bytes=stored_bytes, lake_bytes=lake_bytes)
    return 0 if good else 1


def make_table(dsn: str, kind: str, *, rows: int) -> int:
    """`wide` of so many rows; returns what it takes at the source."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE UNLOGGED TABLE bodies (b int PRIMARY KEY, body text)")
        connection.execute("INSERT INTO bodies " + KINDS[kind].format(bytes=ROW_BYTES, bodies=BODIES))
        connection.execute(
            "CREATE UNLOGGED TABLE wide (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL, doc json)"
        )
        for number in range(rows):  # a row at a time, so that the server holds one
            connection.execute(
                "INSERT INTO wide SELECT %(n)s, '2025-01-01', ('{\"id\": ' || %(n)s || ', \"body\": ' || body || '}')::json"
                " FROM bodies WHERE b = %(n)s %% %(bodies)s",
                {"n": number, "bodies": BODIES},
            )
        connection.execute("VACUUM ANALYZE wide")
        found = connection.execute(
            "SELECT pg_total_relation_size('wide'), min(octet_length(doc::text)) FROM wide"
        ).fetchone()
    assert found is not None
    assert found[1] > 0.95 * ROW_BYTES, found
    return int(found[0])


def sync(dsn: str, folder: Path) -> dict[str, Any]:
    """What the command line reports, with the peak of its process; `error` where it failed."""
    (folder / "defs" / "pg").mkdir(parents=True)
    (folder / "defs" / "pg" / "defs.yaml").write_text(DECLARED)
    environ = {
        **os.environ,
        "WIDE_DSN": dsn,
        "IMPORT_PLATFORM_DEFS": str(folder / "defs"),
        "IMPORT_PLATFORM_LAKE": str(folder / "lake"),
        "IMPORT_PLATFORM_MEMORY": f"{BUDGET_MIB}MiB",
        "DAGSTER_HOME": str(folder / "home"),
    }
    (folder / "home").mkdir()
    command = [sys.executable, "-m", "import_platform.cli", "--json", "sync", "pg/wide"]
    began = time.monotonic()
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        child = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    told = (folder / "out").read_text().splitlines()
    report = json.loads(told[-1]) if told else {"rows_rejected": 0, "rows_inserted": 0, "peak_memory_bytes": 0}
    report |= {"seconds": time.monotonic() - began, "peak_rss_bytes": usage.ru_maxrss * 1024}
    if child.returncode:
        report["error"] = report.get("error") or (folder / "err").read_text()[-500:]
    return report


def is_right(dsn: str, lake: str | Path, *, rows: int) -> bool:
    """Every row is there once, with the JSON that the source has."""
    with psycopg.connect(dsn) as connection:
        wanted = dict(connection.execute("SELECT id, md5(doc::text) FROM wide").fetchall())
    store = Store(str(lake))
    snapshot = DeltaLog(store, "pg/wide").snapshot()
    assert snapshot is not None
    found: dict[int, str] = {}
    for path in snapshot.files["path"]:
        for _, batch in read_batches(store, f"pg/wide/{path}", columns=["id", "doc"], limit_bytes=8 * MIB):
            for position, number in enumerate(batch.column("id").to_pylist()):
                doc = batch.column("doc").slice(position, 1).cast("binary")[0].as_buffer()
                found[number] = hashlib.md5(doc, usedforsecurity=False).hexdigest()
    return len(wanted) == rows == snapshot.rows and found == wanted


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _say(kind: str, run: dict[str, Any], *, stored_bytes: int, lake_bytes: int) -> None:
    said = run.get("error") or ("right" if run["right"] else "WRONG ROWS")
    sys.stdout.write(
        f"{kind}: {run['rows_inserted']:,} rows of {ROW_BYTES / 1e6:.0f} MB in {run['seconds']:.0f} s,"
        f" {run['rows_rejected']} rejected, peak RSS {run['peak_rss_bytes'] / MIB:.0f} MiB,"
        f" PSS {run['peak_memory_bytes'] / MIB:.0f} MiB of {BUDGET_MIB};"
        f" {stored_bytes / 1e9:.1f} GB at the source, {lake_bytes / 1e9:.1f} GB in the lake; {said}\n"
    )
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.extract.wide")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--scratch", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

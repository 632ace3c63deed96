"""Four programs that read a Delta table and share no reading code with this platform's merge."""

from __future__ import annotations

import math
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession

Rows = list[tuple[Any, ...]]
Reader = Callable[[str, str], pa.Table]
"""Path of a table and a condition in SQL that all of them understand -> the rows that fulfil it, in any order."""

_SERVE = """
import sys
from pysail.spark import SparkConnectServer
server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
print(server.listening_address[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def spark_session(log: Path) -> Iterator[SparkSession]:
    """Spark's own client on a Spark Connect server in a process that ends with this one."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            ready, _, _ = select.select([server.stdout], [], [], 120)
            port = server.stdout.readline().strip() if ready else ""
            assert port, log.read_text()
            session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
            session.conf.set("spark.sql.session.timeZone", "UTC")
            yield session
            session.stop()
        finally:
            server.stdin.close()
            server.kill()


def readers(spark: SparkSession) -> dict[str, Reader]:
    def by_spark(path: str, condition: str) -> pa.Table:
        return spark.read.format("delta").load(path).where(condition).toArrow()

    return {"duckdb": by_duckdb, "polars": by_polars, "deltalake": by_deltalake, "spark": by_spark}


def by_duckdb(path: str, condition: str) -> pa.Table:
    folder = next(iter(find_spec("duckdb_extension_delta").submodule_search_locations))  # type: ignore[union-attr,arg-type]
    with duckdb.connect(config={"allow_unsigned_extensions": "true"}) as connection:
        connection.execute(f"LOAD '{next(Path(folder).rglob('*.duckdb_extension'))}'")
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT * FROM delta_scan('{path}') WHERE {condition}").to_arrow_table()


def by_polars(path: str, condition: str) -> pa.Table:
    return pl.scan_delta(path).filter(pl.sql_expr(condition)).collect().to_arrow()


def by_deltalake(path: str, condition: str) -> pa.Table:
    """By its own engine, DataFusion."""
    found = QueryBuilder().register("t", DeltaTable(path)).execute(f"SELECT * FROM t WHERE {condition}")
    return pa.table(found.read_all())


def rows_of(table: pa.Table, columns: list[str]) -> Rows:
    """The rows by id, each value as Python has it: times in UTC, one NaN equal to another."""
    return sorted(
        (tuple(map(_plain, row.values())) for row in table.select(columns).to_pylist()), key=lambda row: row[0]
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return "NaN" if isinstance(value, float) and math.isnan(value) else value

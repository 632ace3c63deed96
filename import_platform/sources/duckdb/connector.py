"""The DuckDB connector: a file attached read-only, read by rowid in pages bounded by bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from import_platform.core import cursor as cursors
from import_platform.core.table import PartitionSpec, TableInfo
from import_platform.core.wording import counted
from import_platform.errors import ConfigError, SourceRejected
from import_platform.sources.base_keys import in_order
from import_platform.sources.clauses import where
from import_platform.sources.duckdb.catalog import DuckTable, describe, load_tables
from import_platform.sources.duckdb.predicates import base_key_sql
from import_platform.sources.duckdb.read import read_pages
from import_platform.sources.duckdb.session import MEMORY_BYTES, Session, open_file
from import_platform.sources.duckdb.types import expression
from import_platform.sources.found import in_name_order, places_of
from import_platform.sources.protocol import Ceiling, Page, ReadRequest


class DuckdbSource:
    """Tables of one database file, which need not exist before the first call. Nothing is ever written to it.

    While a call runs nobody else can write to the file; a file that somebody has open for writing cannot be read.
    """

    kind = "duckdb"
    reads_ahead = True
    takes_where = True

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._path = Path(str(connection["path"])).expanduser()
        self._schemas = tuple(dict.fromkeys(connection.get("schemas") or ["main"]))

    def __repr__(self) -> str:
        return f"DuckdbSource({str(self._path)!r})"

    def check(self) -> str:
        with open_file(self._path) as session:
            version = session.rows("SELECT version()")[0][0]
            count = len(load_tables(session, self._schemas, None))
        return f"DuckDB {version}, file {self._path.name}, {counted(count, 'table')}"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """Names that the file does not have are left out; views are found only by name."""
        default = "main" if "main" in self._schemas else self._schemas[0]
        pairs = None if names is None else list(places_of(names, self._schemas, default=default))
        with open_file(self._path) as session:
            tables = load_tables(session, self._schemas, pairs)
            infos = [describe(session, table, default=table.schema == default) for table in tables]
        return in_name_order(infos, names)

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        """A file has one writer, and none while it is read, so what is in it is complete but for rows that share the
        last value. Not later than now: a row stamped in the future would let a sync pass by every row until then."""
        with self._table(table) as (session, found):
            column = found.column(cursor)
            info = table.column(cursor)
            dtype = info.type if info is not None else pa.null()
            instant = pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)
            if not (instant or pa.types.is_integer(dtype) or pa.types.is_decimal(dtype) or pa.types.is_string(dtype)):
                raise ConfigError(
                    "a cursor must be a timestamp, date, integer, decimal or text",
                    column=cursor,
                    type=str(dtype),
                    remedy="Choose another cursor column or sync: full_refresh.",
                )
            largest = expression(column.declared, f"max({column.sql})")
            value = session.rows(f"SELECT {largest} FROM {found.sql}{where(found.only)}")[0][0]
        if value is None:
            return None
        if pa.types.is_timestamp(dtype):
            value = min(pa.scalar(value, dtype).as_py(), datetime.now(UTC))
        elif pa.types.is_date(dtype):
            value = min(value, datetime.now(UTC).date())
        elif pa.types.is_decimal(dtype):
            value = cursors.decode(str(value), dtype)
        return Ceiling(cursors.encode(value, dtype))

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        with self._table(table, timeout_seconds=timeout_seconds) as (session, found):
            return int(session.rows(f"SELECT count(*) FROM {found.sql}{where(found.only)}")[0][0])

    def base_keys(
        self, table: TableInfo, partition: PartitionSpec, *, limit: int, timeout_seconds: float
    ) -> list[str] | None:
        """None also where the partition column is text, whose instants only the reader can tell."""
        with self._table(table, timeout_seconds=timeout_seconds) as (session, found):
            sql = base_key_sql(found, partition, limit=limit)
            if sql is None:
                return None
            keys = [str(row[0]) for row in session.rows(sql)]
        return in_order(keys, partition, limit=limit)

    def read(self, request: ReadRequest) -> Iterator[Page]:
        memory = MEMORY_BYTES
        if request.row_bytes_max is not None:
            memory = min(4 * memory, request.row_bytes_max)
        with self._table(request.table, memory_bytes=memory) as (session, found):
            stat = self._path.stat()
            yield from read_pages(session, found, request, file=f"{stat.st_mtime_ns}-{stat.st_size}")

    def close(self) -> None:
        """Nothing stays open between calls."""

    @contextmanager
    def _table(
        self, table: TableInfo, *, timeout_seconds: float | None = None, memory_bytes: int = MEMORY_BYTES
    ) -> Iterator[tuple[Session, DuckTable]]:
        with open_file(self._path, timeout_seconds=timeout_seconds, memory_bytes=memory_bytes) as session:
            found = load_tables(session, self._schemas, [(table.schema, table.name)])
            if not found:
                raise SourceRejected(
                    "the source has no such table",
                    schema=table.schema,
                    table=table.name,
                    remedy="Run `import-platform tables` to see what it offers.",
                )
            yield session, replace(found[0], where=table.where)

"""The SQLite connector: a file opened read-only, with the standard library's driver.

The ADBC driver reads five times as fast but infers each column's type from its first rows and fails on the first value
of another one (seen with 1.13), where SQLite allows any value in any column.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from import_platform.core import cursor as cursors
from import_platform.core.arrow import polars_type
from import_platform.core.column_range import check_partition_column
from import_platform.core.layout import ALL
from import_platform.core.table import HashPartition, PartitionSpec, TableInfo
from import_platform.core.wording import counted
from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.base_keys import in_order
from import_platform.sources.clauses import filtered
from import_platform.sources.protocol import Ceiling, Page, ReadRequest
from import_platform.sources.sqlite.catalog import SqliteTable, describe, lenient_text, load_table, quote, table_names
from import_platform.sources.sqlite.functions import add_functions, base_name_sql, comparable
from import_platform.sources.sqlite.read import read_pages
from import_platform.sources.sqlite.types import from_micros

_BUSY_SECONDS = 30.0
_PROGRESS_STEPS = 100_000  # virtual machine steps between two looks at the clock, about a millisecond


class SqliteSource:
    """Tables of one database file, which need not exist before the first call. Nothing is ever written to it."""

    kind = "sqlite"
    reads_ahead = True
    takes_where = True

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._path = Path(str(connection["path"])).expanduser()

    def __repr__(self) -> str:
        return f"SqliteSource({str(self._path)!r})"

    def check(self) -> str:
        with self._open() as connection:
            count = len(table_names(connection))
        return f"SQLite {sqlite3.sqlite_version}, file {self._path.name}, {counted(count, 'table')}"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """Names that the file does not have are left out; views are found only by name."""
        with self._open() as connection:
            tables = [
                load_table(connection, name)
                for name in (table_names(connection) if names is None else sorted(set(names)))
            ]
            with lenient_text(connection):
                return [describe(connection, table) for table in tables if table is not None]

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        """A file has one writer at a time, so what is committed is complete but for rows that share the last value.

        Not later than now: a row stamped in the future would let a sync pass by every row stamped until then.
        """
        column = table.column(cursor)
        if column is None:
            raise SourceRejected(
                "the source's table has no such column",
                table=table.name,
                column=cursor,
                remedy="Discover the source again: the table has changed.",
            )
        dtype = column.type
        instant = pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)
        storage = "integer" if pa.types.is_integer(dtype) else "text"
        if not (instant or pa.types.is_integer(dtype) or pa.types.is_string(dtype)):
            raise ConfigError(
                "a cursor must be a timestamp, date, integer or text",
                column=cursor,
                type=str(dtype),
                remedy="Choose another cursor column or sync: full_refresh.",
            )
        value = (
            comparable(cursor, dtype)
            if instant
            else f"CASE typeof({quote(cursor)}) WHEN '{storage}' THEN {quote(cursor)} END"
        )
        with self._table(table) as (connection, found):
            largest = connection.execute(f"SELECT max({value}) FROM {quote(found.name)}").fetchone()[0]
        if largest is None:
            return None
        if not instant:
            return Ceiling(cursors.encode(largest, dtype))
        top = min(from_micros(largest), datetime.now(UTC))
        return Ceiling(cursors.encode(top if pa.types.is_timestamp(dtype) else top.date(), dtype))

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        with self._table(table, timeout_seconds=timeout_seconds) as (connection, found):
            return int(connection.execute(f"SELECT count(*) FROM {_rows(found, table)}").fetchone()[0])

    def base_keys(
        self, table: TableInfo, partition: PartitionSpec, *, limit: int, timeout_seconds: float
    ) -> list[str] | None:
        """None also where the partition column is text, whose instants only the reader can tell."""
        with self._table(table, timeout_seconds=timeout_seconds) as (connection, found):
            if isinstance(partition, HashPartition):
                return [ALL] if connection.execute(f"SELECT 1 FROM {_rows(found, table)} LIMIT 1").fetchone() else []
            column = table.column(partition.column)
            if column is None or pa.types.is_string(column.type):
                return None
            check_partition_column(partition, polars_type(column.type))
            name = base_name_sql(partition, column.type)
            rows = connection.execute(f"SELECT DISTINCT {name} FROM {_rows(found, table)} LIMIT {limit + 1}").fetchall()
        return in_order([row[0] for row in rows], partition, limit=limit)

    def read(self, request: ReadRequest) -> Iterator[Page]:
        with self._table(request.table) as (connection, found):
            connection.execute("BEGIN")  # every page sees the same rows
            yield from read_pages(connection, found, request)

    def close(self) -> None:
        """Nothing stays open between calls."""

    @contextmanager
    def _table(
        self, table: TableInfo, *, timeout_seconds: float | None = None
    ) -> Iterator[tuple[sqlite3.Connection, SqliteTable]]:
        with self._open(timeout_seconds=timeout_seconds) as connection:
            found = load_table(connection, table.name)
            if found is None:
                raise SourceRejected(
                    "the source has no such table",
                    table=table.name,
                    remedy="Run `import-platform tables` to see what it offers.",
                )
            yield connection, found

    @contextmanager
    def _open(self, *, timeout_seconds: float | None = None) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise ConfigError(
                "there is no such SQLite file", path=str(self._path), remedy="Correct path: in the connection."
            )
        try:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(
                uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            _raise(error, self._path)
        try:
            add_functions(connection)
            if timeout_seconds is not None:
                end = time.monotonic() + timeout_seconds
                connection.set_progress_handler(lambda: time.monotonic() > end, _PROGRESS_STEPS)
            yield connection
        except sqlite3.Error as error:
            _raise(error, self._path)
        finally:
            connection.close()


def _rows(found: SqliteTable, table: TableInfo) -> str:
    return filtered(quote(found.name), table.where)


def _raise(error: sqlite3.Error, path: Path) -> NoReturn:
    """The driver's error in our words. Its text holds values only where it could not decode one."""
    said, name = str(error), getattr(error, "sqlite_errorname", "")
    if "decode" in said:
        raise SourceRejected(
            "a key of the table is text that is not UTF-8, so its rows cannot be told apart",
            path=str(path),
            remedy="Repair the value at the source.",
        ) from None  # its text quotes the value
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_INTERRUPT")):
        raise SourceUnavailable(
            "the SQLite file is locked or the statement passed its time limit",
            path=str(path),
            said=said,
            remedy="Try again when its writer is done.",
        ) from None
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY", "SQLITE_AUTH")):
        raise SourceRejected(
            "the SQLite file cannot be opened",
            path=str(path),
            said=said,
            remedy="Give the platform's user read permission on the file and its folder.",
        ) from None
    raise SourceRejected(
        "the SQLite file could not be read",
        path=str(path),
        said=said,
        remedy="Check it with `PRAGMA integrity_check`, or run `import-platform tables` again.",
    ) from None

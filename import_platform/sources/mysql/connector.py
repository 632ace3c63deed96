"""The MySQL and MariaDB connector (MySQL 5.7, MariaDB 10.3 and later): rows streamed by PyMySQL, bounded in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from import_platform.core.table import PartitionSpec, TableInfo
from import_platform.errors import SourceRejected
from import_platform.sources.base_keys import in_order
from import_platform.sources.mysql.buckets import base_key_sql
from import_platform.sources.mysql.catalog import MyTable, load_tables
from import_platform.sources.mysql.ceiling import find_ceiling
from import_platform.sources.mysql.discovery import discover_tables
from import_platform.sources.mysql.read import read_pages
from import_platform.sources.mysql.session import MysqlSession, Transaction
from import_platform.sources.mysql.sql import MARK, source
from import_platform.sources.protocol import Ceiling, Page, ReadRequest

CEILING_TIMEOUT_SECONDS = 300.0
"""A largest value that takes longer to find says that the source has no index for the cursor."""


class MysqlSource:
    """Tables of one or more databases of a server. Opens a connection per call and closes it after.

    `schemas` are databases; the tables of the first (that of the dsn where none is named) keep their plain names.
    """

    kind = "mysql"
    reads_ahead = True
    takes_where = True

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._session = MysqlSession(str(connection["dsn"]))
        self._schemas = tuple(dict.fromkeys(connection.get("schemas") or [self._session.database]))

    def __repr__(self) -> str:
        return f"MysqlSource(schemas={list(self._schemas)}, dsn=<hidden>)"

    def check(self) -> str:
        with self._session.transaction() as transaction:
            row = transaction.rows("SELECT DATABASE() AS d, CURRENT_USER() AS u")[0]
            kind = "MariaDB" if transaction.is_mariadb else "MySQL"
            return f"{kind} {transaction.version.partition('-')[0]}, database {row['d']}, user {row['u']}"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """Names that the source does not have, or the user may not see, are left out."""
        return discover_tables(self._session, self._schemas, names)

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        with self._table(table, timeout_seconds=CEILING_TIMEOUT_SECONDS) as (transaction, found):
            return find_ceiling(transaction, found, found.column(cursor))

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        with self._table(table, timeout_seconds=timeout_seconds) as (transaction, found):
            return int(str(transaction.rows(f"SELECT {MARK} COUNT(*) AS n{source(found.sql)}")[0]["n"]))

    def base_keys(
        self, table: TableInfo, partition: PartitionSpec, *, limit: int, timeout_seconds: float
    ) -> list[str] | None:
        """None also where the partition column is text, whose instants only the reader can tell."""
        with self._table(table, timeout_seconds=timeout_seconds) as (transaction, found):
            sql = base_key_sql(found, partition, limit=limit)
            if sql is None:
                return None
            keys = [str(row["name"]) for row in transaction.rows(sql)]
        return in_order(keys, partition, limit=limit)

    def read(self, request: ReadRequest) -> Iterator[Page]:
        with self._table(request.table) as (transaction, found):
            yield from read_pages(transaction, found, request)

    def close(self) -> None:
        """Nothing stays open between calls."""

    @contextmanager
    def _table(
        self, table: TableInfo, *, timeout_seconds: float | None = None
    ) -> Iterator[tuple[Transaction, MyTable]]:
        """The table as it is now, in a transaction that sees it unchanged."""
        with self._session.transaction(timeout_seconds=timeout_seconds) as transaction:
            found = load_tables(transaction, self._schemas, [(table.schema, table.name)])
            if not found or not found[0].columns:
                raise SourceRejected(
                    "the source has no such table, or the user may not see it",
                    schema=table.schema,
                    table=table.name,
                    remedy="Run `import-platform tables` to see what it offers.",
                )
            yield transaction, replace(found[0], where=table.where)

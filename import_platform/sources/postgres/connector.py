"""The PostgreSQL connector (server 14 and later): ADBC reads by COPY, bounded in bytes, resumable behind every page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from import_platform.core.table import PartitionSpec, TableInfo
from import_platform.errors import SourceRejected
from import_platform.sources.base_keys import in_order
from import_platform.sources.postgres.buckets import base_key_sql
from import_platform.sources.postgres.catalog import PgTable, load_tables
from import_platform.sources.postgres.ceiling import find_ceiling
from import_platform.sources.postgres.discovery import discover_tables
from import_platform.sources.postgres.ranges import read_ranges
from import_platform.sources.postgres.read import read_pages
from import_platform.sources.postgres.session import PostgresSession, Transaction
from import_platform.sources.postgres.sql import source
from import_platform.sources.protocol import Ceiling, Page, ReadRequest

CEILING_TIMEOUT_SECONDS = 300.0
"""A largest value that takes longer to find says that the source has no index for the cursor."""
READERS = 2
"""Readers of a large table where the connection says no number: with more than one core two take half the time, and a
source's owner is not surprised by more."""


class PostgresSource:
    """Tables of one database. Opens a connection per call, closes it after; `close` ends the idle one between calls."""

    kind = "postgres"
    reads_ahead = True
    takes_where = True

    def __init__(self, connection: Mapping[str, Any]) -> None:
        schemas = connection.get("schemas") or ["public"]
        self._schemas = tuple(dict.fromkeys(schemas))
        self._readers = max(int(connection.get("readers") or min(os.cpu_count() or 1, READERS)), 1)
        self._session = PostgresSession(str(connection["dsn"]))

    def __repr__(self) -> str:
        return f"PostgresSource(schemas={list(self._schemas)}, dsn=<hidden>)"

    def check(self) -> str:
        with self._session.transaction() as transaction:
            row = transaction.rows(
                "SELECT current_setting('server_version') AS version, current_database()::text AS database,"
                ' current_user::text AS "user"'
            )[0]
        return f"PostgreSQL {row['version']}, database {row['database']}, user {row['user']}"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """Names that the source does not have, or the user may not see, are left out."""
        return discover_tables(self._session, self._schemas, names)

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        with self._table(table, timeout_seconds=CEILING_TIMEOUT_SECONDS) as (transaction, found):
            return find_ceiling(transaction, found, found.column(cursor))

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        with self._table(table, timeout_seconds=timeout_seconds) as (transaction, found):
            return int(transaction.rows(f"SELECT count(*) AS n{source(found.sql)}")[0]["n"])

    def base_keys(
        self, table: TableInfo, partition: PartitionSpec, *, limit: int, timeout_seconds: float
    ) -> list[str] | None:
        """None also where the partition column is text, whose instants only the reader can tell."""
        with self._table(table, timeout_seconds=timeout_seconds) as (transaction, found):
            sql = base_key_sql(found, partition, limit=limit)
            if sql is None:
                return None
            keys = [str(row["key"]) for row in transaction.rows(sql)]
        return in_order(keys, partition, limit=limit)

    def read(self, request: ReadRequest) -> Iterator[Page]:
        with self._table(request.table) as (transaction, found):
            ranges = read_ranges(self._session, transaction, found, request, readers=self._readers)
            yield from ranges if ranges is not None else read_pages(transaction, found, request)

    def close(self) -> None:
        self._session.close()

    @contextmanager
    def _table(
        self, table: TableInfo, *, timeout_seconds: float | None = None
    ) -> Iterator[tuple[Transaction, PgTable]]:
        """The table as it is now, in a transaction that sees it unchanged."""
        with self._session.transaction(timeout_seconds=timeout_seconds) as transaction:
            found = load_tables(transaction, self._schemas, [(table.schema, table.name)])
            if not found:
                raise SourceRejected(
                    "the source has no such table",
                    schema=table.schema,
                    table=table.name,
                    remedy="Run `import-platform tables` to see what it offers.",
                )
            if not found[0].columns:
                raise SourceRejected(
                    "the user may not read this table",
                    schema=table.schema,
                    table=table.name,
                    remedy="Grant SELECT on the table and USAGE on its schema to the user.",
                )
            yield transaction, replace(found[0], where=table.where)

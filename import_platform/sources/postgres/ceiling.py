"""Up to which cursor value a PostgreSQL table is complete right now.

An application stamps rows with the time at which its transaction began (`now()`), and the rows appear when it commits.
A row stamped 12:00 may therefore appear at 12:05, after a sync has gone past 12:00. So the ceiling of a timestamp or
date cursor is the largest value, but not later than the start of the oldest transaction that is still open, nor than
now (a row stamped in the future would let the sync pass by every row stamped until then).

- Every open transaction of the database counts, also one that has written nothing yet: it may still write, stamped with
  its start. Not counted: our own readers and pg_dump, both read-only; autovacuum and replication.
- Prepared transactions count from when they were prepared, less an hour, because their start is not recorded.
- Without pg_read_all_stats other users' starts are hidden; while such a session is inside a transaction (it holds a
  lock of its own virtual transaction) the ceiling is fifteen minutes ago.
- A uuid of version 7 holds the time of its making, and is held back alike.
- The row version `xmin` needs none of this: it is complete below the oldest transaction that is still under way.
- A naive timestamp may have been stamped in UTC or in the server's zone: the earlier of both readings is taken.
"""

from __future__ import annotations

import pyarrow as pa

from import_platform.core import cursor
from import_platform.core.postgres_text import literal
from import_platform.errors import ConfigError
from import_platform.sources.postgres.catalog import PgColumn, PgTable
from import_platform.sources.postgres.session import APPLICATION_NAME, Transaction
from import_platform.sources.postgres.sql import column_reference, source
from import_platform.sources.postgres.types import ROW_VERSION, arrow_type, cursor_expression, expression
from import_platform.sources.protocol import Ceiling

_SETTLED_AFTER = "1 second"
"""Longer than any rounding of a stamp (timestamp(0)), so nothing stamped from now on can be at or below the ceiling."""


def find_ceiling(transaction: Transaction, table: PgTable, column: PgColumn) -> Ceiling | None:
    dtype = arrow_type(column.type)
    if column.name == ROW_VERSION:
        # Below a snapshot's xmin every transaction has ended, so nothing can appear there any more.
        sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8 - 1 AS value"
        return Ceiling(str(transaction.rows(sql)[0]["value"]), settled=True)
    if not (
        pa.types.is_timestamp(dtype)
        or pa.types.is_date(dtype)
        or pa.types.is_integer(dtype)
        or pa.types.is_decimal(dtype)
        or pa.types.is_string(dtype)
    ):
        raise ConfigError(
            "a cursor must be a timestamp, date, integer, decimal or text",
            column=column.name,
            type=str(dtype),
            remedy="Choose another cursor column or sync: full_refresh.",
        )
    if column.type.builtin and column.type.name == "uuid":
        return _of_uuids(transaction, table, column)
    if not (pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)):
        largest = f"max({cursor_expression(column.type, column_reference(column.name))})"
        row = transaction.rows(f"SELECT {expression(column.type, largest)}::text AS value{source(table.sql)}")[0]
        return None if row["value"] is None else Ceiling(cursor.encode(_python(row["value"], dtype), dtype))
    return _of_instants(transaction, table, column, dtype)


def _of_uuids(transaction: Transaction, table: PgTable, column: PgColumn) -> Ceiling | None:
    """A uuid of version 7 begins with the millisecond of its making, so the oldest open transaction bounds it too."""
    reference = column_reference(column.name)
    began = f"SELECT floor(extract(epoch FROM bound) * 1000)::int8 FROM ({_OPEN}) AS o"
    rows = transaction.rows(
        f"SELECT {reference}::text AS value, ({began}) AS ms"
        f"{source(table.sql, [f'{reference} IS NOT NULL'])} ORDER BY {reference} DESC LIMIT 1"
    )
    if not rows:
        return None
    largest, digits = str(rows[0]["value"]), f"{int(rows[0]['ms']):012x}"
    first = f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
    return Ceiling(min(largest, first) if largest[14] == "7" else largest)


def _of_instants(transaction: Transaction, table: PgTable, column: PgColumn, dtype: pa.DataType) -> Ceiling | None:
    reference = column_reference(column.name)
    zoned = column.type.name == "timestamptz"
    bound = "bound" if zoned else "least(bound AT TIME ZONE 'UTC', bound AT TIME ZONE own_zone)"
    open_bound = f"({bound})::{column.type.castable}"
    settled = (
        f"largest::timestamp < date_trunc('day', {bound})"
        if column.type.name == "date"
        else (f"largest <= {bound} - interval '{_SETTLED_AFTER}'")
    )
    lowered = f"least(largest, {open_bound})"
    row = transaction.rows(
        f"WITH open AS ({_OPEN}), extreme AS (SELECT max({reference}) AS largest{source(table.sql)})"
        f" SELECT {expression(column.type, lowered)} AS value, largest IS NULL AS empty, {settled} AS settled"
        " FROM open, extreme"
    )[0]
    return None if row["empty"] else Ceiling(cursor.encode(row["value"], dtype), settled=row["settled"])


def _python(text: str, dtype: pa.DataType) -> object:
    return cursor.decode(text, dtype)


# The snapshot of this statement is older than what it sees in pg_stat_activity: a transaction that ended in between is
# visible to every later read, one that began in between is stamped later than `now()` here.
_OPEN = f"""
SELECT least(now(),
           (SELECT min(xact_start) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
              AND backend_type NOT IN ('autovacuum worker', 'walsender', 'parallel worker')
              AND application_name NOT IN ({literal(APPLICATION_NAME)}, 'pg_dump')),
           (SELECT min(prepared) - interval '1 hour' FROM pg_prepared_xacts WHERE database = current_database()),
           (SELECT now() - interval '15 minutes' FROM pg_stat_activity a
            WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.query = '<insufficient privilege>'
              AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'virtualxid' AND l.granted)
            LIMIT 1)
       ) AS bound,
       (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone') AS own_zone
"""

"""Up to which cursor value a MySQL table is complete right now.

As on PostgreSQL the ceiling of a date or time is the largest value, but not later than now nor than the start of the
oldest open transaction or statement, because a row that was stamped 12:00 may appear at 12:05.

- Our own readers do not count; they carry a mark in their statement. Those that only read by declaration do not either.
- Starts are known to the second, so a second is taken off where there is one.
- Without the PROCESS privilege other users' transactions are hidden; the ceiling is then fifteen minutes ago. GRANT
  PROCESS ON *.* makes new rows appear at once.
- A DATETIME may have been stamped in UTC or in the server's zone: the earlier of both readings is taken.
"""

from __future__ import annotations

import pyarrow as pa

from import_platform.core import cursor
from import_platform.errors import ConfigError, SourceRejected
from import_platform.sources.mysql.catalog import MyColumn, MyTable
from import_platform.sources.mysql.predicates import bound
from import_platform.sources.mysql.session import Transaction
from import_platform.sources.mysql.sql import MARK, column_reference, literal, source
from import_platform.sources.mysql.types import TEXT, arrow_type, by_bytes, instant_literal
from import_platform.sources.protocol import Ceiling


def find_ceiling(transaction: Transaction, table: MyTable, column: MyColumn) -> Ceiling | None:
    dtype = arrow_type(column.type)
    reference = column_reference(column.name)
    if pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
        return _of_instants(transaction, table, column)
    if column.type.name in TEXT:
        largest = f"CONVERT(MAX({by_bytes(reference)}) USING utf8mb4)"
    elif pa.types.is_integer(dtype) or pa.types.is_decimal(dtype):
        largest = f"MAX({reference})"
    else:
        raise ConfigError(
            "a cursor must be a timestamp, date, integer, decimal or text",
            column=column.name,
            type=column.type.declared,
            remedy="Choose another cursor column or sync: full_refresh.",
        )
    value = transaction.rows(f"SELECT {largest} AS value{source(table.sql)}")[0]["value"]
    return None if value is None else Ceiling(cursor.encode(cursor.decode(value, dtype), dtype))


def _of_instants(transaction: Transaction, table: MyTable, column: MyColumn) -> Ceiling | None:
    open_ = _oldest_open(transaction, zoned=column.type.name == "timestamp")
    reference, dtype = column_reference(column.name), arrow_type(column.type)
    top = instant_literal(column.type, open_[:10] if column.type.name == "date" else open_)
    limit = f"CAST({instant_literal(column.type, open_)} AS DATETIME(6))"
    settled = f"MAX({reference}) < {top}" if column.type.name == "date" else f"MAX({reference}) <= {limit}"
    row = transaction.rows(
        f"SELECT LEAST(MAX({reference}), {top}) AS value, {settled} AS settled{source(table.sql)}"
        f" WHERE {reference} >= {bound(column, '1000-01-01')}"
    )[0]
    text = row["value"]
    if text is None:
        return None
    iso = text[:10] if pa.types.is_date(dtype) else f"{text.replace(' ', 'T'):.26}"
    value = iso if pa.types.is_date(dtype) else f"{iso}{'.000000' if len(iso) == 19 else ''}"[:26].ljust(26, "0") + "Z"
    return Ceiling(cursor.encode(cursor.decode(value, dtype), dtype), settled=row["settled"] == "1")


def _oldest_open(transaction: Transaction, *, zoned: bool) -> str:
    """The instant before which nothing is under way, in UTC; for a naive column not later than the server's clock."""
    hour = "0" if zoned else f"LEAST(0, TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), {_NOW_SYSTEM}))"
    now = transaction.rows(f"SELECT UTC_TIMESTAMP(6) + INTERVAL {hour} SECOND AS now")[0]["now"]
    try:
        transaction.rows(f"SELECT SLEEP({_CACHED_SECONDS}) AS slept")
        age = transaction.rows(_AGE.format(mark=MARK))[0]["age"]
    except SourceRejected:
        age = str(15 * 60)
    row = transaction.rows(
        f"SELECT CAST({literal(str(now))} AS DATETIME(6)) - INTERVAL {int(float(age or 0))} SECOND AS value"
    )
    return str(row[0]["value"])


_CACHED_SECONDS = 0.11
"""The list of transactions may be a tenth of a second old: one that began before `now` is surely in it after this."""
_NOW_SYSTEM = "CONVERT_TZ(UTC_TIMESTAMP(6), '+00:00', 'SYSTEM')"
# Starts are shown in the server's own zone, whatever the session's is. A statement may be stamped before its
# transaction begins, so statements count from their own start.
_AGE = f"""
SELECT GREATEST(
    COALESCE((SELECT MAX(TIMESTAMPDIFF(SECOND, trx_started, {_NOW_SYSTEM})) + 1 FROM information_schema.innodb_trx
              WHERE trx_mysql_thread_id <> CONNECTION_ID() AND trx_is_read_only = 0
                AND COALESCE(trx_query, '') NOT LIKE 'SELECT {{mark}}%%'), 0),
    COALESCE((SELECT MAX(time) + 1 FROM information_schema.processlist
              WHERE id <> CONNECTION_ID() AND command IN ('Query', 'Execute')
                AND COALESCE(info, '') NOT LIKE 'SELECT {{mark}}%%' AND user <> 'system user'), 0)
) AS age
""".replace("%%", "%")

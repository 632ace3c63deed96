"""The demo's source database: what an application's owner would do to it. The import only ever reads it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from import_platform.demo.flights import FLIGHTS, TABLES, DemoTable, open_table

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

_TOUCH = """
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$
"""
_TRIGGER = """
CREATE TRIGGER flights_touch BEFORE INSERT OR UPDATE ON flights
FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
"""
_CORRECT_ARRIVALS = """
UPDATE flights SET arr_delay = arr_delay + 1, arr_time = (arr_time + 1) % 2400
WHERE arr_delay IS NOT NULL AND created_at >= (SELECT max(created_at) FROM flights) - interval '5 days'
"""
_PUT_OFF = """
UPDATE flights SET created_at = created_at + interval '1 month' WHERE id % 2000 = 0 AND id < 50000
"""


@dataclass(frozen=True)
class Changes:
    """How many rows the application changed, as PostgreSQL counted them."""

    flights_updated: int
    flights_moved: int
    flights_inserted: int
    planes_deleted: int


def load(dsn: str, *, months: int | None, loaded: Callable[[str, int], None]) -> None:
    """An empty schema `public` filled with the five tables; `loaded` is told each table's name and row count.

    The trigger comes after the rows, as in any restored backup: the history keeps its own `updated_at`.
    """
    with _connected(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS public CASCADE")
        cursor.execute("CREATE SCHEMA public")
        for table in TABLES:
            cursor.execute(_create_statement(table))
            with open_table(table, months=months) as rows:
                count = cursor.adbc_ingest(table.name, rows, mode="append")
            cursor.execute(f"ALTER TABLE {table.name} ADD PRIMARY KEY ({', '.join(table.primary_key)})")
            loaded(table.name, count)
        cursor.execute("CREATE INDEX flights_updated_at ON flights (updated_at)")
        cursor.execute(_TOUCH)
        cursor.execute(_TRIGGER)
        connection.commit()
        cursor.execute("ANALYZE")
        connection.commit()


def change(dsn: str) -> Changes:
    """A day at the application: arrivals corrected, new flights, flights put off to another month, planes retired.

    Each statement is a transaction of its own; the last one on `flights` is the smallest.
    """
    with _connected(dsn) as connection:
        return Changes(
            flights_updated=_run(connection, _CORRECT_ARRIVALS),
            flights_inserted=_run(connection, _next_year_statement(rows=2000)),
            flights_moved=_run(connection, _PUT_OFF),
            planes_deleted=_run(connection, "DELETE FROM planes WHERE year < 1970"),
        )


def touch_flights(dsn: str) -> int:
    """The newest flights get one more correction; how many."""
    with _connected(dsn) as connection:
        return _run(connection, _CORRECT_ARRIVALS)


@contextmanager
def ordered(dsn: str, table: DemoTable) -> Iterator[pa.RecordBatchReader]:
    """Every row in the order of the primary key, texts by code point, streamed."""
    order = (f'{name} COLLATE "C"' if table.all_columns[name] == "text" else name for name in table.primary_key)
    with _connected(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table.name} ORDER BY {', '.join(order)}")
        yield cursor.fetch_record_batch()


def version(dsn: str) -> str:
    """`18.4`"""
    with _connected(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version')")
        row = cursor.fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def _connected(dsn: str) -> Iterator[dbapi.Connection]:
    # Here, because it brings pandas along, and other commands look whether a demo is running.
    from adbc_driver_postgresql import dbapi  # noqa: PLC0415

    try:
        with dbapi.connect(dsn) as connection:
            yield connection
    finally:
        # The driver leaves SIGINT's handler with SA_RESTART: Ctrl-C would no longer end a wait for a child process.
        signal.siginterrupt(signal.SIGINT, True)


def _next_year_statement(*, rows: int) -> str:
    """The first flights of the year once more, a year later and under new ids."""
    values = {name: name for name in FLIGHTS.all_columns} | {
        "id": "id + (SELECT max(id) FROM flights)",
        "created_at": "created_at + interval '1 year'",
        "year": "year + 1",
        "time_hour": "time_hour + interval '1 year'",
    }
    return f"INSERT INTO flights SELECT {', '.join(values.values())} FROM flights WHERE id <= {rows}"


def _create_statement(table: DemoTable) -> str:
    required = {*table.primary_key, *table.derived}
    columns = (f"{name} {kind}{' NOT NULL' if name in required else ''}" for name, kind in table.all_columns.items())
    return f"CREATE TABLE {table.name} ({', '.join(columns)})"


def _run(connection: dbapi.Connection, statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"WITH changed AS ({statement} RETURNING 1) SELECT count(*) FROM changed")
        row = cursor.fetchone()
    connection.commit()
    assert row is not None
    return int(row[0])

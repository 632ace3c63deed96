"""A PostgreSQL database that tables are published to: one transaction, rows by the driver's binary COPY.

The driver (ADBC) writes Arrow values as PostgreSQL's own binary form, so nulls, text, decimals and NaN need no words of
ours; a binary value must be of exactly its column's type, so rows go to staging tables of our own types first and are
cast by the database. Staging tables are temporary: no name to clash, no write-ahead log, gone with a killed process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from adbc_driver_manager import Error as DriverError

from import_platform.core.postgres_text import literal
from import_platform.errors import ConfigError, ImportPlatformError, TableBusy, TargetRejected, TargetUnavailable

if TYPE_CHECKING:
    from adbc_driver_manager import dbapi

LOCK_TIMEOUT = "60s"


@contextmanager
def publishing_transaction(dsn: str) -> Iterator[TargetTransaction]:
    """Everything in the block becomes visible at its end, or nothing does: an error, or the end of this process, rolls
    it back. A reader sees the rows of before until then and is never kept waiting.

    Raises:
        TargetUnavailable, TableBusy: try again; ConfigError, TargetRejected: a person has to act.
    """
    secrets = _secrets(dsn)
    # Here, because it brings pandas along: half a second of every command that publishes nothing.
    import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415

    try:
        connection = driver.connect(dsn, autocommit=False)
    except (DriverError, OSError) as error:
        _raise(error, secrets)
    try:
        transaction = TargetTransaction(connection, secrets)
        transaction.begin()
        yield transaction
        transaction.commit()
    finally:
        with suppress(DriverError, RuntimeError):
            connection.rollback()
        with suppress(DriverError, RuntimeError):
            connection.close()


class TargetTransaction:
    """Statements of one transaction; made by `publishing_transaction`."""

    def __init__(self, connection: dbapi.Connection, secrets: tuple[str, ...]) -> None:
        self._connection = connection
        self._secrets = secrets

    def begin(self) -> None:
        for name, value in (
            ("lock_timeout", LOCK_TIMEOUT),
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO, YMD"),
            ("application_name", "import_platform publish"),
            ("idle_in_transaction_session_timeout", "0"),
        ):
            self.rows(f"SELECT set_config({literal(name)}, {literal(value)}, true) AS v")

    def execute(self, sql: str) -> int:
        """Runs one statement; the number of rows that an INSERT, UPDATE or DELETE changed."""
        with self._translated(), self._connection.cursor() as cursor:
            statement = cursor.adbc_statement  # the cursor's own `execute` asks for rows and is told no count
            statement.set_sql_query(sql)
            return int(statement.execute_update())

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """All rows of a small result."""
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(sql)
            found: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
            return found

    def copy(
        self, table: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch], *, db_schema: str | None = None
    ) -> int:
        """Streams rows into a table by one binary COPY; one batch is held. Without a schema it is a temporary one."""
        failed: list[BaseException] = []
        reader = pa.RecordBatchReader.from_batches(schema, _kept(batches, failed))
        place: dict[str, Any] = {"temporary": True} if db_schema is None else {"db_schema_name": db_schema}
        with self._connection.cursor() as cursor:
            try:
                with self._translated():
                    return int(cursor.adbc_ingest(table, reader, mode="append", **place))
            except ImportPlatformError:
                if failed:
                    raise failed[0] from None  # what our own reading raised; the driver only knows that it ended
                raise

    def commit(self) -> None:
        with self._translated():
            self._connection.commit()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DriverError, OSError, pa.ArrowException) as error:
            _raise(error, self._secrets)


def _kept(batches: Iterator[pa.RecordBatch], failed: list[BaseException]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except BaseException as error:
        failed.append(error)
        raise


def _secrets(dsn: str) -> tuple[str, ...]:
    """What must not be repeated. Raises ConfigError for what is no DSN, because libpq would quote it."""
    if "://" in dsn:
        with suppress(ValueError):
            parts = urlsplit(dsn)
            own = dict(parse_qsl(parts.query, keep_blank_values=True))
            if parts.scheme in ("postgres", "postgresql"):
                found = (parts.password or "", unquote(parts.password or ""), own.get("password", ""), dsn)
                return tuple(filter(None, found))
    elif pairs := dict(re.findall(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)", dsn)):
        return tuple(filter(None, (pairs.get("password", "").strip("'"), dsn)))
    raise ConfigError(
        "the dsn of the target is not one of PostgreSQL",
        remedy="Write it like postgresql://user:password@host:5432/database.",
    )


_TRY_AGAIN = "Try again; the target holds what it held before."
_BY_STATE: dict[str, tuple[type[ImportPlatformError], str, str]] = {
    "08": (TargetUnavailable, "the connection to the target was lost", _TRY_AGAIN),
    "25": (TargetUnavailable, "the target ended the transaction", _TRY_AGAIN),
    "28": (TargetRejected, "the target refused the user or its password", "Correct user and password in the dsn."),
    "3D": (TargetRejected, "the target has no such database", "Correct the database name in the dsn."),
    "3F": (TargetRejected, "the target has no such schema", "Create the schema and let the user create tables in it."),
    "40": (TargetUnavailable, "the target cancelled the transaction in favour of another", _TRY_AGAIN),
    "42501": (
        TargetRejected,
        "the user may not do this in the target",
        "Grant the user CREATE on the schema and make it the owner of the published tables.",
    ),
    "22021": (
        TargetRejected,
        "a text holds the character NUL, which PostgreSQL cannot store",
        "Leave the column out (columns: {exclude: ..}) or mask it, or mend the text at the source.",
    ),
    "2BP01": (
        TargetRejected,
        "something in the target depends on what has to change",
        "Drop it or change it by hand, then publish again.",
    ),
    "23502": (
        TargetRejected,
        "a value is null where the target allows none",
        "Drop the target's NOT NULL; a table whose key may be null is published with mode: swap.",
    ),
    "23": (
        TargetRejected,
        "rows break a constraint of the target",
        "Look at the target's constraints; those that the source does not keep have to go.",
    ),
    "22": (
        TargetRejected,
        "a value does not fit its column in the target",
        "Make the column as wide as the lake's, or leave the column out of publish.types.",
    ),
    "53": (TargetUnavailable, "the target is out of resources", "Free disk or connections there, then try again."),
    "55P03": (TableBusy, "a table of the target stayed locked for a minute", _TRY_AGAIN),
    "57": (TargetUnavailable, "the target cancelled the statement or is shutting down", _TRY_AGAIN),
    "58": (TargetUnavailable, "the target failed on its own system", "Tell its owner, then try again."),
}
_BY_MESSAGE = (  # a failed connection carries no SQLSTATE
    (r"password authentication failed|no password supplied|pg_hba\.conf|role \".*\" (does not exist|is not)", "28"),
    (r"database \".*\" does not exist", "3D"),
    (r"too many (clients|connections)", "53"),
    (r"the database system is|terminating connection due to administrator", "57"),
)
_QUOTES_ROWS = ("22", "23")
"""Classes whose messages may hold a value of a row."""


def _raise(error: Exception, secrets: tuple[str, ...]) -> NoReturn:
    said = re.sub(r"^.*?(?=ERROR: |FATAL: )", "", str(error), flags=re.DOTALL).partition("\n")[0].strip()
    for secret in secrets:
        said = said.replace(secret, "***")
    found_state = re.search(r"SQLSTATE: ([0-9A-Z]{5})", str(error))
    state = getattr(error, "sqlstate", None) or (found_state[1] if found_state else None)
    state = state or next((code for pattern, code in _BY_MESSAGE if re.search(pattern, said)), None)
    if state is None:
        raise TargetUnavailable(
            "the target cannot be reached, or the connection was lost", remedy="Check host, port and network."
        ) from None
    kind, message, remedy = (
        _BY_STATE.get(state)
        or _BY_STATE.get(state[:2])
        or (TargetRejected, "the target did not accept the statement", "Check the target's columns and types.")
    )
    facts = {"sqlstate": state} if state[:2] in _QUOTES_ROWS else {"said": said}
    raise kind(message, remedy=remedy, **facts) from None

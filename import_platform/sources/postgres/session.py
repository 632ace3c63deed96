"""Connections to one PostgreSQL: read-only transactions, streams bounded by bytes, and errors in our own words."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import pyarrow as pa
from adbc_driver_manager import DatabaseError
from adbc_driver_postgresql import StatementOptions

from import_platform.core.postgres_text import literal
from import_platform.errors import ConfigError, ImportPlatformError, SourceRejected, SourceUnavailable

if TYPE_CHECKING:
    from adbc_driver_manager import dbapi

APPLICATION_NAME = "import_platform"
_PARAMETERS = {
    "application_name": APPLICATION_NAME,
    "connect_timeout": "15",
    # A peer that vanished is noticed within two minutes instead of the kernel's two hours.
    "keepalives": "1",
    "keepalives_idle": "60",
    "keepalives_interval": "15",
    "keepalives_count": "4",
    "client_encoding": "UTF8",
}
_SETTINGS = {
    # Values are printed and read back as text in these forms; every one is set anew in each transaction, because a
    # pooler may hand each transaction another server connection.
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "jit": "off",  # compiling 1,600 column expressions takes longer than running them
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "0",
}
# A database without encoding holds any bytes; asked for UTF-8 it would fail at the first odd row instead of sending it.
_CLIENT_ENCODING = """
SELECT set_config('client_encoding', encoding, true)
FROM (VALUES (CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)) c (encoding)
"""
_KEY_VALUE = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)")


class PostgresSession:
    """Opens connections to one DSN on demand. Its `repr` and its errors never hold the DSN's password."""

    def __init__(self, dsn: str) -> None:
        self._dsn, self._secrets = _complete(dsn)
        self._root: dbapi.Connection | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "PostgresSession(<dsn hidden>)"

    @contextmanager
    def transaction(
        self, *, timeout_seconds: float | None = None, snapshot: str | None = None
    ) -> Iterator[Transaction]:
        """One repeatable-read, read-only transaction on a connection of its own, closed at the end.

        Every statement in it sees the same rows; those of `snapshot`, which another open transaction has exported, if
        one is given. `timeout_seconds` limits each statement; None leaves the role's limit.
        """
        with self.translated():
            connection = self._connect()
        transaction = Transaction(self, connection)
        try:
            transaction.begin(timeout_seconds, snapshot)
            yield transaction
        finally:
            transaction.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns a driver's error into one of ours."""
        try:
            yield
        except (DatabaseError, OSError, pa.ArrowException) as error:
            self._raise(error)

    def close(self) -> None:
        with self._lock, suppress(DatabaseError):
            root, self._root = self._root, None
            if root is not None:
                root.close()

    def _connect(self) -> dbapi.Connection:
        with self._lock:
            # The driver learns the server's types when a database is opened; clones share what it learned.
            if self._root is None:
                # Here, because it brings pandas along: half a second of every command that opens no connection.
                import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415

                self._root = driver.connect(self._dsn, autocommit=True)
            return self._root.adbc_clone()

    def _raise(self, error: Exception) -> NoReturn:
        raise _in_our_words(error, self._secrets) from None


class Transaction:
    """Statements of one transaction; made by `PostgresSession.transaction`."""

    def __init__(self, session: PostgresSession, connection: dbapi.Connection) -> None:
        self._session = session
        self._connection = connection

    def begin(self, timeout_seconds: float | None, snapshot: str | None = None) -> None:
        settings = dict(_SETTINGS)
        if timeout_seconds is not None:
            settings["statement_timeout"] = f"{max(int(timeout_seconds * 1000), 1)}ms"
        self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if snapshot is not None:
            self.execute(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}")
        self.set(settings)
        self.rows(_CLIENT_ENCODING)

    def set(self, settings: dict[str, str]) -> None:
        """Settings that last as long as the transaction; one round trip."""
        calls = (f"set_config({literal(name)}, {literal(value)}, true)" for name, value in settings.items())
        self.rows(f"SELECT {', '.join(f'{call} AS c{i}' for i, call in enumerate(calls))}")

    def execute(self, sql: str) -> None:
        with self._session.translated(), self._connection.cursor() as cursor:
            cursor.execute(sql)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """All rows of a small result."""
        with self._session.translated(), self._connection.cursor() as cursor:
            cursor.execute(sql)
            rows: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
            return rows

    def stream(self, sql: str, *, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Batches of about `batch_bytes`, one row at least, as COPY delivers them; the driver holds one and a half."""
        cursor = self._connection.cursor()
        try:
            with self._session.translated():
                cursor.adbc_statement.set_options(
                    **{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(max(batch_bytes, 1))}
                )
                cursor.execute(sql)
                reader = cursor.fetch_record_batch()
            yield from self._batches(reader)
        finally:
            cursor.close()

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        while True:
            with self._session.translated():
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
            yield batch
            del batch  # not to hold one batch while the driver fills the next

    def close(self) -> None:
        with suppress(DatabaseError, RuntimeError):
            self._connection.close()


def _complete(dsn: str) -> tuple[str, tuple[str, ...]]:
    """The DSN with our connection parameters where it has none of its own, and the secrets in it."""
    if "://" in dsn:
        try:
            parts = urlsplit(dsn)
            own = dict(parse_qsl(parts.query, keep_blank_values=True))
            secrets = (parts.password or "", unquote(parts.password or ""), own.get("password", ""))
        except ValueError:
            raise _bad_dsn() from None
        if parts.scheme not in ("postgres", "postgresql"):
            raise _bad_dsn()
        # Our additions come first: of a parameter named twice libpq takes the last, so the owner's choice wins.
        query = "&".join(part for part in (urlencode(_PARAMETERS), parts.query) if part)
        return urlunsplit(parts._replace(query=query)), tuple(filter(None, secrets))
    pairs = {match[1]: match[2].strip("'") for match in _KEY_VALUE.finditer(dsn)}
    if not pairs:
        raise _bad_dsn()
    ours = " ".join(f"{name}='{value}'" for name, value in _PARAMETERS.items() if name not in pairs)
    return f"{ours} {dsn}", tuple(filter(None, [pairs.get("password", "")]))


def _bad_dsn() -> ConfigError:
    return ConfigError(
        "the dsn is not one of PostgreSQL", remedy="Write it like postgresql://user:password@host:5432/database."
    )


_BY_CLASS: dict[str, tuple[type[ImportPlatformError], str, str]] = {
    "08": (
        SourceUnavailable,
        "the connection to the source was lost",
        "Try again; the sync goes on from its last checkpoint.",
    ),
    "25": (
        SourceUnavailable,
        "the source ended the transaction",
        "Try again; the sync goes on from its last checkpoint.",
    ),
    "28": (SourceRejected, "the source refused the user or its password", "Correct user and password in the dsn."),
    "3D": (SourceRejected, "the source has no such database", "Correct the database name in the dsn."),
    "40": (SourceUnavailable, "the source cancelled the statement in favour of another", "Try again."),
    "42501": (
        SourceRejected,
        "the user may not read this",
        "Grant SELECT on the table and USAGE on its schema to the user.",
    ),
    "42P01": (SourceRejected, "the source has no such table", "Run `import-platform tables` to see what it offers."),
    "42703": (SourceRejected, "the source has no such column", "Run `import-platform tables` to see what it offers."),
    "42": (
        SourceRejected,
        "the source did not accept the statement",
        "Check the types of key and cursor columns at the source.",
    ),
    "53": (SourceUnavailable, "the source is out of resources", "Try again later, or with fewer tables at a time."),
    "55P03": (
        SourceUnavailable,
        "the table stayed locked for a minute",
        "Try again when the migration at the source is over.",
    ),
    "57014": (
        SourceUnavailable,
        "the statement was cancelled or passed its time limit",
        "Try again, or raise statement_timeout for the source's user.",
    ),
    "57": (SourceUnavailable, "the source is shutting down or starting", "Try again in a minute."),
    "58": (SourceUnavailable, "the source failed on its own system", "Tell the source's owner, then try again."),
    "XX": (
        SourceRejected,
        "the source reported an internal error",
        "Tell the source's owner: its data may be damaged.",
    ),
}
_BY_MESSAGE = (  # a failed connection carries no SQLSTATE
    (
        r"password authentication failed|no password supplied|pg_hba\.conf|role \".*\" (does not exist|is not)",
        "28",
    ),
    (r"database \".*\" does not exist", "3D"),
    (r"canceling statement due to", "57014"),  # and neither has one that fails while its rows are streamed
    (r"permission denied", "42501"),
    (r"too many (clients|connections)", "53"),
    (r"the database system is|terminating connection due to administrator", "57"),
)
_PREFIX = re.compile(r"^.*?(?=ERROR: |FATAL: |PANIC: )")
_BAD_DSN = re.compile(
    r"connection info string|connection option|invalid port|invalid (URI|sslmode)|in URI|invalid connection option"
)


def _in_our_words(error: Exception, secrets: tuple[str, ...]) -> ImportPlatformError:
    said = _first_line(str(error))
    for secret in secrets:
        said = said.replace(secret, "***")
    state = getattr(error, "sqlstate", None)
    state = state or next((code for pattern, code in _BY_MESSAGE if re.search(pattern, said)), None)
    if state is None:
        return _without_state(error, said)
    found = _BY_CLASS.get(state) or _BY_CLASS.get(state[:2])
    if found is None:
        # Other classes are about data (22, 23) or raised by the source's own code: their text may quote a row.
        return SourceRejected(
            "the source could not evaluate a row of the table",
            sqlstate=state,
            remedy="Look for the SQLSTATE in the source's log; a view or a cast of it fails.",
        )
    kind, message, remedy = found
    return kind(message, said=said, remedy=remedy)


def _without_state(error: Exception, said: str) -> ImportPlatformError:
    if _BAD_DSN.search(said):
        return _bad_dsn()  # libpq repeats the string that it could not read, and the password may be in it
    if "Failed to connect" in str(error):
        return SourceUnavailable(
            "the source cannot be reached", said=said, remedy="Check host, port and network, then try again."
        )
    if "ERROR:" in str(error):
        return SourceRejected(
            "the source failed while it sent rows", remedy="Look into the source's log for the reason."
        )
    return SourceUnavailable(
        "the connection to the source was lost while it sent rows",
        remedy="Try again; the sync goes on from its last checkpoint.",
    )


def _first_line(text: str) -> str:
    line = text.partition("\n")[0]
    return (
        _PREFIX.sub("", line).strip() if "Failed to connect: " not in line else line.partition("Failed to connect: ")[2]
    )

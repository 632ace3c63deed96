"""Connections to one MySQL or MariaDB: read-only snapshots, rows streamed one by one, and errors in our own words."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.cursors import SSCursor

from import_platform.errors import ConfigError, ImportPlatformError, SourceRejected, SourceUnavailable

_SETTINGS = (
    "SET SESSION sql_mode = ''",  # zero dates may be compared with, and nothing is padded
    "SET SESSION time_zone = '+00:00'",
    # A reader that is busy with a commit must not be taken for a dead one; the default is a minute.
    "SET SESSION net_write_timeout = 86400",
    "SET SESSION wait_timeout = 86400",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
)
_CONNECT_SECONDS = 15
Row = tuple[bytes | None, ...]


class MysqlSession:
    """Opens connections to one DSN on demand. Its `repr` and its errors never hold the DSN's password."""

    def __init__(self, dsn: str) -> None:
        self._options, self.database = _options(dsn)

    def __repr__(self) -> str:
        return "MysqlSession(<dsn hidden>)"

    @contextmanager
    def transaction(self, *, timeout_seconds: float | None = None) -> Iterator[Transaction]:
        """One read-only transaction on a connection of its own, closed at the end; InnoDB shows it one snapshot.

        `timeout_seconds` limits each statement; None leaves the server's limit.
        """
        with translated():
            connection = pymysql.connect(**self._options)
        try:
            transaction = Transaction(connection)
            transaction.begin(timeout_seconds)
            yield transaction
        finally:
            # Not closed politely: that would first fetch what is left of an unbuffered result.
            with suppress(pymysql.Error, OSError):
                connection._force_close()  # noqa: SLF001


class Transaction:
    """Statements of one transaction; made by `MysqlSession.transaction`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def begin(self, timeout_seconds: float | None) -> None:
        for setting in _SETTINGS:
            self._execute(setting)
        self.version = str(self.rows("SELECT VERSION() AS v")[0]["v"])
        if timeout_seconds is not None:
            limit = (
                f"max_statement_time = {max(timeout_seconds, 0.001):.3f}"
                if self.is_mariadb
                else f"max_execution_time = {max(int(timeout_seconds * 1000), 1)}"
            )
            self._execute(f"SET SESSION {limit}")
        self._execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    @property
    def is_mariadb(self) -> bool:
        return "mariadb" in self.version.lower()

    def rows(self, sql: str) -> list[dict[str, str | None]]:
        """All rows of a small result, every value as text."""
        with translated(), self._connection.cursor() as cursor:
            cursor.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, map(_text, row), strict=True)) for row in cursor.fetchall()]

    def stream(self, sql: str) -> Iterator[Row]:
        """Rows as they come, every value as the bytes that the server prints; the driver holds one row."""
        cursor = self._connection.cursor(SSCursor)
        with translated():
            cursor.execute(sql)
        fetch = cursor.fetchone
        try:
            while (row := fetch()) is not None:
                yield row
        except (pymysql.Error, OSError) as error:
            _raise(error)

    def _execute(self, sql: str) -> None:
        with translated(), self._connection.cursor() as cursor:
            cursor.execute(sql)


@contextmanager
def translated() -> Iterator[None]:
    """Turns a driver's error into one of ours."""
    try:
        yield
    except (pymysql.Error, OSError) as error:
        _raise(error)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", errors="backslashreplace")


def _options(dsn: str) -> tuple[dict[str, Any], str]:
    """What the driver is opened with, and the database."""
    try:
        parts = urlsplit(dsn)
        extra = dict(parse_qsl(parts.query, keep_blank_values=True))
        port = parts.port or 3306
    except ValueError:
        raise _bad_dsn() from None
    database = unquote(parts.path.removeprefix("/"))
    unknown = set(extra) - {"ssl_mode", "ssl_ca", "unix_socket"}
    if parts.scheme not in ("mysql", "mariadb") or not database or unknown:
        raise _bad_dsn()
    options: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": database,
        "charset": "utf8mb4",
        "use_unicode": False,  # with no conversions every value comes as the bytes of the wire
        "conv": {},
        "autocommit": True,
        "connect_timeout": _CONNECT_SECONDS,
        "program_name": "import_platform",
        **_encryption(extra),
    }
    if extra.get("unix_socket"):
        options["unix_socket"] = extra["unix_socket"]
    return options, database


def _encryption(extra: dict[str, str]) -> dict[str, Any]:
    mode = extra.get("ssl_mode", "verify_identity" if extra.get("ssl_ca") else "preferred").lower()
    if mode == "disabled":
        return {"ssl_disabled": True}
    if mode == "preferred":
        return {}
    if mode not in ("required", "verify_ca", "verify_identity"):
        raise _bad_dsn()
    try:
        context = ssl.create_default_context(cafile=extra.get("ssl_ca"))
    except OSError:
        raise ConfigError("the file of ssl_ca cannot be read", remedy="Correct ssl_ca in the dsn.") from None
    context.check_hostname = mode == "verify_identity"
    context.verify_mode = ssl.CERT_NONE if mode == "required" else ssl.CERT_REQUIRED
    return {"ssl": context}


def _bad_dsn() -> ConfigError:
    return ConfigError(
        "the dsn is not one of MySQL or MariaDB",
        remedy="Write it like mysql://user:password@host:3306/database, with ?ssl_mode=, ssl_ca= or unix_socket= "
        "behind it where needed.",
    )


_LOST = "Try again; the sync goes on from its last checkpoint."
_BY_CODE: dict[int, tuple[type[ImportPlatformError], str, str]] = {
    1040: (SourceUnavailable, "the source has too many connections", "Try again later."),
    1044: (SourceRejected, "the user may not use this database", "Grant SELECT on the database to the user."),
    1045: (SourceRejected, "the source refused the user or its password", "Correct user and password in the dsn."),
    1049: (SourceRejected, "the source has no such database", "Correct the database name in the dsn."),
    1053: (SourceUnavailable, "the source is shutting down", "Try again in a minute."),
    1054: (SourceRejected, "the source has no such column", "Run `import-platform tables` to see what it offers."),
    1142: (SourceRejected, "the user may not read this", "Grant SELECT on the table to the user."),
    1143: (SourceRejected, "the user may not read this", "Grant SELECT on the table to the user."),
    1146: (SourceRejected, "the source has no such table", "Run `import-platform tables` to see what it offers."),
    1205: (SourceUnavailable, "the table stayed locked", "Try again when the change at the source is over."),
    1213: (SourceUnavailable, "the source cancelled the statement in favour of another", "Try again."),
    1317: (SourceUnavailable, "the statement was cancelled", "Try again."),
    1698: (SourceRejected, "the source refused the user or its password", "Correct user and password in the dsn."),
    1412: (SourceUnavailable, "the table was changed while it was read", _LOST),
    1969: (SourceUnavailable, "the statement passed its time limit", "Try again, or give the source an index."),
    3024: (SourceUnavailable, "the statement passed its time limit", "Try again, or give the source an index."),
    2003: (SourceUnavailable, "the source cannot be reached", "Check host, port and network, then try again."),
    2005: (SourceUnavailable, "the source cannot be reached", "Check host, port and network, then try again."),
    2006: (SourceUnavailable, "the connection to the source was lost", _LOST),
    2013: (SourceUnavailable, "the connection to the source was lost", _LOST),
    2014: (SourceUnavailable, "the connection to the source was lost", _LOST),
    2055: (SourceUnavailable, "the connection to the source was lost", _LOST),
}
_QUIET = frozenset((1366, 1292, 1300, 1064))
"""Their text may quote a value."""


def _raise(error: Exception) -> NoReturn:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if isinstance(error, OSError) or code == 0:
        raise SourceUnavailable(
            "the connection to the source was lost", found=type(error).__name__, remedy=_LOST
        ) from None
    kind, message, remedy = _BY_CODE.get(
        code, (SourceRejected, "the source did not accept the statement", "Look up the code in the server's manual.")
    )
    if code == 3024 or code in _QUIET:
        raise kind(message, code=code, remedy=remedy) from None
    raise kind(
        message, code=code, said=str(error.args[1])[:300] if len(error.args) > 1 else "", remedy=remedy
    ) from None

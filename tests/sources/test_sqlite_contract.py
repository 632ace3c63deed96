"""The SQLite connector against the contract of all connectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from import_platform.sources.protocol import Source
from import_platform.sources.registry import open_source
from tests.sources.contract import Columns, SourceContract

TYPES = {"int": "BIGINT", "text": "TEXT", "real": "REAL", "bytes": "BLOB", "date": "DATE", "time": "DATETIME"}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class SqliteWorld:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = {"kind": "sqlite", "path": str(path)}
        self.execute("CREATE TABLE made (x)", "DROP TABLE made")

    def execute(self, *statements: str) -> None:
        with sqlite3.connect(self.path) as connection:
            for statement in statements:
                connection.execute(statement)

    def make(
        self, table: str, columns: Columns, rows: Iterable[Sequence[Any]] = (), *, key: Sequence[str] = ()
    ) -> None:
        parts = [f"{quoted(name)} {TYPES[kind]}{' NOT NULL' if name in key else ''}" for name, kind in columns]
        parts += [f"PRIMARY KEY ({', '.join(map(quoted, key))})"] if key else []
        with sqlite3.connect(self.path) as connection:
            connection.execute(f"CREATE TABLE {quoted(table)} ({', '.join(parts)})")
            marks = ", ".join("?" for _ in columns)
            texts = ([str(v) if isinstance(v, (date, datetime)) else v for v in row] for row in rows)
            connection.executemany(f"INSERT INTO {quoted(table)} VALUES ({marks})", texts)

    def open(self) -> Source:
        return open_source("s", self.connection)


@pytest.fixture
def world(tmp_path: Path) -> SqliteWorld:
    return SqliteWorld(tmp_path / "a file.db")


class TestSqlite(SourceContract):
    """All of the contract."""

    rows_held = 16

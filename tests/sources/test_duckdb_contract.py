"""The DuckDB connector against the contract of all connectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from import_platform.sources.protocol import Source
from import_platform.sources.registry import open_source
from tests.sources.contract import Columns, SourceContract

TYPES = {"int": "BIGINT", "text": "VARCHAR", "real": "DOUBLE", "bytes": "BLOB", "date": "DATE", "time": "TIMESTAMPTZ"}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class DuckdbWorld:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = {"kind": "duckdb", "path": str(path)}
        self.execute("SELECT 1")

    def execute(self, *statements: str) -> None:
        with duckdb.connect(str(self.path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def make(
        self, table: str, columns: Columns, rows: Iterable[Sequence[Any]] = (), *, key: Sequence[str] = ()
    ) -> None:
        parts = [f"{quoted(name)} {TYPES[kind]}" for name, kind in columns]
        parts += [f"PRIMARY KEY ({', '.join(map(quoted, key))})"] if key else []
        with duckdb.connect(str(self.path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"CREATE TABLE {quoted(table)} ({', '.join(parts)})")
            marks = ", ".join("?" for _ in columns)
            for row in rows:
                connection.execute(f"INSERT INTO {quoted(table)} VALUES ({marks})", list(row))

    def open(self) -> Source:
        return open_source("s", self.connection)


@pytest.fixture
def world(tmp_path: Path) -> DuckdbWorld:
    return DuckdbWorld(tmp_path / "a file.duckdb")


class TestDuckdb(SourceContract):
    """All of the contract."""

    rows_held = 16

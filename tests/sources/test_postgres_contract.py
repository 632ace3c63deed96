"""The PostgreSQL connector against the contract of all connectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from psycopg import sql

from import_platform.sources.protocol import Source
from import_platform.sources.registry import open_source
from tests.conftest import Database
from tests.sources.contract import Columns, SourceContract

TYPES = {"int": "int8", "text": "text", "real": "float8", "bytes": "bytea", "date": "date", "time": "timestamptz"}


class PostgresWorld:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.connection = {"kind": "postgres", "dsn": database.dsn}

    def make(
        self, table: str, columns: Columns, rows: Iterable[Sequence[Any]] = (), *, key: Sequence[str] = ()
    ) -> None:
        parts = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(TYPES[kind])) for name, kind in columns]
        if key:
            parts.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, key))))
        name = sql.Identifier("public", table)
        made = sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(", ").join(parts)).as_string(None)
        self.database.execute(made)
        marks = sql.SQL(", ").join(sql.SQL("%s") for _ in columns)
        named = name.as_string(None).replace("%", "%%")
        self.database.insert(f"INSERT INTO {named} VALUES ({marks.as_string(None)})", list(rows))

    def open(self) -> Source:
        return open_source("s", self.connection)


@pytest.fixture
def world(postgres: Database) -> PostgresWorld:
    return PostgresWorld(postgres)


class TestPostgres(SourceContract):
    """All of the contract."""

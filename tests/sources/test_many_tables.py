"""A source of thousands of tables is planned in seconds: catalogs are read in bulk, not table by table.

Statements are counted and not seconds, which a busy machine has fewer of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pymysql
import pytest

from import_platform.core.choose import resolve
from import_platform.core.table import DeclaredTable, SyncMode
from import_platform.sources.mysql.session import Transaction as MysqlTransaction
from import_platform.sources.postgres.session import Transaction as PostgresTransaction
from import_platform.sources.registry import open_source
from tests.conftest import Database
from tests.mariadb_server import MariaDatabase

COLUMNS = "id bigint PRIMARY KEY, created_at {time} NULL, updated_at {time} NOT NULL, word varchar(20), day date, n int"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the sources ask their databases."""
    asked: list[str] = []

    def noted(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(self: Any, sql: str, **options: Any) -> Any:
            asked.append(sql)
            return call(self, sql, **options)

        return called

    for kind, execute in ((PostgresTransaction, "execute"), (MysqlTransaction, "_execute")):
        for name in ("rows", "stream", execute):
            monkeypatch.setattr(kind, name, noted(getattr(kind, name)))
    return asked


def plan(connection: dict[str, Any]) -> list[Any]:
    return [resolve("s", DeclaredTable(info.name_in_lake), info) for info in open_source("s", connection).discover()]


@pytest.mark.parametrize("analyzed", [False, True], ids=["never analyzed", "analyzed"])
def test_two_thousand_tables_of_postgresql(postgres: Database, analyzed: bool, statements: list[str]) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        for start in range(0, 2000, 50):  # a lock per table and index is held until a transaction's end
            with connection.transaction():
                for number in range(start, start + 50):
                    connection.execute(f"CREATE TABLE t{number} ({COLUMNS.format(time='timestamptz')})")
                    connection.execute(f"INSERT INTO t{number} VALUES (7, now(), now(), 'x', '2024-01-01', 1)")
        if analyzed:
            connection.execute("ANALYZE")
    specs = plan({"kind": "postgres", "dsn": postgres.dsn})
    assert len(specs) == 2000
    assert {(spec.sync, spec.cursor, spec.primary_key) for spec in specs} == {
        (SyncMode.INCREMENTAL, "updated_at", ("id",))
    }
    assert {spec.info.row_estimate for spec in specs} == {1}
    assert 0 < len(statements) < len(specs) / 5, "one per table would be five times as many"


def test_five_hundred_tables_of_mariadb(mariadb: MariaDatabase, statements: list[str]) -> None:
    connection: pymysql.Connection
    with mariadb.connect() as connection, connection.cursor() as cursor:
        for number in range(500):
            cursor.execute(f"CREATE TABLE t{number} ({COLUMNS.format(time='datetime')})")
            cursor.execute(f"INSERT INTO t{number} VALUES (7, now(), now(), 'x', '2024-01-01', 1)")
    specs = plan({"kind": "mysql", "dsn": mariadb.dsn})
    assert len(specs) == 500
    assert {(spec.cursor, spec.primary_key, spec.info.row_estimate) for spec in specs} == {("updated_at", ("id",), 1)}
    assert 0 < len(statements) < len(specs) / 5, "one per table would be five times as many"

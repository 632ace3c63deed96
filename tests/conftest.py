"""What every test may ask for: a real PostgreSQL, one server per process and one database per test."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster._core.storage.defs_state.base import _current_storage

from import_platform.demo.postgres_server import PostgresServer


@dataclass(frozen=True)
class Database:
    """A database of its own on the test server; `dsn` belongs to its superuser."""

    dsn: str

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def insert(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def as_user(self, user: str, password: str) -> str:
        """The same database's DSN with somebody else's credentials."""
        return f"postgresql://{user}:{password}@{self.dsn.rpartition('@')[2]}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The DSN of a PostgreSQL 18 that lives as long as the test process, however that ends."""
    folder = Path(tempfile.mkdtemp(prefix="import_platform-tests-"))
    folder.chmod(0o755)  # under root the server runs as another user, who has to reach its data
    server = PostgresServer(settings={"max_prepared_transactions": "4"})
    try:
        with server:
            yield server.start(folder / "data")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[Database]:
    """A fresh, empty database."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    try:
        yield Database(f"{postgres_server.rpartition('/')[0]}/{name}")
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
def _nothing_left_for_other_tests():
    """Dagster remembers the instance entered last in a context variable, and instances of tests end in any order; other
    libraries change the working directory, which says where a project is."""
    with chdir(Path.cwd()):
        yield
    _current_storage.set(None)

"""The MariaDB of the connectors' tests: one server per process, one database per test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pymysql
import pytest

from tests.mariadb_server import MariaDatabase, running_mariadb
from tests.own_rates import own_rates

__all__ = ["own_rates"]


@pytest.fixture(scope="session")
def mariadb_port() -> Iterator[int]:
    with running_mariadb() as port:
        yield port


@pytest.fixture
def mariadb(mariadb_port: int) -> Iterator[MariaDatabase]:
    """A fresh, empty database."""
    name = f"test_{uuid.uuid4().hex}"
    options = {"host": "127.0.0.1", "port": mariadb_port, "user": "owner", "password": "secret", "autocommit": True}
    with pymysql.connect(**options) as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield MariaDatabase(f"mysql://owner:secret@127.0.0.1:{mariadb_port}/{name}", mariadb_port, name)
    finally:
        with pymysql.connect(**options) as admin, admin.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")

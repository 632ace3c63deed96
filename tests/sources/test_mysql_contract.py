"""The MySQL connector, on MariaDB, against the contract of all connectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from import_platform.sources.protocol import Source
from import_platform.sources.registry import open_source
from tests.mariadb_server import MariaDatabase
from tests.sources.contract import HOSTILE, Columns, SourceContract

TYPES = {
    "int": "BIGINT",
    "text": "LONGTEXT",
    "real": "DOUBLE",
    "bytes": "LONGBLOB",
    "date": "DATE",
    "time": "DATETIME(6)",
}
KEY_TYPES = {**TYPES, "text": "VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin", "bytes": "VARBINARY(200)"}


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


class MariaWorld:
    def __init__(self, database: MariaDatabase) -> None:
        self.database = database
        self.connection = {"kind": "mysql", "dsn": database.dsn}

    def make(
        self, table: str, columns: Columns, rows: Iterable[Sequence[Any]] = (), *, key: Sequence[str] = ()
    ) -> None:
        parts = [f"{quoted(name)} {(KEY_TYPES if name in key else TYPES)[kind]}" for name, kind in columns]
        parts += [f"PRIMARY KEY ({', '.join(map(quoted, key))})"] if key else []
        self.database.execute(f"CREATE TABLE {quoted(table)} ({', '.join(parts)})")
        marks = ", ".join("%s" for _ in columns)
        named = quoted(table).replace("%", "%%")
        self.database.insert(f"INSERT INTO {named} VALUES ({marks})", [[_plain(v) for v in row] for row in rows])

    def open(self) -> Source:
        return open_source("s", self.connection)


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


@pytest.fixture
def world(mariadb: MariaDatabase) -> MariaWorld:
    return MariaWorld(mariadb)


NO_NAMES = {"trailing ", "ünïcödé 漢字 🚀"}
"""The server refuses names that end in a blank or leave the Basic Multilingual Plane."""


class TestMysql(SourceContract):
    """All of the contract."""

    many_columns = 500  # a row of InnoDB has at most 8,126 bytes besides its long values

    @pytest.mark.parametrize("name", [*(name for name in HOSTILE if name not in NO_NAMES), "ünïcödé 漢字"])
    def test_a_hostile_name_is_only_a_name(self, world: MariaWorld, name: str) -> None:
        super().test_a_hostile_name_is_only_a_name(world, name)

"""Connections as people write them, checked without opening anything."""

from __future__ import annotations

from typing import Any

import pytest

from import_platform.errors import ConfigError
from import_platform.sources.duckdb import DuckdbSource
from import_platform.sources.mysql import MysqlSource
from import_platform.sources.postgres import PostgresSource
from import_platform.sources.registry import KINDS, check_connection_keys, open_source
from import_platform.sources.sqlite import SqliteSource


@pytest.mark.parametrize(
    ("connection", "kind"),
    [
        ({"kind": "postgres", "dsn": "postgresql://u:secret@h/d"}, PostgresSource),
        ({"kind": "postgres", "dsn": "host=h", "schemas": ["a", "b"]}, PostgresSource),
        ({"kind": "duckdb", "path": "no/such/file.duckdb"}, DuckdbSource),
        ({"kind": "mysql", "dsn": "mysql://u:secret@h/d"}, MysqlSource),
        ({"kind": "sqlite", "path": "no/such/file.db"}, SqliteSource),
    ],
)
def test_a_source_is_opened_without_a_connection(connection: dict[str, Any], kind: type) -> None:
    source = open_source("shop", connection)
    assert isinstance(source, kind)
    assert source.kind == connection["kind"]
    assert "secret" not in repr(source)


@pytest.mark.parametrize(
    ("connection", "key", "words"),
    [
        ({}, "kind", "postgres"),
        ({"kind": "postgresql"}, "kind", "Did you mean postgres?"),
        ({"kind": ["oracle"]}, "kind", "postgres"),
        ({"kind": "postgres"}, "dsn", "lacks a key"),
        ({"kind": "postgres", "dsn": ""}, "dsn", "lacks a key"),
        ({"kind": "postgres", "dsn": "hidden", "schema": ["x"]}, "schema", "Did you mean schemas?"),
        ({"kind": "postgres", "dsn": "hidden", "schemas": "public"}, "schemas", "list of text"),
        ({"kind": "postgres", "dsn": "hidden", "schemas": []}, "schemas", "list of text"),
        ({"kind": "postgres", "dsn": "hidden", "schemas": [1]}, "schemas", "list of text"),
        ({"kind": "postgres", "dsn": 5}, "dsn", "wrong type"),
        ({"kind": "sqlite", "path": "hidden", "dsn": "hidden"}, "dsn", "unknown key"),
        ({"kind": "sqlite", "paht": "hidden"}, "paht", "Did you mean path?"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed_and_never_with_a_value(
    connection: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_connection_keys(connection)
    assert caught.value.facts["key"] == key
    assert caught.value.facts["allowed"]
    assert words in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_opening_names_the_source_of_the_mistake() -> None:
    with pytest.raises(ConfigError) as caught:
        open_source("shop", {"kind": "sqlite"})
    assert caught.value.facts["source"] == "shop"


def test_every_kind_has_an_example_with_its_required_keys() -> None:
    for name, kind in KINDS.items():
        assert f"kind: {name}" in kind.example
        assert all(f"{key}:" in kind.example for key in kind.required)

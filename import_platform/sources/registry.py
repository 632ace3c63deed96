"""The kinds of source there are. A new kind is one module and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from import_platform.core.wording import nearest
from import_platform.errors import ConfigError
from import_platform.sources.duckdb import DuckdbSource
from import_platform.sources.files import declaration as files_declaration
from import_platform.sources.mysql import MysqlSource
from import_platform.sources.postgres import PostgresSource
from import_platform.sources.protocol import Source
from import_platform.sources.rest import declaration as rest_declaration
from import_platform.sources.rest import shipped
from import_platform.sources.sqlite import SqliteSource


@dataclass(frozen=True)
class Kind:
    """A connector and the keys of its `connection:` but for `kind`, each with the Python type of its value.

    `check` raises ConfigError for what stands below those keys, with templates of the environment still in it; `depths`
    tells how many parents a table hangs on.
    """

    connect: Callable[[Mapping[str, Any]], Source]
    required: Mapping[str, type]
    optional: Mapping[str, type]
    example: str
    check: Callable[[Mapping[str, Any]], Any] | None = None
    depths: Callable[[Mapping[str, Any]], Mapping[str, int]] | None = None

    @property
    def keys(self) -> dict[str, type]:
        return {**self.required, **self.optional}


def _late(module: str, name: str) -> Callable[[Mapping[str, Any]], Source]:
    """A connector whose libraries take a second to import, so that only who opens such a source waits for them."""

    def connect(connection: Mapping[str, Any]) -> Source:
        source: Source = getattr(import_module(f"import_platform.sources.{module}"), name)(connection)
        return source

    return connect


KINDS: Mapping[str, Kind] = {
    "dlt": Kind(
        _late("dlt_sources.connector", "DltSource"),
        {"source": str},
        {"arguments": dict, "tables": list},
        example='{kind: dlt, source: "my_package.shop:shop_source", arguments: {}}',
    ),
    "stripe": Kind(
        _late("rest.connector", "shipped_source"),
        {"api_key": str},
        {"base_url": str, "tables": list},
        example='{kind: stripe, api_key: "{{ env.STRIPE_API_KEY }}"}',
        check=shipped.check,
        depths=shipped.order,
    ),
    "github": Kind(
        _late("rest.connector", "shipped_source"),
        {"token": str, "owner": str, "repository": str},
        {"base_url": str, "tables": list},
        example='{kind: github, token: "{{ env.GITHUB_TOKEN }}", owner: octocat, repository: hello-world}',
        check=shipped.check,
        depths=shipped.order,
    ),
    "rest": Kind(
        _late("rest.connector", "RestSource"),
        {"client": dict, "resources": Sequence},
        {"resource_defaults": dict},
        example="{kind: rest, client: {base_url: https://api.example.com}, resources: [{name: customers, ...}]}",
        check=rest_declaration.parse,
        depths=rest_declaration.depths,
    ),
    "files": Kind(
        _late("files.connector", "FilesSource"),
        {"files": Sequence},
        {},
        example="{kind: files, files: [{name: orders, pattern: data/orders-*.csv}]}",
        check=files_declaration.parse,
    ),
    "postgres": Kind(
        PostgresSource,
        {"dsn": str},
        {"schemas": list, "readers": int},
        example='{kind: postgres, dsn: "{{ env.SHOP_DSN }}", schemas: [public]}',
    ),
    "mysql": Kind(
        MysqlSource,
        {"dsn": str},
        {"schemas": list},
        example='{kind: mysql, dsn: "{{ env.SHOP_DSN }}"}',
    ),
    "duckdb": Kind(DuckdbSource, {"path": str}, {"schemas": list}, example="{kind: duckdb, path: data/shop.duckdb}"),
    "sqlite": Kind(SqliteSource, {"path": str}, {}, example="{kind: sqlite, path: data/shop.db}"),
}


def table_depths(connection: Mapping[str, Any]) -> Mapping[str, int]:
    """How many parents each table that has one hangs on; empty for a connection that says nothing of it."""
    kind = KINDS.get(str(connection.get("kind")))
    try:
        return kind.depths(connection) if kind is not None and kind.depths is not None else {}
    except ConfigError:
        return {}


def open_source(name: str, connection: Mapping[str, Any]) -> Source:
    """The connector of a source whose connection values are resolved. Opens no connection yet.

    Raises:
        ConfigError: as `check_connection_keys`, with the source's name.
    """
    try:
        kind = check_connection_keys(connection)
    except ConfigError as error:
        raise ConfigError(error.message, remedy=error.remedy, **{"source": name, **error.facts}) from None
    return kind.connect(connection)


def check_connection_keys(connection: Mapping[str, Any]) -> Kind:
    """The kind of a connection whose keys are all known, present and of the right type. Values are never shown.

    Raises:
        ConfigError: facts are `key`, `found` and `allowed` as far as they apply; the remedy names the closest spelling.
    """
    found = connection.get("kind")
    if found is None:
        raise ConfigError("the connection has no kind", key="kind", allowed=sorted(KINDS), remedy=_example("postgres"))
    if not isinstance(found, str) or found not in KINDS:
        raise ConfigError(
            "no connector of this kind",
            key="kind",
            found=str(found),
            allowed=sorted(KINDS),
            remedy=_closest(str(found), KINDS),
        )
    kind = KINDS[found]
    for key in connection:
        if key != "kind" and key not in kind.keys:
            raise ConfigError(
                "the connection has an unknown key",
                key=str(key),
                allowed=["kind", *kind.keys],
                remedy=_closest(str(key), kind.keys),
            )
    for key in kind.required:
        if connection.get(key) in (None, ""):
            raise ConfigError(
                "the connection lacks a key", key=key, allowed=["kind", *kind.keys], remedy=_example(found)
            )
    for key, expected in kind.keys.items():
        if connection.get(key) is not None and not _is_a(connection[key], expected):
            raise ConfigError(
                "a key of the connection has the wrong type",
                key=key,
                found=type(connection[key]).__name__,
                allowed=_ALLOWED.get(expected, "text"),
                remedy=_example(found),
            )
    if kind.check is not None:
        kind.check(connection)
    return kind


_ALLOWED: Mapping[Any, str] = {list: "list of text", int: "whole number", dict: "mapping", Sequence: "list"}


def _is_a(value: object, expected: type) -> bool:
    if expected is list:
        return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(item, str) for item in value)
    if expected is Sequence:
        return isinstance(value, (list, tuple))
    return isinstance(value, expected)


def _closest(found: str, known: Mapping[str, Any]) -> str:
    return nearest(found, list(known), none="Allowed", most=1, shown=len(known))


def _example(kind: str) -> str:
    return f"Write connection: {KINDS[kind].example}."

"""Sources that come with the platform: a `source.yaml` each, filled in with what a connection says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from import_platform.errors import ConfigError
from import_platform.sources.rest.declaration import RestApi, depths, parse

FOLDER = Path(__file__).parents[1]


def expand(connection: Mapping[str, Any]) -> dict[str, Any]:
    """The connection of kind `rest` that a shipped source stands for; `tables` leaves only some of its lists.

    Raises:
        ConfigError: `tables` names a list that the source does not have.
    """
    said: dict[str, Any] = _filled(_source(str(connection["kind"])), connection)
    if connection.get("base_url"):
        said["client"]["base_url"] = connection["base_url"]
    wanted = connection.get("tables")
    names = [resource["name"] for resource in said["resources"]]
    unknown = sorted(set(wanted or ()) - set(names))
    if unknown:
        raise ConfigError(
            "the source has no such table", key="tables", found=unknown[0], remedy=f"It has {', '.join(names)}."
        )
    return {**said, "kind": "rest"} if wanted is None else {**said, "kind": "rest", "resources": _kept(said, wanted)}


def check(connection: Mapping[str, Any]) -> RestApi:
    return parse(expand(connection))


def order(connection: Mapping[str, Any]) -> dict[str, int]:
    return depths(expand(connection))


def _kept(said: Mapping[str, Any], wanted: Any) -> list[Any]:
    return [resource for resource in said["resources"] if resource["name"] in wanted]


@lru_cache(maxsize=8)
def _source(kind: str) -> Any:
    return yaml.safe_load((FOLDER / kind / "source.yaml").read_text("utf-8"))


def _filled(value: Any, connection: Mapping[str, Any]) -> Any:
    """A copy with every `${name}` replaced by what the connection says of it."""
    if isinstance(value, dict):
        return {key: _filled(inner, connection) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, connection) for inner in value]
    if isinstance(value, str):
        for name, said in connection.items():
            value = value.replace(f"${{{name}}}", said) if isinstance(said, str) else value
    return value

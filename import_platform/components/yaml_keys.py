"""Keys that one mapping of a YAML file has twice: of those, readers of YAML take the last and say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from import_platform.components.problems import Location

_MERGE = "tag:yaml.org,2002:merge"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where the wheel has it: ten times as fast


@dataclass(frozen=True)
class RepeatedKey:
    """Lines count from 1."""

    location: Location
    line: int
    first_line: int


def repeated_keys(text: str) -> list[list[RepeatedKey]]:
    """Those of each document, in order. Raises yaml.YAMLError."""
    return [list(_repeated(node, (), set())) for node in yaml.compose_all(text, Loader=_LOADER)]


def _repeated(node: Any, location: tuple[str | int, ...], seen: set[int]) -> Iterator[RepeatedKey]:
    if id(node) in seen:  # an alias, which may even lead to itself
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated(item, (*location, index), seen)
    elif isinstance(node, yaml.MappingNode):
        firsts: dict[tuple[str, str], Any] = {}
        for key, value in node.value:
            inner = (*location, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                first = firsts.setdefault((key.tag, key.value), key)
                if first is not key:
                    yield RepeatedKey(inner, key.start_mark.line + 1, first.start_mark.line + 1)
            yield from _repeated(value, inner, seen)

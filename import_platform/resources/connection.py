"""How a source is reached, as its owner wrote it: names of variables now, their values only when a run needs them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from import_platform.resources.variables import required_variable
from import_platform.sources.registry import table_depths

_VARIABLE = re.compile(
    r"""\{\{\s*env(?:\.([A-Za-z_][A-Za-z0-9_]*)|\(\s*["']([A-Za-z_][A-Za-z0-9_]*)["']\s*\))\s*\}\}"""
)


@dataclass(frozen=True)
class Connection:
    """The `connection:` mapping of a defs.yaml with its `{{ env.NAME }}` templates unresolved.

    Its repr, and so every log, error and metadata entry made from it, shows the kind and the names of variables;
    whatever was written out in the file stays hidden.
    """

    template: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        return str(self.template.get("kind", ""))

    @cached_property
    def depths(self) -> Mapping[str, int]:
        """How many parents a table hangs on, for those that do: they are read after them."""
        return table_depths(self.template)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the environment variables it needs, in order of appearance."""
        return tuple(
            dict.fromkeys(match[1] or match[2] for text in _texts(self.template) for match in _VARIABLE.finditer(text))
        )

    def __repr__(self) -> str:
        return f"Connection(kind={self.kind!r}, variables={list(self.variables)!r})"

    def resolve(self, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The mapping with every variable replaced by its value of now.

        Raises:
            ConfigError: a variable is not set (the sentence names it).
        """
        values = {name: required_variable(name, environ) for name in self.variables}
        return {key: _resolve(value, values) for key, value in self.template.items()}


def variable_of(text: str) -> str | None:
    """NAME of a text that is `{{ env.NAME }}` and nothing else."""
    match = _VARIABLE.fullmatch(text.strip())
    return (match[1] or match[2]) if match else None


def foreign_templates(template: Any) -> list[str]:
    """Key paths whose text holds a `{{ ... }}` that is not `{{ env.NAME }}`, for the message that refuses them."""
    return [path for path, text in _walk(template, "") if "{{" in _VARIABLE.sub("", text)]


def _resolve(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: values[match[1] or match[2]], value)
    if isinstance(value, Mapping):
        return {key: _resolve(inner, values) for key, inner in value.items()}
    return [_resolve(inner, values) for inner in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[str]:
    return (text for _, text in _walk(value, ""))


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{path}[{index}]")

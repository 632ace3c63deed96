"""JSON paths, compiled once: parsing one costs a thousand times what using it does."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from jsonpath_ng import JSONPath
from jsonpath_ng.ext.parser import parse

from import_platform.errors import ConfigError


@lru_cache(maxsize=256)
def compiled(path: str) -> JSONPath:
    """Raises ConfigError: it is no JSON path."""
    try:
        return parse(path)
    except Exception as error:  # noqa: BLE001  the parser raises plain Exceptions
        raise ConfigError(
            "this is no JSON path",
            path=path,
            said=type(error).__name__,
            remedy="Write it like data.items or $.data[*].",
        ) from None


def values_at(path: str, body: Any) -> list[Any]:
    """The values that a path leads to, none when it leads nowhere."""
    return [match.value for match in compiled(path).find(body)]

"""A mistake in a defs.yaml as one sentence: file and line, key path, what was found, what is allowed."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from import_platform.core.wording import close_names

_SHOWN = re.compile(r"[\w .,*/+-]{1,40}")
"""What may be quoted from a file: short plain words. A DSN, a URL or a token with other characters never is."""


@dataclass(frozen=True)
class Problem:
    """One mistake. `line` is 0 where none is known; `key_path` is empty for the file as a whole."""

    path: Path
    line: int
    key_path: str
    sentence: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.key_path} {self.sentence}" if self.key_path else f"{place}: {self.sentence}"


Location = Sequence[str | int]


def sentences(error: ValidationError, model: type[BaseModel], found: Any) -> list[tuple[Location, str]]:
    """(key path, sentence) of every mistake that pydantic saw in `found`, which was checked against `model`."""
    return [
        _sentence(detail["loc"], detail, model, found)
        for detail in error.errors(include_url=False, include_context=True)
    ]


def _sentence(loc: Location, detail: Any, model: type[BaseModel], found: Any) -> tuple[Location, str]:
    kind = detail["type"]
    if kind == "missing":
        return loc, "is missing"
    if kind == "extra_forbidden":
        allowed = sorted(_fields(model, loc[:-1]))
        return loc, f"is not a key here{closest(str(loc[-1]), allowed)}; allowed: {', '.join(allowed)}"
    if kind == "literal_error":
        allowed = list(_choices(model, loc))
        value = _value(found, loc)
        return loc, f"is {shown(value)}; allowed: {', '.join(allowed)}{closest(str(value), allowed)}"
    if kind in {"model_type", "dict_type"}:
        return loc, f"must be a mapping; found {shown(_value(found, loc))}"
    if kind == "value_error":
        return loc, str(detail["ctx"]["error"]) + _found(found, loc)
    return loc, f"{detail['msg'].replace('Input should', 'should')}{_found(found, loc)}"


def shown(value: Any) -> str:
    """The value if it is a short plain word or a number, else only what kind of thing it is."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, int | float) or (isinstance(value, str) and _SHOWN.fullmatch(value)):
        return f"'{value}'"
    kind = type(value).__name__
    return {"str": "a text", "list": "a list", "dict": "a mapping"}.get(kind, f"a {kind}")


def closest(word: str, allowed: Iterable[str]) -> str:
    """` (did you mean x?)` when something allowed is close to the word, else nothing."""
    matches = close_names(word, allowed, most=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def dotted(loc: Location) -> str:
    """`attributes.tables[0].sync`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.lstrip(".")


def _found(found: Any, loc: Location) -> str:
    value = _value(found, loc)
    # Whatever stands under `connection` may be a secret; mappings and lists say nothing new.
    return "" if "connection" in loc or isinstance(value, dict | list) else f"; found {shown(value)}"


def _value(found: Any, loc: Location) -> Any:
    """What stands at `loc`; None where the way there ends early."""
    for part in loc:
        try:
            found = found[part]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def _fields(model: type[BaseModel], loc: Location) -> Mapping[str, Any]:
    """The fields of the model that stands at `loc` under `model`."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            inner = next((arg for arg in _types(model.model_fields[part].annotation) if _is_model(arg)), None)
            model = inner or model
    return model.model_fields


def _choices(model: type[BaseModel], loc: Location) -> Iterable[str]:
    fields, name = _fields(model, loc[:-1]), loc[-1]
    outer = _fields(model, loc[:-2]).get(str(loc[-2])) if len(loc) > 1 else None
    if name not in fields or (outer is not None and not any(_is_model(part) for part in _types(outer.annotation))):
        annotation = outer.annotation if outer is not None else None  # an entry of a mapping
    else:
        annotation = fields[str(name)].annotation
    return [
        str(choice)
        for part in _types(annotation)
        if typing.get_origin(part) is Literal
        for choice in typing.get_args(part)
    ]


def _types(annotation: Any) -> Iterable[Any]:
    """The annotation and everything it is made of."""
    yield annotation
    if typing.get_origin(annotation) is not Literal:
        for argument in typing.get_args(annotation):
            yield from _types(argument)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)

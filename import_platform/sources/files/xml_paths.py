"""Paths from an element to values below it: `@id`, `c:name`, `c:court/@code`, `c:party[]`, `.`, `/@id` of the record.

A path is a row of element names, then nothing (the element's text, or JSON where it holds elements) or an attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from lxml import etree

from import_platform.errors import ConfigError
from import_platform.sources.files.declaration import Column, Files

_STEP = re.compile(r"(?:([\w.-]+):)?([\w.-]+)")


class ManyFound(Exception):
    """A path that should lead to one value leads to several."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count


@dataclass(frozen=True)
class ValuePath:
    """Where a column's value lies. `from_record` starts at the record instead of the child row."""

    name: str
    steps: tuple[str, ...]
    attribute: str | None
    many: bool
    from_record: bool

    @property
    def is_list(self) -> bool:
        """An element's own attribute is one value whatever was asked for."""
        return self.many and (bool(self.steps) or self.attribute is None)

    def value(self, element: Any) -> str | None:
        """Raises ManyFound: the path leads to several values, and no list is wanted."""
        if not self.steps and self.attribute is not None:
            found: str | None = element.get(self.attribute)
            return found
        if len(self.steps) == 1:
            elements = list(element.iterchildren(self.steps[0]))
        else:
            elements = [element]
            for step in self.steps:
                elements = [child for parent in elements for child in parent.iterchildren(step)]
        if not elements:
            return None
        if self.is_list:
            return orjson.dumps([self._of(found) for found in elements]).decode()
        if self.attribute is not None:
            elements = [element for element in elements if element.get(self.attribute) is not None] or elements[:1]
        if len(elements) > 1:
            raise ManyFound(len(elements))
        value = self._of(elements[0])
        return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()

    def _of(self, element: Any) -> Any:
        if self.attribute is not None:
            return element.get(self.attribute)
        return content(element) if len(element) else element.text


def value_path(column: Column, table: Files) -> ValuePath:
    """Raises ConfigError: the path is none, or its prefix is not among the namespaces."""
    text = column.path
    from_record, many = text.startswith("/"), column.many or text.endswith("[]")
    text = text.removeprefix("/").removesuffix("[]").removesuffix("/text()")
    parts = [part for part in text.split("/") if part not in ("", ".", "text()")]
    attribute = qualified(parts.pop()[1:], table, is_attribute=True) if parts and parts[-1].startswith("@") else None
    return ValuePath(column.name, tuple(qualified(part, table) for part in parts), attribute, many, from_record)


def element_path(text: str, table: Files) -> tuple[str, ...]:
    return tuple(qualified(part, table) for part in text.strip("/").split("/"))


def qualified(step: str, table: Files, *, is_attribute: bool = False) -> str:
    """`c:case` as lxml names it: `{urn:..}case`. An element without a prefix has the namespace `""`, if any."""
    match = _STEP.fullmatch(step)
    spaces = dict(table.namespaces)
    if match is None or (match[1] is not None and match[1] not in spaces):
        raise ConfigError(
            "a path is not understood" if match is None else "a path has an unknown prefix",
            table=table.name,
            path=step,
            allowed=sorted(spaces),
            remedy="Paths are like c:court/@code, and prefixes stand under namespaces. See docs/files.md.",
        )
    space = "" if is_attribute and match[1] is None else spaces.get(match[1] or "", "")
    return f"{{{space}}}{match[2]}" if space else match[2]


def content(element: Any) -> Any:
    """An element as JSON: its text, or attributes as `@name`, children by name (lists if they repeat), `#text`."""
    children: dict[str, list[Any]] = {}
    for child in element.iterchildren(tag=etree.Element):
        children.setdefault(local(child.tag), []).append(content(child))
    text = element.text
    if not children and not element.attrib:
        return text
    found: dict[str, Any] = {f"@{local(name)}": value for name, value in element.attrib.items()}
    found |= {name: values[0] if len(values) == 1 else values for name, values in children.items()}
    if text is not None and text.strip():
        found["#text"] = text
    return found


def flat(element: Any) -> Mapping[str, str | None]:
    """Every attribute and child element of a row by its local name, for a table that declares no columns."""
    found: dict[str, str | None] = {local(name): value for name, value in element.attrib.items()}
    groups: dict[str, list[Any]] = {}
    for child in element.iterchildren(tag=etree.Element):
        groups.setdefault(local(child.tag), []).append(child)
    for name, elements in groups.items():
        label = name if name not in found else f"{name}_element"
        value = _joined(elements)
        found[label] = value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
    if not groups and element.text is not None and element.text.strip():
        found.setdefault("text", element.text)
    return found


def _joined(elements: list[Any]) -> Any:
    return content(elements[0]) if len(elements) == 1 else [content(element) for element in elements]


def local(name: str) -> str:
    return name.rpartition("}")[2]


def union_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names that some row has, in the order in which they first came."""
    return list(dict.fromkeys(name for row in rows for name in row))

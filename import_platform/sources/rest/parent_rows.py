"""Parents of a child table, and what the lake knows of their children."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from import_platform.errors import SourceUnavailable
from import_platform.sources.json.typing import Row
from import_platform.sources.protocol import ParentTables, ReadRequest
from import_platform.sources.rest.declaration import Resource


def column_of(resource: Resource, field: str) -> str:
    """The child's column for a field of its parent: dlt's name."""
    return f"_{resource.parent}_{field}".replace(".", "_")


def version_column(resource: Resource) -> str:
    """The version of the parent in the lake by which a child was read: what orders a child's changes."""
    return f"_{resource.parent}_version"


def gone_column(resource: Resource) -> str:
    """Marks a child that the API does not give any more."""
    return f"_{resource.parent}_gone"


def link_fields(resource: Resource) -> tuple[str, ...]:
    """The fields that say which parent a child belongs to."""
    return tuple(field for _, field in resource.parent_fields)


def plain(value: Any) -> Any:
    """A value of the lake as JSON would hold it."""
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


class Family:
    """The parents that a pass goes through, pinned to one version. Memory: the links of those that changed, and the
    keys of their children in the lake."""

    def __init__(self, resource: Resource, parents: ParentTables, request: ReadRequest) -> None:
        self._resource = resource
        self._parents = parents
        self._parent = str(resource.parent)
        window = request.window
        self._since = int(window.after) if window is not None and window.after is not None else None
        pinned = request.after["version"] if request.after else window.upto if window is not None else None
        newest = parents.version(self._parent) if pinned is None else None
        found = pinned if pinned is not None else newest
        if found is None:
            raise absent(resource)
        self.version = int(found)
        self._fields = tuple(dict.fromkeys([*link_fields(resource), *resource.include_from_parent]))
        self._key = tuple(request.primary_key)
        self._known: dict[tuple[Any, ...], set[tuple[Any, ...]]] | None = None
        self._moved: set[tuple[Any, ...]] = set()

    def parents(self, *, skip: int = 0) -> Iterator[Row]:
        """Rows of the parent that changed, with the fields that requests and children need."""
        return islice(self._changed(), skip, None)

    def rows_of(self, parent: Row, children: Sequence[Row]) -> list[Row]:
        """The children with what they take from their parent, after marks for those that are gone."""
        taken = {column_of(self._resource, field): parent[field] for field in self._fields}
        taken[version_column(self._resource)] = self.version
        fresh: list[Row] = [{**child, **taken} for child in children]
        if self._since is None or not self._key:
            return fresh
        now = {tuple(_text(row.get(name)) for name in self._key) for row in fresh}
        known = self._known_children().get(self._link(parent), set())
        self._moved |= now - known
        return [*self._marks(known - now - self._moved), *fresh]

    def orphans(self) -> list[Row]:
        """Marks for the children of parents that left the lake."""
        if self._since is None or not self._key:
            return []
        fields = [field.split(".")[0] for field in link_fields(self._resource)]
        gone = self._parents.gone(self._parent, fields, version=self.version, since=self._since)
        links = {self._link(parent_row(row, link_fields(self._resource))) for row in gone.to_pylist()}
        if not links:
            return []
        children = self._children_of(lambda link: link in links)
        return self._marks({key for keys in children.values() for key in keys} - self._moved)

    def _link(self, parent: Row) -> tuple[Any, ...]:
        return tuple(_text(parent[field]) for field in link_fields(self._resource))

    def _marks(self, keys: set[tuple[Any, ...]]) -> list[Row]:
        """Older than every row of this pass, so that a child that moved to another parent stays."""
        since = self._since or 0
        return [
            dict(zip(self._key, key, strict=True))
            | {version_column(self._resource): since, gone_column(self._resource): True}
            for key in sorted(keys, key=repr)
        ]

    def _changed(self) -> Iterator[Row]:
        columns = tuple(dict.fromkeys(field.split(".")[0] for field in self._fields))
        batches = self._parents.changed(self._parent, columns, version=self.version, since=self._since)
        for batch in batches:
            yield from (parent_row(row, self._fields) for row in batch.to_pylist())

    def _known_children(self) -> dict[tuple[Any, ...], set[tuple[Any, ...]]]:
        if self._known is None:
            wanted = {self._link(row) for row in self._changed()}
            self._known = self._children_of(lambda link: link in wanted)
        return self._known

    def _children_of(self, is_wanted: Any) -> dict[tuple[Any, ...], set[tuple[Any, ...]]]:
        links = [column_of(self._resource, field) for field in link_fields(self._resource)]
        found: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
        for batch in self._parents.rows(self._resource.name, [*links, *self._key]):
            for values in zip(*(map(_text, column.to_pylist()) for column in batch.columns), strict=True):
                link, key = values[: len(links)], values[len(links) :]
                if is_wanted(link):
                    found.setdefault(link, set()).add(key)
        return found


def parent_row(row: Mapping[str, Any], fields: Sequence[str]) -> Row:
    """The fields of a parent; those inside an object are taken from its JSON text."""
    return {field: _inside(row, field) for field in fields}


def absent(resource: Resource) -> SourceUnavailable:
    return SourceUnavailable(
        "the parent is not in the lake yet",
        table=resource.name,
        parent=resource.parent,
        remedy=f"Import {resource.parent} first; both in one run come in the right order.",
    )


def _inside(row: Mapping[str, Any], field: str) -> Any:
    first, *rest = field.split(".")
    value = row.get(first)
    for name in rest:
        value = json.loads(value) if isinstance(value, str) else value
        value = value.get(name) if isinstance(value, Mapping) else None
    return plain(value)


def _text(value: Any) -> str | None:
    """One spelling for a key that JSON may hold as a number and a declared column as text."""
    return None if value is None else str(plain(value))

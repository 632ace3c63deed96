"""Tables of one record: a child follows its parent in which version of a record counts, and in what deletes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from import_platform.errors import ConfigError
from import_platform.sources.files.declaration import BY_FILE, MARK, VERSION, Column, DeleteWhen, Files, wrong


def with_families(tables: Mapping[str, Files]) -> dict[str, Files]:
    """The tables with what parents and children take from each other.

    Raises:
        ConfigError: a parent is unknown, of other files or records, or without a key; or a child does not have its key.
    """
    parents = {table.parent for table in tables.values() if table.parent is not None}
    made = {name: _versioned(table, is_parent=name in parents) for name, table in tables.items()}
    whole = (table if table.parent is None else _child(table, made) for table in made.values())
    return {table.name: _with_mark(table) for table in whole}


def _versioned(table: Files, *, is_parent: bool) -> Files:
    """Parents and tables with deletions go by the order of files where nothing else is said."""
    by_file = is_parent or (table.delete_when is not None and table.parent is None)
    return replace(table, version=table.version or BY_FILE) if by_file else table


def _with_mark(table: Files) -> Files:
    """With a column that is read for `delete_when` alone."""
    said = table.delete_when
    if said is None or said.path is None:
        return table
    return replace(table, columns=(*table.columns, Column(MARK, pa.string(), said.path)))


def _child(table: Files, tables: Mapping[str, Files]) -> Files:
    parent = tables.get(str(table.parent))
    if parent is None:
        raise ConfigError(
            "the parent is no table of this connection",
            table=table.name,
            parent=table.parent,
            found=sorted(tables),
            remedy="Name the table of the records themselves.",
        )
    _check(table, parent)
    paths = {column.path: column.name for column in table.columns}
    key = []
    for name in parent.primary_key:
        path = f"/{_path(parent, name)}"
        if path not in paths:
            raise wrong(table.name, "parent", f'no column with the path "{path}" leads to the parent by its {name}')
        key.append(paths[path])
    columns, version = table.columns, parent.version
    if version not in (None, BY_FILE):
        said = next(column for column in parent.columns if column.name == version)
        columns = (*columns, Column(VERSION, said.type, f"/{said.path}"))
        version = VERSION
    return replace(
        table, parent_key=tuple(key), columns=columns, version=version, delete_when=_inherited(parent, table)
    )


def _check(table: Files, parent: Files) -> None:
    if (table.format, parent.format) != ("xml", "xml") or not table.rows:
        raise wrong(table.name, "parent", "only child rows of XML, with rows, have a parent")
    if parent.rows or parent.parent is not None:
        raise wrong(table.name, "parent", "the parent is no table of the records themselves")
    same = (table.pattern, table.record, table.order) == (parent.pattern, parent.record, parent.order)
    if not same or dict(table.namespaces) != dict(parent.namespaces):
        raise wrong(table.name, "parent", "the parent has another pattern, record, order or namespaces")
    if not parent.primary_key:
        raise wrong(table.name, "parent", "the parent has no primary_key")
    for word, value in (
        ("primary_key", table.primary_key),
        ("delete_when", table.delete_when),
        ("version", table.version),
    ):
        if value:
            raise wrong(table.name, word, "a table with a parent takes this from it")


def _path(parent: Files, name: str) -> str:
    return next((column.path for column in parent.columns if column.name == name), name)


def _inherited(parent: Files, table: Files) -> DeleteWhen | None:
    said = parent.delete_when
    if said is None:
        return None
    path = said.path or _path(parent, str(said.column))
    return replace(said, column=None, path=f"/{path}")

"""A table's columns as JSON is read into them, and as the platform knows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from import_platform.core.budget import format_bytes
from import_platform.core.rejected import RejectedRow
from import_platform.core.table import ColumnInfo, TableInfo
from import_platform.sources.conform import as_text
from import_platform.sources.json.columns import INSTANT
from import_platform.sources.json.typing import (
    Converted,
    JsonColumn,
    Row,
    convert,
    new_columns,
    values_of,
    widened,
    without,
)
from import_platform.sources.rest.changes import CHANGED_AT, DELETED
from import_platform.sources.rest.declaration import Resource
from import_platform.sources.rest.parent_rows import column_of, gone_column, link_fields, version_column

ROW_TEXT_MAX = 1 << 16


@dataclass(frozen=True)
class Shape:
    """The columns of one resource in order. Keys and cursor have `fixed` types once they are known."""

    resource: Resource
    columns: tuple[JsonColumn, ...]

    def grown(self, rows: Sequence[Row]) -> Shape:
        """This shape with a column for every field that has a value."""
        columns = list(self.columns)
        for found in new_columns(rows, self.columns):
            at = next((i for i, column in enumerate(columns) if column.name == found.name), None)
            if at is None:
                columns.append(found)
            else:  # known from the lake under a name of its own
                columns[at] = replace(columns[at], path=found.path)
        return replace(self, columns=tuple(columns))

    def widened(self, wider: Mapping[str, pa.DataType]) -> Shape:
        return replace(self, columns=widened(self.columns, wider))

    def fixed(self) -> Shape:
        """With keys and cursor as they are: a column that places or orders rows never changes its kind in place."""
        names = {*self.resource.primary_key, *(column_of(self.resource, f) for f in link_fields(self.resource))}
        if self.resource.endpoint.incremental:
            names.add(self.resource.endpoint.incremental.column)
        return replace(self, columns=tuple(replace(c, fixed=c.fixed or c.name in names) for c in self.columns))

    def same_columns(self, other: Shape) -> bool:
        return [(c.name, c.type) for c in self.columns] == [(c.name, c.type) for c in other.columns]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type) for c in self.columns])

    def table(self) -> TableInfo:
        resource = self.resource
        names = {column.name for column in self.columns}
        changes = self._orders_changes()
        has_rows = names.issuperset(resource.primary_key)  # else no row was ever seen: a guessed key would stay a guess
        ordered = (changes in names or not has_rows) and bool(resource.primary_key or resource.endpoint.incremental)
        columns = tuple(
            ColumnInfo(c.name, c.type, "declared" if c.fixed else "json", c.name not in resource.primary_key)
            for c in self.columns
        )
        return TableInfo(
            "",
            resource.name,
            columns if has_rows else (),
            resource.primary_key,
            cursors=(changes,) if changes is not None and ordered else (),
            sampled=True,
            deleted=self._marks_deleted(),
            always=() if has_rows else columns,
        )

    def _marks_deleted(self) -> str | None:
        if self.resource.changes is not None:
            return DELETED
        return gone_column(self.resource) if self.resource.parent is not None and self.resource.primary_key else None

    def _orders_changes(self) -> str | None:
        if self.resource.changes is not None:
            return CHANGED_AT
        if self.resource.parent is not None:
            return version_column(self.resource)
        incremental = self.resource.endpoint.incremental
        return incremental.column if incremental is not None else None


def declared_shape(resource: Resource) -> Shape:
    """What is known of a table before the first answer."""
    columns = [JsonColumn(c.name, c.type, c.path, True, c.unit) for c in resource.columns]
    incremental = resource.endpoint.incremental
    unit = {"epoch": "s", "epoch_ms": "ms"}.get(incremental.format) if incremental is not None else None
    if incremental is not None and unit is not None and incremental.column not in {c.name for c in columns}:
        column = incremental.column  # a number of the API, an instant to everybody else
        columns.append(JsonColumn(column, INSTANT, (column,), fixed=True, unit="ms" if unit == "ms" else "s"))
    if resource.changes is not None:
        columns.append(JsonColumn(CHANGED_AT, INSTANT, (CHANGED_AT,), fixed=True))
        columns.append(JsonColumn(DELETED, pa.bool_(), (DELETED,), fixed=True))
    if resource.parent is not None:
        columns.append(JsonColumn(version_column(resource), pa.int64(), (version_column(resource),), fixed=True))
    if resource.parent is not None and resource.primary_key:
        columns.append(JsonColumn(gone_column(resource), pa.bool_(), (gone_column(resource),), fixed=True))
    return Shape(resource, tuple(columns))


def shape_of(resource: Resource, table: TableInfo) -> Shape:
    """The shape that a table was discovered with, or has in the lake."""
    declared = {column.name: column for column in declared_shape(resource).columns}
    columns = []
    for info in table.columns:
        said = declared.get(info.name)
        columns.append(said or JsonColumn(info.name, info.type, (info.name,)))
    return Shape(resource, tuple(columns)).fixed()


def split_wide(
    rows: Sequence[Row], resource: Resource, *, limit_bytes: int
) -> tuple[list[Row], tuple[RejectedRow, ...]]:
    """The rows that fit, and those that are too wide, recorded by key and size only."""
    fitting, wide = [], []
    for row in rows:
        size = len(json.dumps(row, ensure_ascii=False, default=str))
        if size <= limit_bytes:
            fitting.append(row)
            continue
        reason = f"the row has {format_bytes(size)}, more than the {format_bytes(limit_bytes)} that memory allows"
        wide.append(RejectedRow(key_of(row, resource), "", reason, None))
    return fitting, tuple(wide)


def converted(shape: Shape, rows: Sequence[Row]) -> Converted:
    return convert(rows, shape.columns)


def fitting_batch(shape: Shape, rows: Sequence[Row], done: Converted) -> tuple[pa.RecordBatch, tuple[RejectedRow, ...]]:
    """The rows as a batch, without those that do not fit; those come second."""
    if not done.misfits:
        return pa.RecordBatch.from_arrays(done.arrays, schema=shape.schema), ()
    arrays = without(done.arrays, done.misfits, len(rows))
    rejected = tuple(
        RejectedRow(key_of(rows[at], shape.resource), column, reason, _text(rows[at]))
        for at, (column, reason) in sorted(done.misfits.items())
    )
    return pa.RecordBatch.from_arrays(arrays, schema=shape.schema), rejected


def key_of(row: Row, resource: Resource) -> dict[str, str | None]:
    return {name: _printable(values_of([row], (name,))[0]) for name in resource.primary_key}


def _printable(value: Any) -> str | None:
    text = as_text(value)
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _text(row: Row) -> str:
    text = json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= ROW_TEXT_MAX else f"{text[:ROW_TEXT_MAX]}… ({len(text)} characters)"

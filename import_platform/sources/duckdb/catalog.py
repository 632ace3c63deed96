"""Tables of a DuckDB file, from its catalog in three statements and a sample of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from import_platform.core.table import ColumnInfo, TableInfo
from import_platform.errors import ImportPlatformError
from import_platform.sources.clauses import total
from import_platform.sources.duckdb.session import Session
from import_platform.sources.duckdb.types import arrow_type, literal, size
from import_platform.sources.extremes import with_extremes
from import_platform.sources.found import column_named

_SAMPLED_COLUMNS_MAX = 12
_SAMPLE_ROWS = (100, 10, 1)
VALUE_BYTES = 16
"""What a number or NULL weighs besides the bytes of text and blobs."""


@dataclass(frozen=True)
class DuckColumn:
    name: str
    declared: str
    not_null: bool

    @property
    def sql(self) -> str:
        return f"t.{quote(self.name)}"


@dataclass(frozen=True)
class DuckTable:
    """One table or view; views have no rowid. `key` is the primary key, else the narrowest unique constraint over
    columns that are never null."""

    schema: str
    name: str
    is_view: bool
    rows: int
    columns: tuple[DuckColumn, ...]
    key: tuple[str, ...]
    where: str | None = None

    @property
    def only(self) -> list[str]:
        """The condition that narrows every read and count, in a line of its own lest it end in a comment."""
        return [] if self.where is None else [f"({self.where}\n)"]

    @property
    def sql(self) -> str:
        return f"src.{quote(self.schema)}.{quote(self.name)} AS t"

    def column(self, name: str) -> DuckColumn:
        """Raises SourceRejected when the table has no such column (any more)."""
        return column_named(self.columns, name, table=self.name)

    def row_bytes(self, columns: Sequence[DuckColumn]) -> str:
        """SQL of what a row of some columns weighs."""
        sizes = [f"coalesce({sql}, 0)" for column in columns if (sql := size(column.declared, column.sql)) is not None]
        return total([*sizes, str(VALUE_BYTES * len(columns))])


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def load_tables(session: Session, schemas: Sequence[str], names: Sequence[tuple[str, str]] | None) -> list[DuckTable]:
    """The tables of the schemas, or the tables and views of `names` as (schema, table), in name order."""
    listed = f"database_name = 'src' AND schema_name IN ({', '.join(map(literal, schemas))})"
    tables = session.rows(
        f"SELECT schema_name, table_name, false, estimated_size FROM duckdb_tables() WHERE {listed} AND NOT internal"
        f" UNION ALL SELECT schema_name, view_name, true, -1 FROM duckdb_views() WHERE {listed} AND NOT internal"
        " ORDER BY 1, 2"
    )
    wanted = None if names is None else set(names)
    tables = [row for row in tables if (not row[2] if wanted is None else (row[0], row[1]) in wanted)]
    columns: dict[tuple[str, str], list[DuckColumn]] = defaultdict(list)
    for schema, table, name, declared, nullable in session.rows(
        "SELECT schema_name, table_name, column_name, data_type, is_nullable FROM duckdb_columns()"
        f" WHERE {listed} ORDER BY schema_name, table_name, column_index"
    ):
        columns[schema, table].append(DuckColumn(name, declared, not_null=not nullable))
    keys: dict[tuple[str, str], list[tuple[bool, int, tuple[str, ...]]]] = defaultdict(list)
    for schema, table, kind, names_ in session.rows(
        "SELECT schema_name, table_name, constraint_type, constraint_column_names FROM duckdb_constraints()"
        f" WHERE {listed} AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')"
    ):
        never_null = {column.name for column in columns[schema, table] if column.not_null}
        if never_null.issuperset(names_):
            keys[schema, table].append((kind != "PRIMARY KEY", len(names_), tuple(names_)))
    return [
        DuckTable(
            schema=schema,
            name=table,
            is_view=is_view,
            rows=rows,
            columns=tuple(columns[schema, table]),
            key=min(keys[schema, table])[2] if keys[schema, table] else (),
        )
        for schema, table, is_view, rows in tables
    ]


def describe(session: Session, table: DuckTable, *, default: bool) -> TableInfo:
    """The table with extremes, which the file's own statistics make cheap, and an estimate of its bytes."""
    columns = tuple(
        ColumnInfo(
            name=column.name,
            type=arrow_type(column.declared),
            source_type=column.declared,
            nullable=not column.not_null,
        )
        for column in table.columns
    )
    width = -1.0
    if not table.is_view:
        with suppress(ImportPlatformError):  # estimates may be missing, discovery may not
            columns = _with_extremes(session, table, columns)
        width = _row_bytes(session, table)
    return TableInfo(
        schema=table.schema,
        name=table.name,
        columns=columns,
        primary_key=table.key,
        row_estimate=table.rows,
        bytes_estimate=int(width * table.rows) if width >= 0 else -1,
        default_schema=default,
    )


def _row_bytes(session: Session, table: DuckTable) -> float:
    """The mean of the first rows; of fewer where they are wide."""
    for rows in _SAMPLE_ROWS:
        with suppress(ImportPlatformError):
            sample = f"SELECT avg({table.row_bytes(table.columns)}) FROM {table.sql} WHERE rowid < {rows}"
            return float(session.rows(sample)[0][0] or 0)
    return -1.0


def _with_extremes(session: Session, table: DuckTable, columns: tuple[ColumnInfo, ...]) -> tuple[ColumnInfo, ...]:
    sampled = [info for info in columns if _has_extremes(info.type)][:_SAMPLED_COLUMNS_MAX]
    if not sampled:
        return columns
    references = [f"{f}(t.{quote(info.name)})::VARCHAR" for info in sampled for f in ("min", "max")]
    found = session.rows(f"SELECT {', '.join(references)} FROM {table.sql}")[0]
    extremes = {
        info.name: [value for value in found[2 * n : 2 * n + 2] if value is not None] for n, info in enumerate(sampled)
    }
    return tuple(with_extremes(info, extremes.get(info.name, ())) for info in columns)


def _has_extremes(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_date(dtype) or pa.types.is_timestamp(dtype))

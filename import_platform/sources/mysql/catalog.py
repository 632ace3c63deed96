"""What information_schema says of tables, read for all of them in three statements however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from import_platform.sources.clauses import filtered
from import_platform.sources.found import column_named
from import_platform.sources.mysql.session import Transaction
from import_platform.sources.mysql.sql import literal, relation
from import_platform.sources.mysql.types import MyType


@dataclass(frozen=True)
class MyColumn:
    name: str
    type: MyType
    not_null: bool


@dataclass(frozen=True)
class MyTable:
    """One table or view as it is now. `key` is the primary key, else the narrowest unique index over columns that are
    never null; `indexed` are the columns that some index begins with.

    `rows` and `bytes` are the server's estimates, -1 for views.
    """

    schema: str
    name: str
    is_view: bool
    rows: int
    bytes: int
    columns: tuple[MyColumn, ...]
    key: tuple[str, ...]
    indexed: frozenset[str]
    where: str | None = None

    @property
    def sql(self) -> str:
        return filtered(relation(self.schema, self.name), self.where)

    def column(self, name: str) -> MyColumn:
        """Raises SourceRejected when the table has no such column (any more)."""
        return column_named(self.columns, name, table=self.name)


def load_tables(
    transaction: Transaction, schemas: Sequence[str], names: Sequence[tuple[str, str]] | None
) -> list[MyTable]:
    """The tables of the databases that the user may see, or those of `names` as (database, table), in name order.

    Views are found only by name.
    """
    tables = transaction.rows(_TABLES.format(chosen=_chosen(schemas, names), views="" if names is None else ", 'VIEW'"))
    if not tables:
        return []
    places = [(str(row["schema_"]), str(row["name"])) for row in tables]
    chosen = _chosen(schemas, None if names is None else places)
    columns: dict[tuple[str, str], list[MyColumn]] = defaultdict(list)
    for row in transaction.rows(_COLUMNS.format(chosen=chosen)):
        columns[str(row["schema_"]), str(row["name"])].append(_column(row))
    indexes = _indexes(transaction.rows(_INDEXES.format(chosen=chosen)))
    return [
        _table(row, tuple(columns[place]), indexes.get(place, {})) for row, place in zip(tables, places, strict=True)
    ]


def _chosen(schemas: Sequence[str], names: Sequence[tuple[str, str]] | None) -> str:
    """Bytes are compared, because information_schema ignores case and two tables may differ in nothing else."""
    if names is None:
        return f"table_schema IN ({', '.join(map(literal, schemas))})"
    if not names:
        return "FALSE"
    by_schema: dict[str, list[str]] = defaultdict(list)
    for schema, name in names:
        by_schema[schema].append(name)
    parts = [
        f"(table_schema = {literal(schema)} AND table_name IN ({', '.join(map(literal, found))}))"
        for schema, found in by_schema.items()
    ]
    pairs = ", ".join(f"({literal(schema)}, {literal(name)})" for schema, name in names)
    return f"({' OR '.join(parts)}) AND (BINARY table_schema, BINARY table_name) IN ({pairs})"


def _column(row: Mapping[str, str | None]) -> MyColumn:
    name = str(row["type_name"]).lower()
    widest = row["octets"]
    kind = MyType(
        name={"integer": "int", "numeric": "decimal"}.get(name, name),
        declared=str(row["declared"]).lower(),
        precision=int(row["precision_"] or -1),
        scale=int(row["scale_"] or 0),
        bytes_max=int(widest) if widest is not None else 2**32 if name in _UNBOUNDED else -1,
        charset=row["charset_"] or "",
        collation=row["collation_"] or "",
    )
    return MyColumn(str(row["column_"]), kind, not_null=row["nullable_"] == "NO")


_UNBOUNDED = frozenset(("json", "geometry", "point", "linestring", "polygon", "vector", "geometrycollection"))


def _indexes(
    rows: Iterable[Mapping[str, str | None]],
) -> dict[tuple[str, str], dict[str, list[Mapping[str, str | None]]]]:
    found: dict[tuple[str, str], dict[str, list[Mapping[str, str | None]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[str(row["schema_"]), str(row["name"])][str(row["index_"])].append(row)
    return found


def _table(
    row: Mapping[str, str | None],
    columns: tuple[MyColumn, ...],
    indexes: Mapping[str, Sequence[Mapping[str, str | None]]],
) -> MyTable:
    unique = [
        (name != "PRIMARY", len(parts), name, tuple(str(part["column_"]) for part in parts))
        for name, parts in indexes.items()
        # A prefix of a column does not make it unique, and an index over an expression names no column.
        if all(
            p["non_unique"] == "0" and p["sub_part"] is None and p["column_"] and p["nullable_"] != "YES" for p in parts
        )
    ]
    is_view = str(row["type_name"]).upper() == "VIEW"
    return MyTable(
        schema=str(row["schema_"]),
        name=str(row["name"]),
        is_view=is_view,
        rows=-1 if is_view else int(row["rows_"] or 0),
        bytes=-1 if is_view else int(row["bytes_"] or 0),
        columns=columns,
        key=min(unique)[3] if unique else (),
        indexed=frozenset(str(parts[0]["column_"]) for parts in indexes.values() if parts[0]["column_"]),
    )


# Every output has a name of its own, because MySQL 8 would give these in capitals.
_TABLES = """
SELECT table_schema AS schema_, table_name AS name, table_type AS type_name, table_rows AS rows_,
       data_length AS bytes_
FROM information_schema.tables
WHERE {chosen} AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED'{views})
ORDER BY BINARY table_schema, BINARY table_name
"""
_COLUMNS = """
SELECT table_schema AS schema_, table_name AS name, column_name AS column_, data_type AS type_name,
       column_type AS declared, is_nullable AS nullable_, character_octet_length AS octets,
       numeric_precision AS precision_, numeric_scale AS scale_, character_set_name AS charset_,
       collation_name AS collation_
FROM information_schema.columns
WHERE {chosen}
ORDER BY table_schema, table_name, ordinal_position
"""
_INDEXES = """
SELECT table_schema AS schema_, table_name AS name, index_name AS index_, column_name AS column_,
       non_unique AS non_unique, sub_part AS sub_part, nullable AS nullable_
FROM information_schema.statistics
WHERE {chosen} AND index_type <> 'FULLTEXT' AND index_type <> 'SPATIAL'
ORDER BY table_schema, table_name, index_name, seq_in_index
"""

"""What PostgreSQL's catalogs say of tables, read for all of them in four statements however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from import_platform.core.postgres_text import literal
from import_platform.sources.clauses import filtered
from import_platform.sources.found import column_named
from import_platform.sources.postgres.session import Transaction
from import_platform.sources.postgres.sql import relation, text_array
from import_platform.sources.postgres.types import ROW_VERSION, PgType

TABLES = ("r", "p", "m")
"""Found by themselves: tables, partitioned tables, materialized views. Views and foreign tables only when named."""
_ALL_KINDS = (*TABLES, "v", "f")


@dataclass(frozen=True)
class PgColumn:
    """One column; `toastable` says that its values may be stored out of line, so that they may be wide."""

    name: str
    type: PgType
    not_null: bool
    toastable: bool


@dataclass(frozen=True)
class PgTable:
    """One relation as it is now. `key` is the primary key, else the narrowest unique index over columns that are never
    null.

    `rows` is the server's estimate (-1: never analyzed), `bytes` counts the table with what is stored out of line, and
    `wide_bytes` the latter alone. A partitioned table's numbers are its partitions' together.
    """

    oid: int
    schema: str
    name: str
    kind: str
    rows: int
    bytes: int
    wide_bytes: int
    columns: tuple[PgColumn, ...]
    key: tuple[str, ...]
    where: str | None = None

    @property
    def sql(self) -> str:
        besides = "".join(f", t.{column.name}" for column in self.synthetic)
        return filtered(relation(self.schema, self.name), self.where, besides=besides)

    @property
    def synthetic(self) -> tuple[PgColumn, ...]:
        """Columns that nobody made: what a table without a column of changes can be followed by."""
        kind = PgType("pg_catalog", ROW_VERSION, declared="xid", castable="int8", kind="b", category="N")
        return (PgColumn(ROW_VERSION, kind, not_null=True, toastable=False),) if self.kind in ("r", "p") else ()

    def column(self, name: str) -> PgColumn:
        """Raises SourceRejected when the table has no such column (any more)."""
        return column_named((*self.columns, *self.synthetic), name, table=self.name)


@dataclass(frozen=True)
class ColumnStatistics:
    """The least and greatest sampled value as text of the column's type, as of the last ANALYZE."""

    values: tuple[str, ...]


def load_tables(
    transaction: Transaction, schemas: Sequence[str], names: Sequence[tuple[str, str]] | None
) -> list[PgTable]:
    """The readable tables of the schemas, or those of `names` as (schema, table), in name order.

    Tables and columns that the user may not read are left out, except that a table asked for by name is given with
    whatever columns can be read, none in the end.
    """
    chosen = _chosen(schemas, names)
    relations = transaction.rows(
        _RELATIONS.format(chosen=chosen, kinds=text_array(TABLES if names is None else _ALL_KINDS))
    )
    oids = [row["oid"] for row in relations if names is not None or row["readable"]]
    if not oids:
        return []
    listed = f"'{{{','.join(map(str, oids))}}}'::oid[]"
    columns: dict[int, list[PgColumn]] = defaultdict(list)
    for row in transaction.rows(_COLUMNS.format(oids=listed)):
        columns[row["table"]].append(_column(row))
    keys = _keys(transaction.rows(_INDEXES.format(oids=listed)), columns)
    wanted = set(oids)
    return [
        _table(row, tuple(columns[row["oid"]]), keys.get(row["oid"], ())) for row in relations if row["oid"] in wanted
    ]


def load_statistics(
    transaction: Transaction, tables: Sequence[PgTable]
) -> Mapping[tuple[str, str, str], ColumnStatistics]:
    """Sampled extremes of the date, time and integer columns of the tables, by (schema, table, column)."""
    if not tables:
        return {}
    listed = f"'{{{','.join(str(table.oid) for table in tables)}}}'::oid[]"
    names = text_array([table.name for table in tables])
    return {
        (row["schema"], row["table"], row["column"]): ColumnStatistics(
            tuple(value for value in row["values"] or [] if value is not None)
        )
        for row in transaction.rows(_STATISTICS.format(oids=listed, names=names))
    }


def _chosen(schemas: Sequence[str], names: Sequence[tuple[str, str]] | None) -> str:
    if names is None:
        return f"n.nspname = ANY({text_array(schemas)})"
    pairs = ", ".join(f"({literal(schema)}, {literal(name)})" for schema, name in names)
    return f"(n.nspname::text, c.relname::text) IN ({pairs})" if pairs else "false"


def _column(row: Mapping[str, Any]) -> PgColumn:
    kind = PgType(
        schema=row["type_schema"],
        name=row["type_name"],
        declared=row["declared"],
        castable=row["castable"],
        kind=row["type_kind"],
        category=row["category"],
        modifier=row["modifier"],
    )
    toastable = row["length"] == -1 and row["storage"] != "p" and not (kind.builtin and kind.name == "numeric")
    return PgColumn(name=row["name"], type=kind, not_null=row["not_null"], toastable=toastable)


def _keys(rows: Sequence[Mapping[str, Any]], columns: Mapping[int, Sequence[PgColumn]]) -> dict[int, tuple[str, ...]]:
    """The best index of each table: the primary key, else the fewest columns, of those over columns never null."""
    keys: dict[int, tuple[str, ...]] = {}
    for row in sorted(rows, key=lambda row: (not row["primary"], len(row["columns"]), row["index"])):
        never_null = {column.name for column in columns[row["table"]] if column.not_null}
        if row["table"] not in keys and never_null.issuperset(row["columns"]):
            keys[row["table"]] = tuple(row["columns"])
    return keys


def _table(row: Mapping[str, Any], columns: tuple[PgColumn, ...], key: tuple[str, ...]) -> PgTable:
    return PgTable(
        oid=row["oid"],
        schema=row["schema"],
        name=row["name"],
        kind=row["kind"],
        rows=int(row["rows"]),
        bytes=row["bytes"],
        wide_bytes=row["wide_bytes"],
        columns=columns,
        key=key,
    )


# Partitions are read through their parent, so they are no tables of their own. A parent's sizes are its leaves'.
# Asking for the size of a table waits for whoever locks it out, so the size of such a table is unknown.
_RELATIONS = """
WITH locked AS MATERIALIZED (
    SELECT relation FROM pg_catalog.pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
)
SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT') AS readable,
       CASE WHEN c.relkind = 'p' THEN coalesce(p.rows, -1) WHEN s.stored THEN c.reltuples ELSE -1 END::float8 AS rows,
       coalesce(p.bytes, CASE WHEN s.stored AND s.free THEN pg_table_size(c.oid) END, -1)::int8 AS bytes,
       coalesce(p.wide_bytes, CASE WHEN s.free THEN pg_relation_size(nullif(c.reltoastrelid, 0)) END, 0)::int8
           AS wide_bytes
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT c.oid NOT IN (SELECT relation FROM locked) AS free, c.relkind IN ('r', 'm') AS stored
) s
LEFT JOIN LATERAL (
    SELECT sum(l.reltuples) FILTER (WHERE l.reltuples >= 0) AS rows, sum(pg_table_size(l.oid)) AS bytes,
           sum(pg_relation_size(nullif(l.reltoastrelid, 0))) AS wide_bytes
    FROM pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class l ON l.oid = t.relid
    WHERE t.isleaf AND l.oid NOT IN (SELECT relation FROM locked)
) p ON c.relkind = 'p'
WHERE {chosen} AND c.relkind::text = ANY({kinds}) AND NOT c.relispartition
ORDER BY 2, 3
"""

# A domain is resolved to the type it is made of, with the modifier given on the way down.
_COLUMNS = """
WITH RECURSIVE base AS (
    SELECT oid AS domain, typbasetype AS oid, typtypmod AS modifier, typnotnull AS not_null
    FROM pg_catalog.pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT b.domain, t.typbasetype, CASE WHEN b.modifier >= 0 THEN b.modifier ELSE t.typtypmod END,
           b.not_null OR t.typnotnull
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid AND t.typtype = 'd'
), domains AS (
    SELECT b.* FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid AND t.typtype <> 'd'
)
SELECT a.attrelid::int8 AS "table", a.attname::text AS name, a.attnotnull OR coalesce(d.not_null, false) AS not_null,
       a.attlen AS length, a.attstorage::text AS storage, tn.nspname::text AS type_schema, t.typname::text AS type_name,
       t.typtype::text AS type_kind, t.typcategory::text AS category,
       format_type(t.oid, coalesce(d.modifier, a.atttypmod)) AS declared, format_type(t.oid, -1) AS castable,
       coalesce(d.modifier, a.atttypmod) AS modifier
FROM pg_catalog.pg_attribute a
LEFT JOIN domains d ON d.domain = a.atttypid
JOIN pg_catalog.pg_type t ON t.oid = coalesce(d.oid, a.atttypid)
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
WHERE a.attrelid = ANY({oids}) AND a.attnum > 0 AND NOT a.attisdropped
  AND (has_table_privilege(a.attrelid, 'SELECT') OR has_column_privilege(a.attrelid, a.attnum, 'SELECT'))
ORDER BY a.attrelid, a.attnum
"""

_INDEXES = """
SELECT i.indrelid::int8 AS "table", i.indexrelid::int8 AS "index", i.indisprimary AS "primary",
       (SELECT array_agg(a.attname::text ORDER BY k.position)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, position)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
        WHERE k.position <= i.indnkeyatts) AS columns
FROM pg_catalog.pg_index i
WHERE i.indrelid = ANY({oids}) AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND (i.indisprimary OR (i.indisunique AND i.indimmediate))
"""

_STATISTICS = """
SELECT s.schemaname::text AS schema, s.tablename::text AS "table", s.attname::text AS "column",
       array_cat((s.most_common_vals::text::text[])[1:CASE WHEN s.histogram_bounds IS NULL THEN 1000 ELSE 20 END],
                 ARRAY[b.bounds[1], b.bounds[array_length(b.bounds, 1)]]) AS "values"
FROM pg_catalog.pg_stats s
CROSS JOIN LATERAL (SELECT s.histogram_bounds::text::text[] AS bounds) b
JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname
WHERE c.oid = ANY({oids}) AND s.tablename = ANY({names}::name[])  -- the second finds them by an index
  AND a.atttypid = ANY('{{int2,int4,int8,date,timestamp,timestamptz}}'::regtype[])
"""

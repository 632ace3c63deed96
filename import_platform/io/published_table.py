"""One published table in a PostgreSQL database: its columns, its staging tables, and how rows of those become its own.

Rows are changed in place (UPDATE, DELETE, INSERT), never by renaming or truncating: so views, grants, indexes, triggers
and foreign keys stay what they are, a reader is never kept waiting, and one whose snapshot is older sees the old rows,
where TRUNCATE or a new table would show it none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from import_platform.core.postgres_text import literal, quoted
from import_platform.core.publication import must_widen, sql_type
from import_platform.errors import ConfigError
from import_platform.io.postgres_target import TargetTransaction
from import_platform.io.target_views import views_set_aside

STATE_TABLE = "import_platform_published"
STAGING, GONE = "import_platform_rows", "import_platform_gone"
NAME_BYTES = 63
_COMPARABLE = ("boolean", "smallint", "integer", "bigint", "real", "double", "text", "bytea", "date", "time", "numeric",
               "uuid", "jsonb", "character")  # fmt: skip


@dataclass(frozen=True)
class Published:
    """What the target's own record says was published last."""

    lake_table: str
    lake_id: str
    version: int


@dataclass(frozen=True)
class Counts:
    """Rows of the target that a publication changed."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


class PublishedTable:
    """`schema`.`name` in the transaction's database. Names are quoted wherever they go."""

    def __init__(self, transaction: TargetTransaction, schema: str, name: str) -> None:
        self._sql = transaction
        self._schema = schema
        self._name = name
        self.full_name = f"{quoted(schema)}.{quoted(name)}"
        self._state = f"{quoted(schema)}.{STATE_TABLE}"
        self._types: dict[str, str] = {}

    def lock(self) -> None:
        """Keeps other publishers of this table waiting until the transaction ends; readers are not concerned."""
        name = literal(f"import_platform.{self.full_name}")
        self._sql.rows(f"SELECT pg_advisory_xact_lock(hashtextextended({name}, 0))::text AS v")

    def published(self) -> Published | None:
        """What this database has of the table, from the record that is written in the publishing transaction."""
        if not self._exists(self._state):
            return None
        found = self._sql.rows(
            f"SELECT lake_table, lake_id, version FROM {self._state} WHERE target = {literal(self._name)}"
        )
        return Published(**found[0]) if found else None

    def record(self, published: Published) -> None:
        if not self._exists(self._state):
            # Two first publishers of a schema would both create it.
            name = literal(f"import_platform.{self._state}")
            self._sql.rows(f"SELECT pg_advisory_xact_lock(hashtextextended({name}, 0))::text AS v")
            self._sql.execute(
                f"CREATE TABLE IF NOT EXISTS {self._state} (target text PRIMARY KEY, lake_table text NOT NULL, "
                "lake_id text NOT NULL, version bigint NOT NULL, published_at timestamptz NOT NULL)"
            )
        values = f"{literal(published.lake_table)}, {literal(published.lake_id)}, {published.version}"
        self._sql.execute(
            f"INSERT INTO {self._state} (target, lake_table, lake_id, version, published_at) "
            f"VALUES ({literal(self._name)}, {values}, now()) ON CONFLICT (target) DO UPDATE SET "
            "lake_table = excluded.lake_table, lake_id = excluded.lake_id, version = excluded.version, "
            "published_at = excluded.published_at"
        )

    def exists(self) -> bool:
        return self._exists(self.full_name)

    def is_empty(self) -> bool:
        return not self._sql.rows(f"SELECT 1 AS v FROM {self.full_name} LIMIT 1")

    def is_referenced(self) -> bool:
        """Whether a foreign key of another table points here, so that a row may not go away and come back."""
        found = self._sql.rows(
            f"SELECT 1 AS v FROM pg_constraint WHERE contype = 'f' AND confrelid = {self._regclass(self.full_name)}"
            " LIMIT 1"
        )
        return bool(found)

    def create(self, schema: pa.Schema, types: Mapping[str, str]) -> None:
        self._types = {field.name: types.get(field.name, sql_type(field.type)) for field in schema}
        for name in self._types:
            if len(name.encode()) > NAME_BYTES:
                raise ConfigError(
                    "a column has a name that PostgreSQL cannot take",
                    column=name,
                    remedy="Leave it out with columns: {exclude}.",
                )
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in self._types.items())
        self._sql.execute(f"CREATE TABLE {self.full_name} ({columns})")

    def add_key(self, key: Sequence[str]) -> None:
        self._sql.execute(f"ALTER TABLE {self.full_name} ADD PRIMARY KEY ({_list(key)})")

    def evolve(self, schema: pa.Schema, types: Mapping[str, str]) -> list[str]:
        """Adds the columns that the table lacks and widens those that may not hold the lake's values; what was done.

        Columns that only the target has stay, and are null in new rows or what their default says.
        """
        found = self._columns()
        wanted = {field.name: types.get(field.name, sql_type(field.type)) for field in schema}
        added = [name for name in wanted if name not in found]
        widened = [
            name for name in wanted if name in found and name not in types and must_widen(found[name], wanted[name])
        ]
        if widened:
            changes = ", ".join(f"ALTER COLUMN {quoted(name)} TYPE {wanted[name]}" for name in widened)
            with views_set_aside(self._sql, self._regclass(self.full_name)):
                self._sql.execute(f"ALTER TABLE {self.full_name} {changes}")
        for name in added:
            self._sql.execute(f"ALTER TABLE {self.full_name} ADD COLUMN {quoted(name)} {wanted[name]}")
        self._types = found | {name: wanted[name] for name in (*added, *widened)}
        return [*(f"column {name} added" for name in added), *(f"column {name} widened" for name in widened)]

    def fits(self, schema: pa.Schema) -> bool:
        """Whether rows of these types can be copied straight into it: no cast, and nothing that COPY passes by."""
        if any(self._types.get(field.name) != sql_type(field.type) for field in schema):
            return False
        found = self._sql.rows(
            f"SELECT relhasrules OR relrowsecurity AS v FROM pg_class WHERE oid = {self._regclass(self.full_name)}"
        )
        return not found[0]["v"]

    def fill(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Counts:
        """Every row goes, and these come straight into the table. Nobody sees it before the transaction ends."""
        deleted = self._sql.execute(f"DELETE FROM {self.full_name}")
        return Counts(self._sql.copy(self._name, schema, batches, db_schema=self._schema), deleted=deleted)

    def stage(self, table: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
        """Rows into a temporary table of the lake's types."""
        columns = ", ".join(f"{quoted(field.name)} {sql_type(field.type)}" for field in schema)
        self._sql.execute(f"DROP TABLE IF EXISTS pg_temp.{table}")
        self._sql.execute(f"CREATE TEMPORARY TABLE {table} ({columns}) ON COMMIT DROP")
        rows = self._sql.copy(table, schema, batches)
        self._sql.execute(f"ANALYZE pg_temp.{table}")
        return rows

    def swap(self, schema: pa.Schema) -> Counts:
        """Every row goes, and the staged ones come, cast to what the table wants."""
        deleted = self._sql.execute(f"DELETE FROM {self.full_name}")
        inserted = self._sql.execute(self._insert(schema))
        return Counts(inserted=inserted, deleted=deleted)

    def merge(self, schema: pa.Schema, key: Sequence[str], *, is_whole: bool) -> Counts:
        """Staged rows replace those of their key; keys of the table `gone` (all keys that are not staged, where
        `is_whole`) are deleted. Rows that are equal already are not touched."""
        target, rows, gone = self.full_name, f"pg_temp.{STAGING}", f"pg_temp.{GONE}"
        same, names = self._matches("t", "s", key), [field.name for field in schema if field.name not in key]
        staged_gone = " AND ".join(f"s.{quoted(name)} = g.{quoted(name)}" for name in key)
        if is_whole:
            condition = f"WHERE NOT EXISTS (SELECT 1 FROM {rows} s WHERE {same})"
            deleted = self._sql.execute(f"DELETE FROM {target} t {condition}")
        else:
            condition = f"{self._matches('t', 'g', key)} AND NOT EXISTS (SELECT 1 FROM {rows} s WHERE {staged_gone})"
            deleted = self._sql.execute(f"DELETE FROM {target} t USING {gone} g WHERE {condition}")
        updated = 0
        if names:
            values = ", ".join(f"{quoted(name)} = {self._cast('s', name)}" for name in names)
            differs = " OR ".join(self._differs(name) for name in names)
            updated = self._sql.execute(f"UPDATE {target} t SET {values} FROM {rows} s WHERE {same} AND ({differs})")
        missing = f" WHERE NOT EXISTS (SELECT 1 FROM {target} t WHERE {same})"
        return Counts(self._sql.execute(self._insert(schema) + missing), updated, deleted)

    def _insert(self, schema: pa.Schema) -> str:
        values = ", ".join(self._cast("s", field.name) for field in schema)
        return f"INSERT INTO {self.full_name} ({_list(schema.names)}) SELECT {values} FROM pg_temp.{STAGING} s"

    def _matches(self, ours: str, theirs: str, key: Sequence[str]) -> str:
        return " AND ".join(f"{ours}.{quoted(name)} = {self._cast(theirs, name)}" for name in key)

    def _differs(self, name: str) -> str:
        ours, theirs = f"t.{quoted(name)}", self._cast("s", name)
        if not self._types[name].startswith(_COMPARABLE):  # json, xml and others cannot be compared
            ours, theirs = f"{ours}::text", f"({theirs})::text"
        return f"{ours} IS DISTINCT FROM {theirs}"

    def _cast(self, alias: str, name: str) -> str:
        """A staged value as the target's type; an array of the target is read from the JSON that the lake holds."""
        value, kind = f"{alias}.{quoted(name)}", self._types[name]
        if kind.endswith("[]"):
            elements = f"ARRAY(SELECT jsonb_array_elements_text({value}::jsonb))"
            return f"CASE WHEN {value} IS NULL THEN NULL ELSE {elements}::{kind} END"
        return f"{value}::{kind}"

    def _columns(self) -> dict[str, str]:
        found = self._sql.rows(
            "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS kind FROM pg_attribute "
            f"WHERE attrelid = {self._regclass(self.full_name)} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        return {row["name"]: row["kind"] for row in found}

    def _exists(self, full_name: str) -> bool:
        return self._sql.rows(f"SELECT to_regclass({literal(full_name)})::text AS v")[0]["v"] is not None

    def _regclass(self, full_name: str) -> str:
        return f"{literal(full_name)}::regclass"


def _list(names: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in names)

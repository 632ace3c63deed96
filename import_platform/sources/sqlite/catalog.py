"""Tables of a SQLite file, from its schema and a small sample of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from import_platform.core import cursor
from import_platform.core.table import ColumnInfo, TableInfo
from import_platform.sources.sqlite.types import declared_type, from_micros, instant_micros, observed_type

_COUNTED_ROWS_MAX = 200_000
_SAMPLE_ROWS, _SAMPLE_BYTES = 1000, 16 << 20


@dataclass(frozen=True)
class SqliteTable:
    """One table or view. `place` is how its rows are told apart without a key: the rowid's name, None for views."""

    name: str
    columns: tuple[str, ...]
    nullable: frozenset[str]
    declared: tuple[str, ...]
    key: tuple[str, ...]
    place: str | None


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def lenient_text(connection: sqlite3.Connection) -> Iterator[None]:
    """Text that is not UTF-8 comes with its odd bytes as lone surrogates, by which its row is rejected, instead of
    failing.

    Each text then passes through Python, so it is the second try where speed matters.
    """
    strict = connection.text_factory
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        connection.text_factory = strict


def load_table(connection: sqlite3.Connection, name: str) -> SqliteTable | None:
    """The table as it is now; its key is the primary key, else the narrowest unique index over columns never null."""
    found = connection.execute(
        "SELECT type, wr FROM pragma_table_list"
        " WHERE schema = 'main' AND name = ? AND type IN ('table', 'view', 'virtual')",
        (name,),
    ).fetchone()
    if found is None:
        return None
    kind, without_rowid = found
    rows = connection.execute(
        'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid', (name,)
    ).fetchall()
    columns = tuple(row[0] for row in rows)
    primary = tuple(row[0] for row in sorted((row for row in rows if row[3]), key=lambda row: row[3]))
    rowid_alias = len(primary) == 1 and any(row[3] and row[1].upper() == "INTEGER" for row in rows)
    # A primary key may hold NULL in SQLite, except where it is the rowid or there is no rowid.
    never_null = {row[0] for row in rows if row[2]} | (set(primary) if rowid_alias or without_rowid else set())
    key = primary or _unique_key(connection, name, never_null)
    taken = {column.lower() for column in columns}
    place = None
    if kind == "table" and not without_rowid:
        place = next((alias for alias in ("rowid", "_rowid_", "oid") if alias not in taken), None)
    return SqliteTable(
        name=name,
        columns=columns,
        nullable=frozenset(columns) - never_null,
        declared=tuple(row[1] for row in rows),
        key=key,
        place=place,
    )


def table_names(connection: sqlite3.Connection) -> list[str]:
    """Tables found by themselves: no views, no internals of SQLite or of its virtual tables."""
    rows = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [row[0] for row in rows]


def describe(connection: sqlite3.Connection, table: SqliteTable) -> TableInfo:
    """The table with types, extremes and estimates; reads a thousand rows, and all of a table of up to 200,000."""
    sample = _sample(connection, table)
    rows = _rows(connection, table)
    columns = []
    for position, (name, declared) in enumerate(zip(table.columns, table.declared, strict=True)):
        values = [row[position] for row in sample if row[position] is not None]
        dtype = observed_type(declared_type(declared), values)
        info = ColumnInfo(name=name, type=dtype, source_type=declared, nullable=name in table.nullable)
        columns.append(_with_extremes(connection, table, info, scan=0 <= rows <= _COUNTED_ROWS_MAX))
    width = sum(map(_width, sample)) / len(sample) if sample else 0
    return TableInfo(
        schema="",
        name=table.name,
        columns=tuple(columns),
        primary_key=table.key,
        row_estimate=rows,
        bytes_estimate=int(width * rows) if rows >= 0 else -1,
    )


def _sample(connection: sqlite3.Connection, table: SqliteTable) -> list[tuple[Any, ...]]:
    """The first rows, fewer where they are wide."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    limit = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _SAMPLE_BYTES)
    walk = connection.execute(f"SELECT {', '.join(map(quote, table.columns))} FROM {quote(table.name)}")
    try:
        for row in walk:
            rows.append(row)
            size += _width(row)
            if size > _SAMPLE_BYTES or len(rows) == _SAMPLE_ROWS:
                break
    except sqlite3.DataError:
        pass  # a value past the limit is not loaded
    finally:
        walk.close()
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)
    return rows


def _rows(connection: sqlite3.Connection, table: SqliteTable) -> int:
    """Exact where that is cheap, else the span of the rowid, which deleted rows make too large."""
    source = quote(table.name)
    if table.place is not None:
        low, high = connection.execute(f"SELECT min({table.place}), max({table.place}) FROM {source}").fetchone()
        if low is None:
            return 0
        if high - low >= _COUNTED_ROWS_MAX:
            return int(high - low + 1)
    counted = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {_COUNTED_ROWS_MAX + 1})"
    ).fetchone()[0]
    return int(counted) if counted <= _COUNTED_ROWS_MAX else -1


def _unique_key(connection: sqlite3.Connection, table: str, never_null: set[str]) -> tuple[str, ...]:
    keys = []
    for (index,) in connection.execute(
        'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial', (table,)
    ).fetchall():
        columns = tuple(
            row[0] for row in connection.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,))
        )
        if None not in columns and never_null.issuperset(columns):
            keys.append(columns)
    return min(keys, key=lambda columns: (len(columns), columns), default=())


def _with_extremes(connection: sqlite3.Connection, table: SqliteTable, info: ColumnInfo, *, scan: bool) -> ColumnInfo:
    instant = pa.types.is_timestamp(info.type) or pa.types.is_date(info.type)
    is_key = table.key == (info.name,)
    if not (instant and scan) and not (pa.types.is_integer(info.type) and (scan or is_key)):
        return info
    column = quote(info.name)
    low, high = connection.execute(f"SELECT min({column}), max({column}) FROM {quote(table.name)}").fetchone()
    minimum, maximum = _canonical(low, info.type), _canonical(high, info.type)
    return info if minimum is None or maximum is None else replace(info, minimum=minimum, maximum=maximum)


def _canonical(value: Any, dtype: pa.DataType) -> str | None:
    if pa.types.is_integer(dtype):
        return str(value) if isinstance(value, int) else None
    micros = instant_micros(value)
    if micros is None:
        return None
    instant = from_micros(micros)
    return instant.date().isoformat() if pa.types.is_date(dtype) else cursor.encode(instant, dtype)


def _width(row: Sequence[Any]) -> int:
    return sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)

"""Pages of one SQLite table, each measured at the source before its values are fetched.

A page is two statements in one read transaction: the first walks keys and sizes until the page is full, the second
fetches the values up to there, without the rows that are too wide.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from import_platform.core.budget import format_bytes
from import_platform.core.rejected import RejectedRow
from import_platform.errors import SourceRejected
from import_platform.sources.conform import as_text, keep_in_range
from import_platform.sources.protocol import Page, ReadRequest, Token
from import_platform.sources.sqlite_catalog import SqliteTable, quote
from import_platform.sources.sqlite_predicates import conditions
from import_platform.sources.sqlite_types import to_array

_VALUE_BYTES = 16  # what a number or NULL weighs besides the bytes of text and blobs
_ROWS_MAX = 100_000


@dataclass(frozen=True)
class _Phase:
    """Rows in one order: `order` are SQL expressions whose values are a place to go on from."""

    name: str
    order: tuple[str, ...]
    where: tuple[str, ...]


def read_pages(connection: sqlite3.Connection, table: SqliteTable, request: ReadRequest) -> Iterator[Page]:
    """Rows whose key has no NULL in key order, then the others; the rowid breaks ties, so every page has a token."""
    keys = tuple(quote(name) for name in request.primary_key)
    tie = (table.place,) if table.place is not None else tuple(map(quote, table.key))
    unique = bool(table.key) and set(table.key) <= set(request.primary_key)
    nullable = [quote(name) for name in request.primary_key if name in table.nullable]
    if not keys and not tie:
        yield from _in_one_piece(connection, table, request)
        return
    order = keys if unique and keys else (*keys, *tie)
    phases = [_Phase("after", order, tuple(f"{name} IS NOT NULL" for name in nullable))]
    if nullable:
        absent = " OR ".join(f"{name} IS NULL" for name in nullable)
        phases.append(_Phase("nulls", tie, (f"({absent})",)))
    token = request.after
    for phase in phases:
        if token is not None and phase.name not in token:
            if phase.name == "after":
                continue  # the token is of the later phase
            token = None
        yield from _phase(connection, table, request, phase, token)
        token = None


def _phase(
    connection: sqlite3.Connection, table: SqliteTable, request: ReadRequest, phase: _Phase, token: Token | None
) -> Iterator[Page]:
    place = None if token is None else [_from_json(value) for value in token[phase.name]]
    while True:
        measured = _measure(connection, table, request, phase, place)
        if measured is None:
            return
        last, wide = measured
        rows = _fetch(connection, table, request, phase, place, last)
        yield _page(request, rows, {phase.name: [_to_json(value) for value in last]}, wide)
        place = last


def _measure(
    connection: sqlite3.Connection, table: SqliteTable, request: ReadRequest, phase: _Phase, place: Sequence[Any] | None
) -> tuple[list[Any], list[RejectedRow]] | None:
    """Where the page ends, and its rows that are too wide; None when there are no more rows."""
    where, parameters = _where(table, request, phase, place)
    keys = ", ".join(quote(name) for name in request.primary_key) or "NULL"
    sql = f"SELECT {_width_sql(request.columns)}, {', '.join(phase.order)}, {keys} FROM {quote(table.name)}{where}" \
          f" ORDER BY {', '.join(phase.order)} LIMIT {_ROWS_MAX}"  # fmt: skip
    full, last, wide = 0, None, []
    walk = connection.execute(sql, parameters)
    for row in walk:
        width, last = row[0], list(row[1 : 1 + len(phase.order)])
        if request.row_bytes_max is not None and width > request.row_bytes_max:
            key = dict(zip(request.primary_key, map(as_text, row[1 + len(phase.order) :]), strict=False))
            wide.append(_too_wide(connection, table, request, phase, last, key))
        else:
            full += width
        if full >= request.page_bytes:
            break
    walk.close()  # an open statement would keep its place in the file locked
    return None if last is None else (last, wide)


def _fetch(
    connection: sqlite3.Connection, table: SqliteTable, request: ReadRequest, phase: _Phase,
    place: Sequence[Any] | None, last: Sequence[Any],
) -> list[tuple[Any, ...]]:  # fmt: skip
    where, parameters = _where(table, request, phase, place)
    joined = f"{where} AND" if where else " WHERE"
    sql = f"SELECT {', '.join(map(quote, request.columns))} FROM {quote(table.name)}{joined} {_compare(phase.order, '<=')}"
    parameters = [*parameters, *last]
    if request.row_bytes_max is not None:
        sql += f" AND {_width_sql(request.columns)} <= ?"
        parameters.append(request.row_bytes_max)
    return _fetch_all(connection, f"{sql} ORDER BY {', '.join(phase.order)}", parameters)


def _in_one_piece(connection: sqlite3.Connection, table: SqliteTable, request: ReadRequest) -> Iterator[Page]:
    """A view: no place to go on from, so only the last page has a token, and each page is counted off in rows."""
    if request.after is not None:
        return
    parts, parameters = conditions(table, request)
    sql = f"SELECT {', '.join(map(quote, request.columns))} FROM {quote(table.name)}{_and(parts)}"
    found = connection.execute(sql, parameters)
    rows: list[tuple[Any, ...]] = []
    full = 0
    for row in found:
        rows.append(row)
        full += sum(len(value) if isinstance(value, (str, bytes)) else _VALUE_BYTES for value in row)
        if full >= request.page_bytes:
            yield _page(request, rows, None, [])
            rows, full = [], 0
    yield _page(request, rows, {"done": True}, [])


def _fetch_all(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" not in str(error).lower():
            raise
    strict = connection.text_factory
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.text_factory = strict


def _page(request: ReadRequest, rows: Sequence[tuple[Any, ...]], token: Token | None, wide: list[RejectedRow]) -> Page:
    schema = pa.schema([request.table.arrow_schema.field(name) for name in request.columns])
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays: list[pa.Array] = []
    misfits: dict[int, pa.Field] = {}
    for field, values in zip(schema, columns, strict=True):
        array, bad = to_array(values, field.type)
        arrays.append(array)
        for position in bad:
            misfits.setdefault(position, field)
    rejected = [_misfit(request, rows[position], field) for position, field in sorted(misfits.items())]
    if misfits:
        keep = pa.array([position not in misfits for position in range(len(rows))])
        arrays = [array.filter(keep) for array in arrays]
    batch = keep_in_range(pa.RecordBatch.from_arrays(arrays, schema=schema), request.range)
    return Page(batch, token, (*wide, *rejected))


def _misfit(request: ReadRequest, row: tuple[Any, ...], field: pa.Field) -> RejectedRow:
    texts = {name: _printable(as_text(value)) for name, value in zip(request.columns, row, strict=True)}
    key = {name: texts.get(name) for name in request.primary_key}
    reason = f"the value does not fit {field.type}"
    return RejectedRow(key=key, column=field.name, reason=reason, row=json.dumps(texts, ensure_ascii=False))


def _too_wide(
    connection: sqlite3.Connection, table: SqliteTable, request: ReadRequest, phase: _Phase, place: Sequence[Any],
    key: dict[str, str | None],
) -> RejectedRow:  # fmt: skip
    sizes = ", ".join(_size(name) for name in request.columns)
    sql = f"SELECT {sizes} FROM {quote(table.name)} WHERE {_compare(phase.order, '=')} LIMIT 1"
    found = dict(zip(request.columns, connection.execute(sql, list(place)).fetchone(), strict=True))
    widest = sorted(found, key=lambda name: -found[name])[:5]
    listed = ", ".join(f"{name} {found[name]} B" for name in widest)
    limit = request.row_bytes_max or 0
    reason = f"the row has {format_bytes(sum(found.values()))} and at most {format_bytes(limit)} are fetched ({listed})"
    return RejectedRow(key=key, column=widest[0], reason=reason, row=None)


def _where(
    table: SqliteTable, request: ReadRequest, phase: _Phase, place: Sequence[Any] | None
) -> tuple[str, list[Any]]:
    parts, parameters = conditions(table, request)
    parts = [*parts, *phase.where]
    if place is not None:
        parts.append(_compare(phase.order, ">"))
        parameters = [*parameters, *place]
    return _and(parts), list(parameters)


def _and(parts: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def _compare(order: Sequence[str], operator: str) -> str:
    """A row-value comparison: SQLite compares it by the columns' own collations, as it sorts them."""
    if len(order) == 1:
        return f"{order[0]} {operator} ?"
    return f"({', '.join(order)}) {operator} ({', '.join('?' for _ in order)})"


def _width_sql(columns: Sequence[str]) -> str:
    """Bytes of a row's values. For blobs and for `typeof` SQLite looks at the record's header alone."""
    parts = [_size(name) for name in columns]
    while len(parts) > 1:  # a balanced tree: SQLite limits the depth of an expression to 1,000
        parts = [f"({' + '.join(parts[start : start + 2])})" for start in range(0, len(parts), 2)]
    return parts[0]


def _size(name: str) -> str:
    column = quote(name)
    return f"CASE typeof({column}) WHEN 'text' THEN length(CAST({column} AS BLOB)) WHEN 'blob' THEN length({column})" \
           f" ELSE {_VALUE_BYTES} END"  # fmt: skip


def _printable(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _to_json(value: Any) -> Any:
    return {"blob": value.hex()} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["blob"])
    if value is None:
        raise SourceRejected(
            "a page cannot go on behind NULL", remedy="Start the read of this table from its beginning."
        )
    return value

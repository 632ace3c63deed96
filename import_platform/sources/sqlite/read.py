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
from import_platform.core.wording import type_text
from import_platform.sources.conform import as_text, keep_in_range
from import_platform.sources.protocol import Page, ReadRequest, Token
from import_platform.sources.sqlite.catalog import SqliteTable, lenient_text, quote
from import_platform.sources.sqlite.predicates import conditions
from import_platform.sources.sqlite.types import to_array
from import_platform.sources.too_wide import wide_row

_VALUE_BYTES = 16  # what a number or NULL weighs besides the bytes of text and blobs
_ROWS_MAX = 100_000


@dataclass(frozen=True)
class _Phase:
    """Rows in one order: `order` are SQL expressions whose values are a place to go on from, and never NULL."""

    name: str
    order: tuple[str, ...]
    where: tuple[str, ...] = ()


def read_pages(connection: sqlite3.Connection, table: SqliteTable, request: ReadRequest) -> Iterator[Page]:
    """Rows whose key has no NULL in key order, then the others; the rowid breaks ties, so every page has a token."""
    reader = _Reader(connection, table, request)
    phases = _phases(table, request)
    if not phases:
        yield from reader.in_one_piece()
        return
    token = request.after
    names = [phase.name for phase in phases]
    for phase in phases[names.index(next(iter(token))) if token else 0 :]:
        yield from reader.in_order(phase, None if token is None else token.get(phase.name))


def _phases(table: SqliteTable, request: ReadRequest) -> list[_Phase]:
    keys = tuple(quote(name) for name in request.primary_key)
    tie = (table.place,) if table.place is not None else tuple(map(quote, table.key))
    unique = bool(table.key) and set(table.key) <= set(request.primary_key)
    nullable = [quote(name) for name in request.primary_key if name in table.nullable]
    if not tie and not unique:
        return []
    phases = [
        _Phase("after", keys if unique and keys else (*keys, *tie), tuple(f"{name} IS NOT NULL" for name in nullable))
    ]
    if nullable:
        phases.append(_Phase("nulls", tie, (f"({' OR '.join(f'{name} IS NULL' for name in nullable)})",)))
    return phases


class _Reader:
    def __init__(self, connection: sqlite3.Connection, table: SqliteTable, request: ReadRequest) -> None:
        self._connection = connection
        self._request = request
        self._source = quote(table.name)
        self._columns = ", ".join(map(quote, request.columns))
        self._width = _sum([_size(name) for name in request.columns])
        self._parts, self._parameters = conditions(table, request)
        promised = request.table.arrow_schema
        self._schema = pa.schema([promised.field(name) for name in request.columns])
        if request.row_bytes_max is not None:
            # To measure a text SQLite loads it; past this it says so instead. Half as much again, so that a row that is
            # only a little too wide is measured and told with its sizes.
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(request.row_bytes_max * 3 // 2, 1 << 20))

    def in_order(self, phase: _Phase, token: Sequence[Any] | None) -> Iterator[Page]:
        place = None if token is None else [_from_json(value) for value in token]
        while (measured := self._measure(phase, place)) is not None:
            last, wide, empty = measured
            rows = [] if empty else self._fetch(phase, place, last)
            page = self._page(rows, {phase.name: [_to_json(value) for value in last]}, wide)
            del rows
            yield page
            del page  # not to hold one page while the next is fetched
            place = last

    def in_one_piece(self) -> Iterator[Page]:
        """A view: no place to go on from, so only the last page has a token. Wide rows come first, as sizes."""
        if self._request.after is not None:
            return
        limit = self._request.row_bytes_max
        within: list[str] = [] if limit is None else [f"{self._width} <= {limit}"]
        wide = [] if limit is None else self._wide_rows_of_a_view(limit)
        rows: list[tuple[Any, ...]] = []
        full = 0
        sql = f"SELECT {self._columns} FROM {self._source}{_and([*self._parts, *within])}"
        with lenient_text(self._connection):
            for row in self._connection.execute(sql, self._parameters):
                rows.append(row)
                full += sum(len(value) if isinstance(value, (str, bytes)) else _VALUE_BYTES for value in row)
                if full >= self._request.page_bytes:
                    yield self._page(rows, None, wide)
                    rows, full, wide = [], 0, []
        yield self._page(rows, {"done": True}, wide)

    def _measure(self, phase: _Phase, place: Sequence[Any] | None) -> tuple[list[Any], list[RejectedRow], bool] | None:
        """Where the page ends, its rows that are too wide, and whether it holds nothing else; None when there are no
        more rows."""
        where, parameters = self._where(phase, place)
        keys = "".join(f", {quote(name)}" for name in self._request.primary_key)
        order = ", ".join(phase.order)
        sql = f"SELECT {self._width}, {order}{keys} FROM {self._source}{where} ORDER BY {order} LIMIT {_ROWS_MAX}"
        limit = self._request.row_bytes_max
        full, last, wide = 0, None, []
        walk = self._connection.execute(sql, parameters)
        try:
            for row in walk:
                last = list(row[1 : 1 + len(phase.order)])
                if limit is not None and row[0] > limit:
                    wide.append(self._too_wide(phase, last, row[1 + len(phase.order) :]))
                else:
                    full += row[0]
                if full >= self._request.page_bytes:
                    break
        except sqlite3.DataError as error:
            if not is_too_big(error):
                raise
            if last is None:  # the page is this row alone; else it ends in front of it
                last, key = self._next_place(phase, place)
                return last, [self._unmeasured(phase, last, key)], True
        finally:
            walk.close()  # an open statement would keep its place in the file locked
        return None if last is None else (last, wide, False)

    def _next_place(self, phase: _Phase, place: Sequence[Any] | None) -> tuple[list[Any], Sequence[Any]]:
        """Where the next row is, and its key, without looking at its other values."""
        where, parameters = self._where(phase, place)
        outputs = ", ".join([*phase.order, *(quote(name) for name in self._request.primary_key)])
        order = ", ".join(phase.order)
        sql = f"SELECT {outputs} FROM {self._source}{where} ORDER BY {order} LIMIT 1"
        row = self._connection.execute(sql, parameters).fetchone()
        return list(row[: len(phase.order)]), row[len(phase.order) :]

    def _unmeasured(self, phase: _Phase, place: Sequence[Any], key: Sequence[Any]) -> RejectedRow:
        """The record of a row with a value that SQLite would have to load to measure it."""
        named = dict(zip(self._request.primary_key, map(as_text, key), strict=True))
        limit = self._request.row_bytes_max or 0
        reason = f"a value of the row has more than {format_bytes(limit)}, and at most that is fetched"
        column = self._request.columns[0]
        for name in self._request.columns:
            sql = f"SELECT {_size(name)} FROM {self._source} WHERE {_compare(phase.order, '=')} LIMIT 1"
            try:
                self._connection.execute(sql, list(place)).fetchone()
            except sqlite3.DataError:
                column = name
                break
        return RejectedRow(key=named, column=column, reason=reason, row=None)

    def _fetch(self, phase: _Phase, place: Sequence[Any] | None, last: Sequence[Any]) -> list[tuple[Any, ...]]:
        until = [_compare(phase.order, "<=")]
        if self._request.row_bytes_max is not None:
            until.append(f"{self._width} <= {self._request.row_bytes_max}")
        where, parameters = self._where(phase, place, until)
        sql = f"SELECT {self._columns} FROM {self._source}{where} ORDER BY {', '.join(phase.order)}"
        return self._fetch_all(sql, [*parameters, *last])

    def _where(self, phase: _Phase, place: Sequence[Any] | None, until: Sequence[str] = ()) -> tuple[str, list[Any]]:
        behind = [] if place is None else [_compare(phase.order, ">")]
        return _and([*self._parts, *phase.where, *behind, *until]), [*self._parameters, *(place or ())]

    def _fetch_all(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error).lower():
                raise
        with lenient_text(self._connection):
            return self._connection.execute(sql, parameters).fetchall()

    def _page(self, rows: Sequence[tuple[Any, ...]], token: Token | None, wide: list[RejectedRow]) -> Page:
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self._schema)
        arrays: list[pa.Array] = []
        misfits: dict[int, pa.Field] = {}
        for field, values in zip(self._schema, columns, strict=True):
            array, bad = to_array(values, field.type)
            arrays.append(array)
            for position in bad:
                misfits.setdefault(position, field)
        rejected = [self._misfit(rows[position], field) for position, field in sorted(misfits.items())]
        if misfits:
            keep = pa.array([position not in misfits for position in range(len(rows))])
            arrays = [array.filter(keep) for array in arrays]
        batch = keep_in_range(pa.RecordBatch.from_arrays(arrays, schema=self._schema), self._request.range)
        return Page(batch, token, (*wide, *rejected))

    def _misfit(self, row: tuple[Any, ...], field: pa.Field) -> RejectedRow:
        texts = {name: _printable(as_text(value)) for name, value in zip(self._request.columns, row, strict=True)}
        key = {name: texts.get(name) for name in self._request.primary_key}
        reason = f"the value does not fit {type_text(field.type)}"
        return RejectedRow(key=key, column=field.name, reason=reason, row=json.dumps(texts, ensure_ascii=False))

    def _too_wide(self, phase: _Phase, place: Sequence[Any], key: Sequence[Any]) -> RejectedRow:
        sizes = ", ".join(_size(name) for name in self._request.columns)
        sql = f"SELECT {sizes} FROM {self._source} WHERE {_compare(phase.order, '=')} LIMIT 1"
        named = dict(zip(self._request.primary_key, map(as_text, key), strict=True))
        return self._wide_row(self._connection.execute(sql, list(place)).fetchone(), named)

    def _wide_rows_of_a_view(self, limit: int) -> list[RejectedRow]:
        sizes = ", ".join(_size(name) for name in self._request.columns)
        where = _and([*self._parts, f"{self._width} > {limit}"])
        found = self._connection.execute(f"SELECT {sizes} FROM {self._source}{where}", self._parameters)
        return [self._wide_row(row, {}) for row in found]

    def _wide_row(self, sizes: Sequence[int], key: dict[str, str | None]) -> RejectedRow:
        found = dict(zip(self._request.columns, sizes, strict=True))
        return wide_row(found, limit_bytes=self._request.row_bytes_max or 0, key=key)


def is_too_big(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") == "SQLITE_TOOBIG"


def _and(parts: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def _compare(order: Sequence[str], operator: str) -> str:
    """A row-value comparison: SQLite compares it by the columns' own collations, as it sorts them."""
    if len(order) == 1:
        return f"{order[0]} {operator} ?"
    return f"({', '.join(order)}) {operator} ({', '.join('?' for _ in order)})"


def _sum(parts: Sequence[str]) -> str:
    """A balanced tree: SQLite limits the depth of an expression to 1,000, and a table may have 2,000 columns."""
    while len(parts) > 1:
        parts = [f"({' + '.join(parts[start : start + 2])})" for start in range(0, len(parts), 2)]
    return parts[0]


def _size(name: str) -> str:
    """Bytes of a value. For blobs and for `typeof` SQLite looks at the record's header alone."""
    column = quote(name)
    text = f"length(CAST({column} AS BLOB))"
    return f"CASE typeof({column}) WHEN 'text' THEN {text} WHEN 'blob' THEN length({column}) ELSE {_VALUE_BYTES} END"


def _printable(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _to_json(value: Any) -> Any:
    return {"blob": value.hex()} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Any:
    return bytes.fromhex(value["blob"]) if isinstance(value, dict) else value

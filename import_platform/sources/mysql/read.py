"""Pages of one MySQL table: in key order where there is a key, else in the order of a hash of its rows.

MySQL shows no physical place of a row, so the hash is what a read without a key goes on from. Rows stream one by one
through an unbuffered cursor, and a page ends when its bytes are full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from import_platform.core.rejected import RejectedRow
from import_platform.sources.clauses import where
from import_platform.sources.conform import check_promised, keep_in_range, without_misfits
from import_platform.sources.mysql.catalog import MyColumn, MyTable
from import_platform.sources.mysql.predicates import range_sql, window_sql
from import_platform.sources.mysql.session import Row, Transaction
from import_platform.sources.mysql.sql import MARK, after_key, column_reference
from import_platform.sources.mysql.types import (
    BYTES,
    arrow_type,
    expression,
    key_literal,
    order_expression,
    token_expression,
)
from import_platform.sources.mysql.values import to_array
from import_platform.sources.mysql.width import WidthCheck, width_check
from import_platform.sources.protocol import Page, ReadRequest, Token

_VALUE_BYTES = 16  # what a value weighs besides its text
_HASH_WIDE = 1 << 16


@dataclass(frozen=True)
class _Order:
    """`by` is what rows are ordered by, `texts` are the same values in a form that a token keeps."""

    by: tuple[str, ...]
    texts: tuple[str, ...]
    unique: bool


def read_pages(transaction: Transaction, table: MyTable, request: ReadRequest) -> Iterator[Page]:
    """Rows whose key has no NULL in key order, then the others, which have no order to resume in."""
    reader = _Reader(transaction, table, request)
    ordering = request.primary_key
    if not ordering and request.window is not None and request.window.after is not None:
        ordering = (request.window.column,)  # an append read: by its cursor, which an index may serve
    if ordering:
        yield from reader.by_key([table.column(name) for name in ordering])
    else:
        yield from reader.by_hash()


class _Reader:
    def __init__(self, transaction: Transaction, table: MyTable, request: ReadRequest) -> None:
        self._transaction = transaction
        self._table = table
        self._request = request
        self._columns = tuple(_checked(table, request, name) for name in request.columns)
        promised = request.table.arrow_schema
        self._schema = pa.schema([promised.field(name) for name in request.columns])
        self._width: WidthCheck | None = width_check(self._columns, request.row_bytes_max)
        self._places: tuple[int, ...] = ()
        self._conditions = [
            part for part in (window_sql(table, request.window), range_sql(table, request.range)) if part is not None
        ]

    def by_key(self, keys: Sequence[MyColumn]) -> Iterator[Page]:
        token = self._request.after or {}
        unique = bool(self._table.key) and set(self._table.key) <= {key.name for key in keys}
        order = _Order(
            tuple(order_expression(key.type, column_reference(key.name), unique=unique) for key in keys),
            tuple(token_expression(key.type, column_reference(key.name)) for key in keys),
            unique,
        )
        hidden = self._use_key(keys, order)
        nullable = [column_reference(key.name) for key in keys if not key.not_null]
        if "nulls" not in token:
            conditions = [f"{name} IS NOT NULL" for name in nullable]
            if "after" in token:
                pairs = zip(keys, token["after"], strict=True)
                values = [key_literal(key.type, value, unique=unique) for key, value in pairs]
                conditions.append(after_key(order.by, values))
            yield from self._resumable(conditions, order, hidden)
        if nullable and token.get("nulls") != "done":
            absent = f"({' OR '.join(f'{name} IS NULL' for name in nullable)})"
            yield from self._whole([absent], hidden)

    def by_hash(self) -> Iterator[Page]:
        digest = f"MD5(CONCAT_WS('|', {', '.join(map(_hashed, self._table.columns))}))"
        self._places = (len(self._columns),)
        token = self._request.after
        behind = [f"{digest} > '{int(token['after'][0], 16):032x}'"] if token is not None else []
        yield from self._resumable(behind, _Order((digest,), (digest,), unique=False), [digest])

    def _resumable(self, conditions: Sequence[str], order: _Order, hidden: Sequence[str]) -> Iterator[Page]:
        """Pages with a token each, but none where equal keys straddle two pages: `> key` would skip the rest."""
        yield from self._wide_first(conditions, hidden)
        rows: list[Row] = []
        held = 0
        for row in self._rows(conditions, order.by, hidden):
            if held >= self._request.page_bytes:
                last = self._key(rows[-1])
                yield self._page(rows, {"after": last} if order.unique or self._key(row) != last else None)
                held = 0
            rows.append(row)
            held += _bytes(row)
            if order.unique and held >= self._request.page_bytes:  # not to hold a wide row and the one behind it
                yield self._page(rows, {"after": self._key(row)})
                held = 0
        if rows:
            yield self._page(rows, {"after": self._key(rows[-1])})

    def _whole(self, conditions: Sequence[str], hidden: Sequence[str]) -> Iterator[Page]:
        yield from self._wide_first(conditions, hidden)
        rows: list[Row] = []
        held = 0
        for row in self._rows(conditions, (), hidden):
            rows.append(row)
            held += _bytes(row)
            if held >= self._request.page_bytes:
                yield self._page(rows, None)
                held = 0
        yield self._page(rows, {"nulls": "done"})

    def _rows(self, conditions: Sequence[str], order: Sequence[str], hidden: Sequence[str]) -> Iterator[Row]:
        """The rows, a wide one as its key and sizes; last in each are the sizes where widths are checked."""
        every = [*self._conditions, *conditions]
        plain = [expression(column.type, column_reference(column.name)) for column in self._columns]
        if self._width is None:
            outputs = [*plain, *hidden]
        elif self._width.is_inline:
            *values, sizes = self._width.outputs(self._columns)
            outputs = [*values, *hidden, sizes]
        else:
            outputs = [*plain, *hidden, "NULL"]
            every.append(f"{self._width.row_bytes} <= {self._width.limit_bytes}")
        yield from self._transaction.stream(self._select(outputs, every, order))

    def _wide_first(self, conditions: Sequence[str], hidden: Sequence[str]) -> Iterator[Page]:
        """Where the check does not fit into the statement of the rows: the wide ones by a statement of their own."""
        width = self._width
        if width is None or width.is_inline:
            return
        values = [
            "NULL" if column.name in width.names else expression(column.type, column_reference(column.name))
            for column in self._columns
        ]
        wide = [*self._conditions, *conditions, f"{width.row_bytes} > {width.limit_bytes}"]
        rows = list(self._transaction.stream(self._select([*values, *hidden, width.sizes], wide, ())))
        if rows:
            yield self._page(rows, None)

    def _select(self, outputs: Sequence[str], conditions: Sequence[str], order: Sequence[str]) -> str:
        by = f" ORDER BY {', '.join(order)}" if order else ""
        return f"SELECT {MARK} {', '.join(outputs)} FROM {self._table.sql} AS t{where(conditions)}{by}"

    def _use_key(self, keys: Sequence[MyColumn], order: _Order) -> list[str]:
        """Remembers where each key stands in a row; one that the columns do not hold exactly is fetched besides."""
        hidden: list[str] = []
        places = []
        for key, text in zip(keys, order.texts, strict=True):
            wide = self._width is not None and key.name in self._width.names
            if (
                key.name in self._request.columns
                and text == expression(key.type, column_reference(key.name))
                and not wide
            ):
                places.append(self._request.columns.index(key.name))
            else:
                places.append(len(self._columns) + len(hidden))
                hidden.append(text)
        self._places = tuple(places)
        return hidden

    def _key(self, row: Row) -> list[str | None]:
        return [None if (value := row[place]) is None else value.decode(errors="replace") for place in self._places]

    def _named_key(self, row: Row) -> dict[str, str | None]:
        names = self._request.primary_key
        return dict(zip(names, self._key(row), strict=True)) if names else {}

    def _page(self, rows: list[Row], token: Token | None) -> Page:
        """Takes the rows out of the list, so that they and their batch are not held longer than needed."""
        found = list(rows)
        rows.clear()
        rejected: list[RejectedRow] = []
        if self._width is not None:
            width = self._width
            rejected = [width.reject(row[-1], self._named_key(row)) for row in found if row[-1] is not None]
            found = [row for row in found if row[-1] is None]
        columns = list(zip(*found, strict=True)) if found else [()] * len(self._schema)
        fitted = [to_array(values, field.type) for values, field in zip(columns, self._schema, strict=False)]
        batch, misfits = without_misfits(
            fitted, self._schema, key_of=lambda at: self._named_key(found[at]), row_of=lambda at: found[at]
        )
        return Page(keep_in_range(batch, self._request.range), token, (*rejected, *misfits))


def _bytes(row: Row) -> int:
    return sum([_VALUE_BYTES if value is None else len(value) + _VALUE_BYTES for value in row])


def _hashed(column: MyColumn) -> str:
    """Wide values by their own hash: a concatenation longer than max_allowed_packet would be NULL."""
    reference = column_reference(column.name)
    return f"MD5({reference})" if column.type.bytes_max > _HASH_WIDE or column.type.name in BYTES else reference


def _checked(table: MyTable, request: ReadRequest, name: str) -> MyColumn:
    """The column as it is now, if its values still have the type that discovery promised."""
    column = table.column(name)
    check_promised(request, name, arrow_type(column.type))
    return column

"""Pages of one PostgreSQL table: in key order where there is a key, else in the physical order of its rows.

Either way the whole read is one COPY stream per phase, and every page ends at a place that a later read can go on from:
behind a key, or behind a row's physical place (ctid).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from import_platform.core.rejected import RejectedRow
from import_platform.sources.conform import as_text, check_promised, conform, keep_in_range, scalar
from import_platform.sources.postgres.catalog import PgColumn, PgTable
from import_platform.sources.postgres.predicates import range_sql, window_sql
from import_platform.sources.postgres.session import Transaction
from import_platform.sources.postgres.sql import after_key, column_reference, source, typed_literal
from import_platform.sources.postgres.types import (
    arrow_type,
    column_expression,
    has_native_order,
    is_exact_as_fetched,
    order_expression,
    text_expression,
)
from import_platform.sources.postgres.width import WidthCheck, width_check
from import_platform.sources.protocol import Page, ReadRequest, Token, TokenExpired

_PHYSICAL_ORDER = {
    # With these a scan delivers rows in the order of their ctid: no index, no parallel workers, no start in the middle.
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "0",
    "synchronize_seqscans": "off",
}


@dataclass(frozen=True)
class _Statement:
    """One SELECT whose batches become pages. `hidden` are expressions fetched behind the columns, for tokens only."""

    relation: str
    conditions: tuple[str, ...]
    order: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


def read_pages(transaction: Transaction, table: PgTable, request: ReadRequest) -> Iterator[Page]:
    """The pages of a request. Raises TokenExpired when the token's physical places are gone (a rewritten table)."""
    reader = _Reader(transaction, table, request)
    ordering = request.primary_key
    if not ordering and request.window is not None and request.window.after is not None:
        ordering = (request.window.column,)  # an append read: by its cursor, which an index may serve
    if ordering:
        yield from reader.by_key(ordering)
        return
    pieces = _physical_pieces(transaction, table)
    if pieces is None:
        yield from reader.in_one_piece()
    else:
        transaction.set(_PHYSICAL_ORDER)
        yield from reader.by_place(pieces)


class _Reader:
    def __init__(self, transaction: Transaction, table: PgTable, request: ReadRequest) -> None:
        self._transaction = transaction
        self._table = table
        self._request = request
        self._columns = tuple(_checked(table, request, name) for name in request.columns)
        promised = request.table.arrow_schema
        self._schema = pa.schema([promised.field(name) for name in request.columns])
        self._width: WidthCheck | None = width_check(table, self._columns, request.row_bytes_max)
        self._key_columns: tuple[int, ...] = ()

    def by_key(self, names: Sequence[str]) -> Iterator[Page]:
        """First the rows whose key has no NULL, in key order, then the others, which have no order to resume in."""
        token = self._request.after or {}
        keys = [self._table.column(name) for name in names]
        hidden = self._use_key(keys)
        order = tuple(order_expression(key.type, column_reference(key.name)) for key in keys)
        nullable = [column_reference(key.name) for key in keys if not key.not_null]
        conditions = self._conditions()
        if "nulls" not in token:
            present = [f"{name} IS NOT NULL" for name in nullable]
            behind = [after_key(order, _key_values(keys, token["after"]))] if "after" in token else []
            statement = _Statement(self._table.sql, (*conditions, *present, *behind), order=order, hidden=hidden)
            yield from self._resumable(statement, unique=bool(self._table.key) and set(self._table.key) <= set(names))
        if nullable and token.get("nulls") != "done":
            absent = f"({' OR '.join(f'{name} IS NULL' for name in nullable)})"
            yield from self._whole(
                _Statement(self._table.sql, (*conditions, absent), hidden=hidden), end={"nulls": "done"}
            )

    def by_place(self, pieces: Sequence[Mapping[str, Any]]) -> Iterator[Page]:
        """Piece by piece (a partitioned table's leaves, else the table itself), each in the order of its blocks."""
        low, high = self._request.options.get("block_range", (None, None))
        blocks = [
            f"t.ctid {operator} {typed_literal(f'({int(block)},0)', 'tid')}"
            for operator, block in ((">=", low), ("<", high))
            if block is not None
        ]
        token = self._request.after
        pieces = _from_token(pieces, token)
        for piece in pieces:
            conditions = (*self._conditions(), *blocks)
            if self._table.where is not None:
                conditions = (*conditions, f"({self._table.where}\n)")
            if token is not None and piece["oid"] == token["oid"]:
                conditions = (*conditions, f"t.ctid > {typed_literal(token['place'], 'tid')}")
            statement = _Statement(f"ONLY {piece['sql']}", conditions, hidden=("t.ctid::text",))
            place_column = len(self._columns)
            for raw in self._batches(statement):
                place = str(raw.column(place_column)[raw.num_rows - 1].as_py())
                yield self._page(raw, {"oid": piece["oid"], "file": piece["file"], "place": place})

    def in_one_piece(self) -> Iterator[Page]:
        """A view or foreign table without a key: the rows are whole only at the end."""
        if self._request.after is None:
            yield from self._whole(_Statement(self._table.sql, self._conditions()), end={"done": True})

    def _resumable(self, statement: _Statement, *, unique: bool) -> Iterator[Page]:
        """Pages with a token each, but none where equal keys straddle two pages: `> key` would skip the rest."""
        if unique:
            for raw in self._batches(statement):
                yield self._page(raw, {"after": self._key_at(raw, raw.num_rows - 1)})
            return
        for raw, following in _with_next(self._batches(statement)):
            last = self._key_at(raw, raw.num_rows - 1)
            straddles = following is not None and self._key_at(following, 0) == last
            yield self._page(raw, None if straddles else {"after": last})

    def _whole(self, statement: _Statement, *, end: Token) -> Iterator[Page]:
        for raw, following in _with_next(self._batches(statement)):
            yield self._page(raw, end if following is None else None)

    def _batches(self, statement: _Statement) -> Iterator[pa.RecordBatch]:
        sql = _select(statement, self._columns, self._width)
        for batch in self._transaction.stream(sql, batch_bytes=self._request.page_bytes):
            if batch.num_rows:
                yield batch

    def _conditions(self) -> tuple[str, ...]:
        conditions = [
            window_sql(self._table, self._request.window),
            range_sql(self._table, self._request.range),
            *self._key_range(),
        ]
        return tuple(condition for condition in conditions if condition is not None)

    def _key_range(self) -> Iterator[str]:
        """Bounds of the first key column, for a reader of one range of keys."""
        lower, upper = self._request.options.get("key_range", (None, None))
        key = self._table.column(self._request.primary_key[0]) if lower is not None or upper is not None else None
        for operator, value in ((">=", lower), ("<", upper)):
            if key is not None and value is not None:
                order = order_expression(key.type, column_reference(key.name))
                yield f"{order} {operator} {_key_values([key], [value])[0]}"

    def _use_key(self, keys: Sequence[PgColumn]) -> tuple[str, ...]:
        """Remembers where each key stands in a batch; one that the columns do not hold exactly is fetched as text."""
        hidden: list[str] = []
        places = []
        for key in keys:
            if key.name in self._request.columns and is_exact_as_fetched(key.type) and not self._may_be_wide(key):
                places.append(self._request.columns.index(key.name))
            else:
                places.append(len(self._columns) + len(hidden))
                hidden.append(text_expression(column_reference(key.name)))
        self._key_columns = tuple(places)
        return tuple(hidden)

    def _may_be_wide(self, column: PgColumn) -> bool:
        return self._width is not None and column.name in self._width.names

    def _key_at(self, raw: pa.RecordBatch, position: int) -> list[str | None]:
        return [as_text(scalar(raw.column(place), position)) for place in self._key_columns]

    def _page(self, raw: pa.RecordBatch, token: Token | None) -> Page:
        rejected: tuple[RejectedRow, ...] = ()
        if self._width is not None:
            wide = self._width.rows(raw)
            rejected = tuple(self._width.reject(raw, position, self._named_key(raw, position)) for position in wide)
            if wide:
                raw = self._width.without(raw, wide)
        kept, misfits = conform(
            raw.select(range(len(self._columns))), self._schema, key_of=lambda position: self._named_key(raw, position)
        )
        return Page(keep_in_range(kept, self._request.range), token, rejected + misfits)

    def _named_key(self, raw: pa.RecordBatch, position: int) -> dict[str, str | None]:
        names = self._request.primary_key  # none where the read only goes by a cursor
        return dict(zip(names, self._key_at(raw, position), strict=True)) if names else {}


def _select(statement: _Statement, columns: Sequence[PgColumn], width: WidthCheck | None) -> str:
    from_where = source(statement.relation, statement.conditions)
    order = f" ORDER BY {', '.join(statement.order)}" if statement.order else ""
    if width is not None:
        return width.select(columns, hidden=statement.hidden, source=from_where + order)
    outputs = [column_expression(column.type, column.name) for column in columns] + list(statement.hidden)
    named = ", ".join(f"{output} AS c{number}" for number, output in enumerate(outputs))
    return f"SELECT {named}{from_where}{order}"


def _checked(table: PgTable, request: ReadRequest, name: str) -> PgColumn:
    """The column as it is now, if its values still have the type that discovery promised."""
    column = table.column(name)
    check_promised(request, name, arrow_type(column.type))
    return column


def _key_values(keys: Sequence[PgColumn], values: Sequence[str]) -> list[str]:
    """A token's key, each value rendered in the type that its column is ordered by."""
    rendered = []
    for key, value in zip(keys, values, strict=True):
        if has_native_order(key.type):
            rendered.append(typed_literal(value, key.type.castable))
        else:
            rendered.append(f'{typed_literal(value, "text")} COLLATE "C"')
    return rendered


def _physical_pieces(transaction: Transaction, table: PgTable) -> list[dict[str, Any]] | None:
    """The relations that hold the rows, in a lasting order; None where the user may not read each by itself."""
    if table.kind not in ("r", "p", "m"):
        return None
    pieces = transaction.rows(_PIECES.format(oid=table.oid))
    return pieces if all(piece["kind"] in ("r", "m") and piece["readable"] for piece in pieces) else None


def _from_token(pieces: Sequence[Mapping[str, Any]], token: Token | None) -> list[Mapping[str, Any]]:
    if token is None:
        return list(pieces)
    for piece in pieces:
        if piece["oid"] == token["oid"] and piece["file"] != token["file"]:
            raise TokenExpired(
                "the table was rewritten at the source, so its rows are no longer where the last page ended",
                remedy="Start the read of this table from its beginning.",
            )
    return [piece for piece in pieces if piece["oid"] >= token["oid"]]


def _with_next(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch | None]]:
    current = next(batches, None)
    while current is not None:
        following = next(batches, None)
        yield current, following
        current = following


_PIECES = """
WITH RECURSIVE tree AS (
    SELECT {oid}::oid AS oid
    UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON t.oid = i.inhparent
)
SELECT c.oid::int8 AS oid, c.relkind::text AS kind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS sql,
       pg_relation_filenode(c.oid)::int8 AS file, has_table_privilege(c.oid, 'SELECT') AS readable
FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p' ORDER BY c.oid
"""

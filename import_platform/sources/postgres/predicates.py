"""A request's window and range as conditions on one PostgreSQL table."""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from import_platform.core.layout import ColumnRange, can_push_down
from import_platform.sources.clauses import range_condition, window_condition
from import_platform.sources.postgres.catalog import PgColumn, PgTable
from import_platform.sources.postgres.sql import column_reference, typed_literal
from import_platform.sources.postgres.types import arrow_type, cursor_expression, is_text
from import_platform.sources.protocol import CursorWindow


def window_sql(table: PgTable, window: CursorWindow | None) -> str | None:
    """The condition of a cursor window, or None for every row."""
    if window is None:
        return None
    column = table.column(window.column)
    expression = cursor_expression(column.type, column_reference(column.name))
    return window_condition(expression, window, partial(bound, column))


def range_sql(table: PgTable, range_: ColumnRange | None) -> str | None:
    """The condition of a range, or None where every row is asked for or the server could not decide it (text)."""
    if range_ is None or range_.column is None:
        return None
    column = table.column(range_.column)
    if not can_push_down(arrow_type(column.type)):
        return None
    return range_condition(column_reference(column.name), range_, partial(bound, column))


def bound(column: PgColumn, value: str) -> str:
    """A canonical cursor value as a literal that compares with the column by the column's own order."""
    if is_text(column.type):
        return f'{typed_literal(value, "text")} COLLATE "C"'
    if pa.types.is_integer(arrow_type(column.type)):
        return typed_literal(value, "int8")  # whatever the column's width: the bound may lie outside of it
    return typed_literal(value, column.type.castable)

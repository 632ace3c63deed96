"""A request's window and range as conditions on one MySQL table."""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from import_platform.core.layout import ColumnRange, can_push_down
from import_platform.sources.clauses import range_condition, window_condition
from import_platform.sources.mysql.catalog import MyColumn, MyTable
from import_platform.sources.mysql.sql import binary_literal, column_reference, literal
from import_platform.sources.mysql.types import (
    INSTANTS,
    TEXT,
    arrow_type,
    cursor_expression,
    instant_literal,
    number_literal,
)
from import_platform.sources.protocol import CursorWindow


def window_sql(table: MyTable, window: CursorWindow | None) -> str | None:
    """The condition of a cursor window, or None for every row."""
    if window is None:
        return None
    column = table.column(window.column)
    expression = cursor_expression(column.type, column_reference(column.name))
    return window_condition(expression, window, partial(bound, column))


def range_sql(table: MyTable, range_: ColumnRange | None) -> str | None:
    """The condition of a range, or None where every row is asked for or the server could not decide it (text)."""
    if range_ is None or range_.column is None:
        return None
    column = table.column(range_.column)
    if not can_push_down(arrow_type(column.type)):
        return None
    reference = column_reference(column.name)
    # Of a column that may hold the zero date the reader sees NULL, so the condition has to see it too.
    zero = "'0000-00-00 00:00:00'"
    expression = f"NULLIF({reference}, {zero})" if range_.outside and column.type.name in INSTANTS else reference
    return range_condition(expression, range_, partial(bound, column))


def bound(column: MyColumn, value: str) -> str:
    """A canonical cursor value as a literal that compares with the column by the column's own order."""
    if column.type.name in TEXT:
        return binary_literal(value)
    if column.type.name in INSTANTS:
        return instant_literal(column.type, value)
    dtype = arrow_type(column.type)
    if pa.types.is_integer(dtype) or pa.types.is_decimal(dtype):
        return number_literal(value)
    if pa.types.is_floating(dtype):
        printed = repr(float(value))
        return printed if "e" in printed else f"{printed}e0"
    return literal(value)

"""A request's window and range as conditions on one SQLite table.

Instants are text in SQLite, and texts of one instant differ (`T` or space, fractions, offsets), so they are compared as
microseconds by a function that SQL calls: about a second per million rows, and no index helps.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from import_platform.core import cursor
from import_platform.core.layout import ColumnRange, can_push_down
from import_platform.core.table import TableInfo
from import_platform.errors import SourceRejected
from import_platform.sources.protocol import CursorWindow, ReadRequest
from import_platform.sources.sqlite.catalog import SqliteTable, quote
from import_platform.sources.sqlite.functions import comparable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def conditions(table: SqliteTable, request: ReadRequest) -> tuple[list[str], list[Any]]:
    """The parts of a WHERE and their parameters."""
    parts: list[str] = [] if request.table.where is None else [f"({request.table.where}\n)"]
    parameters: list[Any] = []
    for sql, values in (window_sql(request.table, request.window), range_sql(request.table, request.range)):
        parts += [sql] if sql else []
        parameters += values
    missing = [name for name in request.columns if name not in table.columns]
    if missing:
        raise SourceRejected(
            "the source's table has no such column",
            table=table.name,
            column=missing[0],
            remedy="Discover the source again: the table has changed.",
        )
    return parts, parameters


def window_sql(info: TableInfo, window: CursorWindow | None) -> tuple[str, list[Any]]:
    if window is None or (window.after is None and window.upto is None):
        return "", []
    dtype = _type_of(info, window.column)
    parts: list[str] = []
    parameters: list[Any] = []
    if window.after is not None:
        _compare(
            parts,
            parameters,
            column=window.column,
            dtype=dtype,
            operator=">=" if window.inclusive else ">",
            value=window.after,
        )
    if window.upto is not None:
        _compare(parts, parameters, column=window.column, dtype=dtype, operator="<=", value=window.upto)
    joined = " AND ".join(parts)
    return (joined if window.after is not None else f"({joined} OR {quote(window.column)} IS NULL)"), parameters


def range_sql(info: TableInfo, range_: ColumnRange | None) -> tuple[str, list[Any]]:
    """Empty where every row is asked for; text columns are the caller's to filter."""
    if range_ is None or range_.column is None:
        return "", []
    dtype = _type_of(info, range_.column)
    if not can_push_down(dtype):
        return "", []
    parts: list[str] = []
    parameters: list[Any] = []
    if range_.lower is not None:
        _compare(parts, parameters, column=range_.column, dtype=dtype, operator=">=", value=range_.lower)
    if range_.upper is not None:
        _compare(parts, parameters, column=range_.column, dtype=dtype, operator="<", value=range_.upper)
    value = comparable(range_.column, dtype)
    joined = " AND ".join([*parts, f"{value} IS NOT NULL"])
    return (f"NOT ({joined})" if range_.outside else f"({joined})"), parameters


def _compare(
    parts: list[str], parameters: list[Any], *, column: str, dtype: pa.DataType, operator: str, value: str
) -> None:
    bound = cursor.decode(value, dtype)
    if pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
        instant = bound if isinstance(bound, datetime) else datetime(bound.year, bound.month, bound.day, tzinfo=UTC)
        bound = (instant - _EPOCH) // timedelta(microseconds=1)
    elif (
        not isinstance(bound, (int, str))
        or (isinstance(bound, int) and not -(2**63) <= bound < 2**63)
        or pa.types.is_floating(dtype)
    ):
        bound = float(bound)
    parts.append(f"{comparable(column, dtype)} {operator} ?")
    parameters.append(bound)


def _type_of(info: TableInfo, name: str) -> pa.DataType:
    column = info.column(name)
    if column is None:
        raise SourceRejected(
            "the source's table has no such column",
            table=info.name,
            column=re.sub(r"\s", " ", name),
            remedy="Run `import-platform tables` to see what it offers.",
        )
    return column.type

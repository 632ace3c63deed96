"""Changes only: what is asked of the API for them, and which of its rows they are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.cursor import CursorValue, decode
from import_platform.errors import ConfigError
from import_platform.sources.protocol import CursorWindow
from import_platform.sources.rest.declaration import Incremental

_MICROSECOND = timedelta(microseconds=1)
_UNIT_MICROS = {"epoch": 1_000_000, "epoch_ms": 1000}


def window_params(
    incremental: Incremental | None, window: CursorWindow | None, dtype: pa.DataType | None
) -> dict[str, Any]:
    """The parameters that ask for the window's rows; for an API that cannot be asked, none."""
    if incremental is None:
        return {}
    mine = window is not None and window.column == incremental.column and dtype is not None
    params: dict[str, Any] = {}
    if incremental.start_param:
        if mine and window is not None and window.after is not None:
            params[incremental.start_param] = start_text(incremental, window.after, dtype)
        elif incremental.initial_value is not None:
            params[incremental.start_param] = incremental.initial_value
    if incremental.end_param and mine and window is not None and window.upto is not None:
        params[incremental.end_param] = _text(incremental, decode(window.upto, dtype), up=True)
    return params


def start_text(incremental: Incremental, after: CursorValue, dtype: pa.DataType) -> str | int:
    """The value to ask from: `lag` earlier, and one step earlier for an API that leaves the value itself out."""
    value = decode(after, dtype)
    step = {"epoch": timedelta(seconds=1), "epoch_ms": timedelta(milliseconds=1), "date": timedelta(days=1)}
    back = timedelta(seconds=incremental.lag)
    if incremental.start_exclusive:
        back += step.get(incremental.format, timedelta(seconds=1) if "%" in incremental.format else _MICROSECOND)
    if isinstance(value, datetime):
        value -= back
    elif isinstance(value, date):
        value -= timedelta(days=-(-back // timedelta(days=1)))
    elif isinstance(value, (int, Decimal)):
        value -= int(incremental.lag) + int(incremental.start_exclusive)
    return _text(incremental, value, up=False)


def _text(incremental: Incremental, value: Any, *, up: bool) -> str | int:
    """`up` rounds to the next whole unit, so that nothing at the value itself is left out."""
    if isinstance(value, int):
        return value
    if not isinstance(value, date):
        return str(value)
    at = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    if incremental.format in _UNIT_MICROS:
        micros, unit = (at - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND, _UNIT_MICROS[incremental.format]
        return -(-micros // unit) if up else micros // unit
    if incremental.format == "iso":
        return at.isoformat(timespec="microseconds" if at.microsecond else "seconds").replace("+00:00", "Z")
    return at.strftime("%Y-%m-%d" if incremental.format == "date" else incremental.format)


def inside(batch: pa.RecordBatch, window: CursorWindow | None) -> pa.Array | None:
    """Which rows are in the window; None for all."""
    if window is None:
        return None
    column = batch.column(window.column)
    mask = None
    if window.after is not None:
        bound = pa.scalar(decode(window.after, column.type), column.type)
        mask = pc.greater_equal(column, bound) if window.inclusive else pc.greater(column, bound)
    if window.upto is not None and not window.merges:
        upper = pc.less_equal(column, pa.scalar(decode(window.upto, column.type), column.type))
        mask = upper if mask is None else pc.and_(mask, upper)
    if mask is None:
        return None
    return pc.fill_null(mask, window.after is None)


def is_past(batch: pa.RecordBatch, window: CursorWindow | None, incremental: Incremental | None) -> bool:
    """True when no later row can be in the window, because the API's order says so."""
    if window is None or incremental is None or incremental.column != window.column or not batch.num_rows:
        return False
    column = batch.column(window.column)
    last = column[-1]
    if not last.is_valid or incremental.row_order is None:
        return False
    if incremental.row_order == "desc":
        if window.after is None:
            return False
        bound = decode(window.after, column.type)
        bound = bound - timedelta(seconds=incremental.lag) if isinstance(bound, (datetime, date)) else bound
        return bool(last.as_py() < bound)
    return window.upto is not None and not window.merges and bool(last.as_py() > decode(window.upto, column.type))


def check_cursor(incremental: Incremental | None, cursor: str, dtype: pa.DataType) -> None:
    """Raises ConfigError: nobody can say where this cursor stands at the API."""
    newest_first = incremental is not None and incremental.column == cursor and incremental.row_order == "desc"
    if newest_first or pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
        return
    raise ConfigError(
        "the API does not say how far this cursor has come",
        column=cursor,
        type=str(dtype),
        remedy="Declare row_order: asc if ids grow from row to row, desc if the newest come first; or use a timestamp.",
    )


def check_lag(incremental: Incremental | None, window: CursorWindow | None) -> None:
    """Raises ConfigError: rows that are only added would come twice if some were read again."""
    if window is None or window.after is None or window.merges or incremental is None or not incremental.lag:
        return
    raise ConfigError(
        "an append cannot read rows again, so it cannot have a lag",
        column=window.column,
        remedy="Declare primary_key and sync: incremental, or leave lag out.",
    )

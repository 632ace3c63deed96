"""Sampled extremes of a column, as canonical cursor text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import pyarrow as pa

from import_platform.core import cursor
from import_platform.core.table import ColumnInfo


def with_extremes(info: ColumnInfo, texts: Sequence[str]) -> ColumnInfo:
    """The column with the least and the greatest of some values as the source prints them."""
    values = [value for value in (_canonical(text, info.type) for text in texts) if value is not None]
    if not values:
        return info
    ordered = sorted(values, key=lambda value: cursor.decode(value, info.type))
    return replace(info, minimum=ordered[0], maximum=ordered[-1])


def _canonical(text: str, dtype: pa.DataType) -> str | None:
    """None for infinity and what lies outside of Python's calendar."""
    try:
        if pa.types.is_timestamp(dtype):
            value = datetime.fromisoformat(text)
            return cursor.encode(value if value.tzinfo else value.replace(tzinfo=UTC), dtype)
        return date.fromisoformat(text).isoformat() if pa.types.is_date(dtype) else str(int(text))
    except ValueError:
        return None

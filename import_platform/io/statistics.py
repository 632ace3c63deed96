"""Delta's per-file statistics, from a Parquet footer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

STATISTICS_CHARS = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROS = {"s": 1_000_000, "ms": 1000, "us": 1}


def statistics_json(footer: pq.FileMetaData, columns: Sequence[str]) -> str:
    """The value of an add action's `stats`, with bounds of the named columns.

    Floats have no bounds here (a NaN would make them wrong), decimals neither (JSON numbers would round them). Text is
    cut to 64 characters, its maximum then raised by the greatest code point so that it stays an upper bound; it has no
    bounds where even that is too low.
    """
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    schema = footer.schema.to_arrow_schema()
    indexes = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    for name in columns:
        if name not in indexes:
            continue
        groups = [footer.row_group(g).column(indexes[name]) for g in range(footer.num_row_groups)]
        found = [g.statistics for g in groups]
        if any(s is None or not s.has_null_count for s in found):
            continue
        nulls[name] = sum(s.null_count for s in found)
        bounded = [s for s, g in zip(found, groups, strict=True) if s.null_count < g.num_values]
        if not bounded or not all(s.has_min_max for s in bounded) or not _has_bounds(schema.field(name).type):
            continue
        # The raw values: the others go through Arrow scalars, which import pandas where it is installed.
        low, high = min(s.min_raw for s in bounded), max(s.max_raw for s in bounded)
        try:
            bounds = _low(low, schema.field(name).type), _high(high, schema.field(name).type)
        except (OverflowError, ValueError):  # an instant before year 1 or after 9999, which has no ISO text
            continue
        if bounds[1] is not None:
            lows[name], highs[name] = bounds
    statistics = {"numRecords": footer.num_rows, "minValues": lows, "maxValues": highs, "nullCount": nulls}
    # As UTF-8, not as escapes: deltalake 1.6.6 reads the escapes of U+CCFD7 as U+BCFD7, and bounds would hide rows.
    return json.dumps(statistics, ensure_ascii=False)


def _has_bounds(dtype: pa.DataType) -> bool:
    if pa.types.is_timestamp(dtype):
        return dtype.unit in _MICROS  # Delta has no nanoseconds
    return any(is_kind(dtype) for is_kind in (pa.types.is_string, pa.types.is_signed_integer, pa.types.is_date32))


def _low(raw: Any, dtype: pa.DataType) -> Any:
    return raw.decode()[:STATISTICS_CHARS] if pa.types.is_string(dtype) else _exact(raw, dtype)


def _high(raw: Any, dtype: pa.DataType) -> Any:
    if not pa.types.is_string(dtype):
        return _exact(raw, dtype)
    text = raw.decode()
    if len(text) <= STATISTICS_CHARS:
        return text
    raised = text[:STATISTICS_CHARS] + "\U0010ffff"
    return raised if raised >= text else None


def _exact(raw: int, dtype: pa.DataType) -> Any:
    if pa.types.is_timestamp(dtype):
        at = _EPOCH + timedelta(microseconds=raw * _MICROS[dtype.unit])
        return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return date.fromordinal(_EPOCH_DAY + raw).isoformat() if pa.types.is_date32(dtype) else raw

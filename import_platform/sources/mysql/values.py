"""Values as MySQL prints them, made into columns of the promised types: one Arrow cast each where all of them fit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", "UTC")


def to_array(values: Sequence[bytes | None], target: pa.DataType) -> tuple[pa.Array, list[int]]:
    """The values in a type, NULL where they do not fit, and the positions of those."""
    raw = pa.array(values, pa.binary())
    if pa.types.is_binary(target):
        return raw, []
    text = raw.view(pa.string())
    try:
        if pa.types.is_string(target):
            text.validate(full=True)
            return text, []
        if pa.types.is_timestamp(target):
            return text.cast(pa.timestamp("us")).cast(target), []
        return text.cast(target), []
    except pa.ArrowInvalid:
        fitted = [None if value is None else _fit(value, target) for value in values]
    bad = [at for at, (value, fit) in enumerate(zip(values, fitted, strict=True)) if fit is None and value is not None]
    return pa.array(fitted, target), bad


def _fit(value: bytes, target: pa.DataType) -> object:
    try:
        text = value.decode()
        if pa.types.is_date(target):
            return date.fromisoformat(text)
        if pa.types.is_timestamp(target):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        return text if pa.types.is_string(target) else pa.scalar(text).cast(target).as_py()
    except (ValueError, pa.ArrowInvalid):
        return None

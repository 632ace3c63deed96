"""Batches as a driver gives them, made to be exactly what the table promises; rows that cannot be are set apart.

All of it is vectorised: the fast path is one Arrow cast per column, and only a column that fails it is looked at by
value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.layout import ColumnRange, can_push_down, in_range
from import_platform.core.rejected import RejectedRow
from import_platform.core.wording import type_text
from import_platform.errors import SourceRejected
from import_platform.sources.protocol import ReadRequest

ROW_TEXT_MAX = 1 << 16
"""Characters of one value that a rejected row keeps; a longer one is cut and says so."""


def conform(
    raw: pa.RecordBatch, schema: pa.Schema, *, key_of: Callable[[int], Mapping[str, str | None]]
) -> tuple[pa.RecordBatch, tuple[RejectedRow, ...]]:
    """`raw` with its columns, by position, in the types of `schema`, without the rows that do not fit; those come
    second.

    `key_of` gives the primary key values of a row by its position. Peak memory: `raw` plus the result, which share what
    needs no conversion.
    """
    columns: list[pa.Array] = []
    misfits: dict[int, tuple[str, str]] = {}
    for array, field in zip(raw.columns, schema, strict=True):
        converted, bad = _column(_storage(array), field.type)
        columns.append(converted)
        for position in [] if bad is None else pc.indices_nonzero(bad).to_pylist():
            misfits.setdefault(position, (field.name, f"the value does not fit {type_text(field.type)}"))
    if not misfits:
        return pa.RecordBatch.from_arrays(columns, schema=schema), ()
    keep = pa.array([position not in misfits for position in range(raw.num_rows)])
    kept = pa.RecordBatch.from_arrays([column.filter(keep) for column in columns], schema=schema)
    return kept, _rejected(raw, schema, misfits=misfits, key_of=key_of)


def without_misfits(
    columns: Sequence[tuple[pa.Array, Sequence[int]]],
    schema: pa.Schema,
    *,
    key_of: Callable[[int], Mapping[str, str | None]],
    row_of: Callable[[int], Sequence[Any]],
) -> tuple[pa.RecordBatch, tuple[RejectedRow, ...]]:
    """The batch of columns that come with the positions of values that did not fit, without those rows.

    `key_of` and `row_of` give the primary key and the values of a row as the source sent them.
    """
    misfits: dict[int, pa.Field] = {}
    for (_, bad), field in zip(columns, schema, strict=True):
        for position in bad:
            misfits.setdefault(position, field)
    batch = pa.RecordBatch.from_arrays([array for array, _ in columns], schema=schema)
    if not misfits:
        return batch, ()
    rejected = []
    for position, field in sorted(misfits.items()):
        values = dict(zip(schema.names, map(_readable, row_of(position)), strict=False))
        reason = f"the value does not fit {type_text(field.type)}"
        row = json.dumps({name: _cut(value) for name, value in values.items()}, ensure_ascii=False)
        rejected.append(RejectedRow(key=key_of(position), column=field.name, reason=reason, row=row))
    return batch.filter(pa.array([position not in misfits for position in range(batch.num_rows)])), tuple(rejected)


def _readable(value: Any) -> str | None:
    return value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else as_text(value)


def keep_in_range(batch: pa.RecordBatch, range_: ColumnRange | None) -> pa.RecordBatch:
    """The rows of a range that a server cannot decide: instants spelled as text do not sort as they follow each other.

    Other ranges are the statement's, and their batches are returned as they are.
    """
    if range_ is None or range_.column is None:
        return batch
    column = batch.column(range_.column)
    if can_push_down(column.type):
        return batch
    frame = pl.DataFrame({range_.column: pl.from_arrow(column)})
    return batch.filter(in_range(frame, range_, column.type).to_arrow())


def as_text(value: Any) -> str | None:
    """One value for a rejected row: text as it is, bytes as hex, the rest as Python prints it."""
    if value is None or isinstance(value, str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _rejected(
    raw: pa.RecordBatch,
    schema: pa.Schema,
    *,
    misfits: Mapping[int, tuple[str, str]],
    key_of: Callable[[int], Mapping[str, str | None]],
) -> tuple[RejectedRow, ...]:
    rows = []
    for position, (column, reason) in sorted(misfits.items()):
        values = {name: as_text(scalar(array, position)) for name, array in zip(schema.names, raw.columns, strict=True)}
        row = json.dumps({name: _cut(value) for name, value in values.items()}, ensure_ascii=False)
        rows.append(RejectedRow(key=key_of(position), column=column, reason=reason, row=row))
    return tuple(rows)


def scalar(array: pa.Array, position: int) -> Any:
    """One value of a batch as Python sees it; text that is not UTF-8 keeps its odd bytes as backslash escapes."""
    storage = _storage(array)
    if pa.types.is_string(storage.type):  # invalid UTF-8 must not raise here: this row may be rejected because of it
        value = storage.cast(pa.binary())[position].as_py()
        return None if value is None else value.decode("utf-8", errors="backslashreplace")
    return storage[position].as_py()


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= ROW_TEXT_MAX:
        return text
    return f"{text[:ROW_TEXT_MAX]}… ({len(text)} characters)"


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _column(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """The column in its type, and a mask of the values that cannot be in it (None: all fit)."""
    if pa.types.is_string(array.type) and pa.types.is_string(target):
        return _valid_text(array)
    if array.type == target:
        return array, None
    try:
        return array.cast(target), None
    except pa.ArrowInvalid:
        if not (pa.types.is_string(array.type) and pa.types.is_decimal(target)):
            raise
    fits = pc.match_substring_regex(array, _decimal_pattern(target))
    bad = pc.fill_null(pc.invert(fits), False)
    return pc.if_else(bad, pa.scalar(None, pa.string()), array).cast(target), bad


def _valid_text(array: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = array.cast(pa.binary()).to_pylist()
        bad = pa.array([value is not None and not _is_utf8(value) for value in raw])
        fixed = pa.array(
            [None if broken else value for value, broken in zip(raw, bad.to_pylist(), strict=True)], pa.binary()
        )
        return fixed.cast(pa.string()), bad
    return array, None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decimal_pattern(target: pa.Decimal128Type) -> str:
    """Plain decimal text whose value is exact in the type: more digits than the scale only where they are zeros."""
    whole = target.precision - target.scale
    return rf"^-?0*[0-9]{{0,{whole}}}(\.[0-9]{{0,{target.scale}}}0*)?$"


def check_promised(request: ReadRequest, name: str, found: pa.DataType) -> None:
    """Raises SourceRejected when a column's values no longer have the type that discovery promised."""
    promised = request.table.column(name)
    if promised is not None and promised.type != found:
        raise SourceRejected(
            "a column has changed its type at the source",
            table=request.table.name,
            column=name,
            found=str(found),
            expected=str(promised.type),
            remedy="Discover the source again, then sync.",
        )

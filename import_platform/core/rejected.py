"""Rows that cannot be stored as the column types say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.lattice import fitted, widened

ROW_TEXT_MAX = 1 << 16
"""Characters of one value that a rejected row keeps; a longer one is cut and says so, and cannot be replayed."""

CUT = "… ("
UNPARSED = "_unparsed"
"""Under which a row that could not be taken apart keeps its text; such a one fits no columns."""


@dataclass(frozen=True)
class RejectedRow:
    """A row kept for people and for replay instead of being stored.

    `key` holds the primary key values as text; `row` the whole row as JSON text where it could be had, else None.
    """

    key: Mapping[str, str | None]
    column: str
    reason: str
    row: str | None


def rejected_rows(
    batch: pa.RecordBatch, misfits: Mapping[int, tuple[str, str]], primary_key: Sequence[str]
) -> tuple[RejectedRow, ...]:
    """The rows of a batch at the given positions, each with its (column, reason)."""
    if not misfits:
        return ()
    positions = sorted(misfits)
    wrong = batch.take(pa.array(positions))
    texts = {
        name: widened(array, pa.string()).to_pylist()
        for name, array in zip(wrong.schema.names, wrong.columns, strict=True)
    }
    rows = []
    for at, position in enumerate(positions):
        column, reason = misfits[position]
        values = {name: cut(values[at]) for name, values in texts.items()}
        key = {name: texts[name][at] for name in primary_key}
        rows.append(RejectedRow(key, column, reason, json.dumps(values, ensure_ascii=False)))
    return tuple(rows)


def cut(text: str | None) -> str | None:
    """A value as a rejected row keeps it."""
    if text is None or len(text) <= ROW_TEXT_MAX:
        return text
    return f"{text[:ROW_TEXT_MAX]}{CUT}{len(text)} characters)"


def spelled_rows(rows: Sequence[Mapping[str, str | None] | None], schema: pa.Schema) -> tuple[pa.RecordBatch, pa.Array]:
    """Rejected rows read back in a schema, and a mask of those that fit it; the others have nulls.

    Columns that a row does not name are null; those that the schema lacks are ignored. None fits nothing.
    """
    fit = pa.array([row is not None and UNPARSED not in row and not _is_cut(row) for row in rows], pa.bool_())
    columns = []
    for field in schema:
        texts = pa.array([None if row is None else row.get(field.name) for row in rows], pa.string())
        values, bad = fitted(texts, field.type)
        columns.append(values)
        if bad is not None:
            fit = pc.and_not(fit, bad)
    return pa.RecordBatch.from_arrays(columns, schema=schema), fit


def _is_cut(row: Mapping[str, str | None]) -> bool:
    return any(text is not None and len(text) > ROW_TEXT_MAX and CUT in text[ROW_TEXT_MAX:] for text in row.values())

"""Rows that cannot be stored as the column types say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from import_platform.core.lattice import widened

ROW_TEXT_MAX = 1 << 16
"""Characters of one value that a rejected row keeps; a longer one is cut and says so, and cannot be replayed."""

CUT = "… ("
MASKED = "[masked]"


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

"""Which rows of a piece only say that others are gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.lattice import widened
from import_platform.sources.files.declaration import BY_FILE, MARK, Files
from import_platform.sources.files.piece import Marks, Piece


def with_marks(table: Files, piece: Piece) -> Piece:
    """The piece without what is read for marks alone, and with a mask of the rows that take their key away.

    Of a table with a parent that is also the row of each record (item 0), which comes before the record's children.
    """
    said = table.delete_when
    names = piece.batch.schema.names
    gone: Marks = np.zeros(piece.batch.num_rows, dtype=bool)
    if table.parent_key and piece.items is not None:
        gone |= piece.items == 0
    if said is None or said.name not in names:
        return replace(piece, gone=gone) if gone.any() else piece
    values = piece.batch.column(said.name)
    texts = widened(values, pa.string())
    found = pc.is_in(texts, value_set=pa.array(said.values, pa.string())) if said.values else pc.is_valid(texts)
    gone |= pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    batch = piece.batch.drop_columns([MARK]) if MARK in names else piece.batch
    return replace(piece, batch=batch, gone=gone if gone.any() else None)


def without_version(table: Files, arrays: dict[str, pa.Array], count: int) -> Marks:
    """Rows whose version is empty, so that nobody knows which of their key stays."""
    name = table.version
    if name is None or name == BY_FILE:
        return np.zeros(count, dtype=bool)
    if name not in arrays:
        return np.ones(count, dtype=bool)
    empty: Marks = arrays[name].is_null().to_numpy(zero_copy_only=False)
    return empty

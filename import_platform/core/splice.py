"""Rows of a file taken out or replaced while its batches stream by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from import_platform.core.arrow import arrow_array

Positions = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]
"""Of rows, ascending; of 32 bits where there are as many as rows in a large flush."""

NONE: Positions = np.empty(0, np.int64)

RUN_BYTES = 256 << 10
"""Runs of untouched rows longer than this are passed on as slices; shorter ones are cheaper to gather into a copy."""


@dataclass(frozen=True)
class Replaced:
    """Positions of a file, ascending, and beside each the row that takes its place."""

    positions: Positions
    rows: Positions


NOTHING = Replaced(NONE, NONE)


def spliced(
    batch: pa.RecordBatch, at: int, *, gone: Positions, replaced: Replaced, source: pa.Table | None
) -> Iterator[pa.RecordBatch]:
    """The batch, whose first row has position `at`, without the rows at the sorted positions `gone` and with those of
    `replaced`, none of them gone, taken from `source`, which has the schema of the batch. Order is kept.
    """
    low, high = np.searchsorted(gone, [at, at + batch.num_rows])
    first, after = np.searchsorted(replaced.positions, [at, at + batch.num_rows])
    out, new_at = gone[low:high] - at, replaced.positions[first:after] - at
    cuts = out.size + new_at.size
    if not cuts:
        yield batch
        return
    if out.size == batch.num_rows:
        return
    new = _rows(source, replaced.rows[first:after]) if source is not None and new_at.size else None
    if batch.nbytes // (cuts + 1) >= RUN_BYTES:
        yield from _pieces(batch, out, new_at, new)
        return
    order = np.arange(batch.num_rows, dtype=np.int64)
    order[new_at] = batch.num_rows + np.arange(new_at.size)
    kept = arrow_array(np.delete(order, out))
    if new is None:
        yield batch.take(kept)
    else:
        yield from pa.Table.from_batches([batch, new]).combine_chunks().take(kept).to_batches()


def _rows(source: pa.Table, rows: Positions) -> pa.RecordBatch:
    [taken] = source.take(arrow_array(rows)).combine_chunks().to_batches()
    return taken


def _pieces(
    batch: pa.RecordBatch, out: Positions, new_at: Positions, new: pa.RecordBatch | None
) -> Iterator[pa.RecordBatch]:
    start, fresh = 0, set(new_at.tolist())
    taken = 0
    for cut in np.union1d(out, new_at).tolist():
        if cut > start:
            yield batch.slice(start, cut - start)
        if new is not None and cut in fresh:
            yield new.slice(taken, 1)
            taken += 1
        start = cut + 1
    if start < batch.num_rows:
        yield batch.slice(start)

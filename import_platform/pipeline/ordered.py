"""Rows of several files merged by primary key in one pass whose memory is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.io.parquet import ROW_GROUP_BYTES, conform, read_batches
from import_platform.io.store import Store
from import_platform.pipeline.leaves import sort_order


def ordered_batches(
    store: Store, paths: Sequence[str], primary_key: Sequence[str], *, schema: pa.Schema, limit_bytes: int
) -> Iterator[pa.RecordBatch]:
    """All rows of the files, in key order as far as `limit_bytes` allow, in batches of about one row group.

    Row groups are taken in the order of their least key; rows below the least key still unread go out sorted. Where
    more row groups overlap than fit, what is held goes out as one sorted run: order is an optimisation, rows are not.
    Without a key, files follow one another. Memory: three times `limit_bytes` and a row group.
    """
    if not primary_key:
        for path in paths:
            yield from (conform(batch, schema) for _, batch in read_batches(store, path))
        return
    waiting = sorted(_row_groups(store, paths, primary_key[0]), key=lambda group: group[0])
    held: list[pa.RecordBatch] = []
    for index, (_, path, number) in enumerate(waiting):
        following = waiting[index + 1][0] if index + 1 < len(waiting) else None
        for _, batch in read_batches(store, path, row_groups=[number]):
            held.append(conform(batch, schema))
            if sum(batch.nbytes for batch in held) >= limit_bytes:
                # Of a row group that is still being read, nothing is known to be complete: what is held is one run.
                yield from _batches(_sorted(held, primary_key))
                held = []
        if sum(batch.nbytes for batch in held) >= min(limit_bytes, 2 * ROW_GROUP_BYTES):
            table = _sorted(held, primary_key)
            ready = _count_below(table, primary_key[0], following)
            yield from _batches(table.slice(0, ready))
            held = table.slice(ready).to_batches()
    if held:
        yield from _batches(_sorted(held, primary_key))


_Least = tuple[int, Any]


def _row_groups(store: Store, paths: Sequence[str], column: str) -> list[tuple[_Least, str, int]]:
    """(order of the least key, path, number) of every row group; unknown or null bounds come first."""
    groups: list[tuple[_Least, str, int]] = []
    for path in paths:
        with store.open_input(path) as file:
            footer = pq.ParquetFile(file).metadata
        at = next((i for i in range(footer.num_columns) if footer.schema.column(i).path == column), None)
        for number in range(footer.num_row_groups):
            found = footer.row_group(number).column(at).statistics if at is not None else None
            if found is not None and found.has_min_max and not found.null_count:
                groups.append(((1, found.min), path, number))
            else:
                groups.append(((0, 0), path, number))
    return groups


def _sorted(batches: Sequence[pa.RecordBatch], primary_key: Sequence[str]) -> pa.Table:
    table = pa.Table.from_batches(batches).combine_chunks()
    order = sort_order(table, pl.repeat("", table.num_rows, eager=True, dtype=pl.String), primary_key)
    return table.take(order.to_arrow())


def _count_below(table: pa.Table, column: str, following: _Least | None) -> int:
    if following is None:
        return int(table.num_rows)
    if following[0] == 0:
        return 0
    values = pl.Series(values=pl.from_arrow(table[column]))
    bound = pl.Series([following[1]]).cast(values.dtype)
    return int(values.search_sorted(bound, side="left")[0])


def _batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    if table.num_rows:
        rows = max(1, int(table.num_rows * ROW_GROUP_BYTES / max(table.nbytes, 1)))
        yield from table.combine_chunks().to_batches(max_chunksize=rows)

"""Parquet files of leaves, written and read as streams whose memory is bounded by bytes.

A row group holds at most ROW_GROUP_BYTES decoded, so whoever reads our files a row group at a time holds no more.
Foreign files may have row groups of any size; they are read in slices.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.core.arrow import arrow_array
from import_platform.core.lattice import widened
from import_platform.core.schema import stored_schema
from import_platform.core.splice import Positions
from import_platform.core.table import PARTITION_COLUMN
from import_platform.io.encoding import Encodings
from import_platform.io.statistics import statistics_json
from import_platform.io.store import Inputs, Store

ROW_GROUP_BYTES = 16 << 20
TARGET_FILE_BYTES = 128 << 20
"""A file is closed once it has grown past this at rest: small enough to rewrite alone, large enough to scan well."""

PAGE_BYTES = 1 << 20
"""Values go to the encoder in steps of about this many bytes, so that pages of wide columns stay near it; the default
step of 1,024 rows makes 10 MB pages of 10 kB rows and took 1.7 times as long."""

STATISTICS_COLUMNS = 32  # Delta's own default of dataSkippingNumIndexedCols


@dataclass(frozen=True)
class WrittenFile:
    """A finished data file that no commit names yet. `path` is relative to the table; `statistics` Delta's JSON."""

    path: str
    leaf: str
    size_bytes: int
    rows: int
    decoded_bytes: int
    statistics: str


def leaf_path(leaf: str) -> str:
    """Hive-style, because Polars takes partition values from the path. Leaf names need no encoding."""
    return f"{PARTITION_COLUMN}={leaf}"


class LeafWriter:
    """Writes rows of one leaf into one or more files. Buffers up to `row_group_bytes` decoded, then encodes them.

    Writers of one table may share `encodings`, which are then chosen once.
    """

    def __init__(
        self,
        store: Store,
        table_path: str,
        leaf: str,
        schema: pa.Schema,
        *,
        statistics_first: Sequence[str] = (),
        row_group_bytes: int = ROW_GROUP_BYTES,
        encodings: Encodings | None = None,
    ) -> None:
        self._store = store
        self._table_path = table_path
        self._leaf = leaf
        self._schema = schema
        self._statistics_columns = list(dict.fromkeys([*statistics_first, *schema.names]))[:STATISTICS_COLUMNS]
        self._row_group_bytes = row_group_bytes
        self._encodings = encodings or Encodings()
        self._pending: list[pa.RecordBatch] = []
        self.pending_bytes = 0
        self._open: _OpenFile | None = None
        self._files: list[WrittenFile] = []

    def write(self, batch: pa.RecordBatch, *, is_shared: bool = False) -> None:
        """Takes rows in the table's schema and cuts them by bytes, so that row groups are full but for the last.

        `is_shared` says that the batch is one of several slices that together use up their buffers.
        """
        while batch.num_rows:
            room = max(self._row_group_bytes - self.pending_bytes, 0)
            rows = min(max(1, int(room * batch.num_rows / max(batch.nbytes, 1))), batch.num_rows)
            piece, batch = batch.slice(0, rows), batch.slice(rows)
            self._pending.append(piece)
            self.pending_bytes += piece.nbytes
            if self.pending_bytes >= self._row_group_bytes * 0.95:
                self.drain()
        if (
            self._pending
            and not is_shared
            and self._pending[-1].get_total_buffer_size() > 1.25 * self._pending[-1].nbytes
        ):
            # A slice keeps its whole parent alive, so what waits is copied to cost what it counts.
            self._pending[-1] = copied(self._pending[-1])

    def drain(self) -> None:
        """Encodes what is buffered as one row group."""
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending)
        if self._open is None:
            self._open = _OpenFile(self._store, self._table_path, self._leaf, table, self._encodings)
        self._open.write(table)
        self._pending, self.pending_bytes = [], 0
        if self._open.written_bytes > TARGET_FILE_BYTES:
            self._files.append(self._open.close(self._statistics_columns))
            self._open = None

    def close(self) -> list[WrittenFile]:
        """The finished files, in writing order; none when no row came."""
        self.drain()
        if self._open is not None:
            self._files.append(self._open.close(self._statistics_columns))
            self._open = None
        return self._files


class _Writer(pq.ParquetWriter):  # type: ignore[misc]  # pyarrow has no types
    """Arrow's own ends a file when it is dropped; what a stop leaves behind is no file, and its sink is gone."""

    def __del__(self) -> None:
        pass


class _OpenFile:
    def __init__(self, store: Store, table_path: str, leaf: str, first: pa.Table, encodings: Encodings) -> None:
        self._path = f"{leaf_path(leaf)}/{uuid.uuid4().hex}.parquet"
        self._leaf = leaf
        self._schema = first.schema
        self._store = store
        self._full_path = f"{table_path}/{self._path}"
        self._stack = ExitStack()
        self._sink = self._stack.enter_context(store.open_output(self._full_path))
        self._footers: list[pq.FileMetaData] = []
        chosen = encodings.chosen(first)
        self._writer = _Writer(
            self._sink,
            first.schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=chosen.dictionaries,
            column_encoding=chosen.by_column,
            metadata_collector=self._footers,
            write_batch_size=max(1, min(1024, first.num_rows * PAGE_BYTES // max(first.nbytes, 1))),
        )
        self._decoded_bytes = 0

    @property
    def written_bytes(self) -> int:
        return int(self._sink.tell())

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._decoded_bytes += table.nbytes

    def close(self, statistics_columns: Sequence[str]) -> WrittenFile:
        self._writer.close()
        size_bytes = self.written_bytes
        self._stack.close()
        footer = self._footers[0]
        return WrittenFile(
            self._path,
            self._leaf,
            size_bytes,
            footer.num_rows,
            self._decoded_bytes,
            statistics_json(footer, statistics_columns),
        )


def copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in buffers of their own."""
    return batch.take(arrow_array(np.arange(batch.num_rows)))


def slices(batch: pa.RecordBatch, limit_bytes: int) -> Iterator[pa.RecordBatch]:
    """The batch in consecutive pieces of about `limit_bytes` each by its average row; a piece has at least one row."""
    if batch.num_rows == 0:
        return
    rows = max(1, int(batch.num_rows * limit_bytes / max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def read_batches(
    store: Inputs,
    path: str,
    *,
    columns: Sequence[str] | None = None,
    limit_bytes: int = ROW_GROUP_BYTES,
    row_groups: Sequence[int] | None = None,
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(position of the first row, batch) in file order; a batch decodes to about `limit_bytes` or is one row.

    Peak memory: the batch, plus one page per column. Row counts are guessed from the footer and corrected by the
    first batch of each row group, because a dictionary can hide how wide rows decode.
    """
    with store.open_input(path) as file:
        reader = pq.ParquetFile(file, pre_buffer=False, buffer_size=_read_bytes(file))
        wanted = set(range(reader.num_row_groups)) if row_groups is None else set(row_groups)
        position = 0
        for index in range(reader.num_row_groups):
            group = reader.metadata.row_group(index)
            if index in wanted:
                at = position
                for batch in _group_batches(reader, index, group, columns, limit_bytes):
                    yield at, batch
                    at += batch.num_rows
            position += group.num_rows


def _read_bytes(file: pa.NativeFile) -> int:
    """Of one read, which every column keeps in a buffer: a request to a remote store is worth more than one to a disk,
    where 256 KiB are as quick and save 25 MB of a reader of a dozen columns."""
    return 256 << 10 if isinstance(file, pa.OSFile) else 1 << 20


def _group_batches(
    reader: pq.ParquetFile, index: int, group: pq.RowGroupMetaData, columns: Sequence[str] | None, limit_bytes: int
) -> Iterator[pa.RecordBatch]:
    encoded = sum(
        group.column(i).total_uncompressed_size
        for i in range(group.num_columns)
        if columns is None or group.column(i).path_in_schema in columns
    )
    # Encoded size is at most a few times below the decoded one, except for dictionaries of long strings.
    rows = group.num_rows if encoded * 2 <= limit_bytes else max(1, int(group.num_rows * limit_bytes / (2 * encoded)))
    names = list(columns) if columns else None
    # Whoever reads is one of several workers; decoding columns in Arrow's pool as well cost a fifth to a third more.
    for batch in reader.iter_batches(batch_size=rows, row_groups=[index], columns=names, use_threads=False):
        if batch.num_rows:
            # Files that deltalake rewrote carry string views, which pyarrow can hardly filter or take.
            yield from slices(conform(batch, stored_schema(batch.schema)), limit_bytes * 2)


def without_rows(batch: pa.RecordBatch, at: int, gone: Positions) -> pa.RecordBatch:
    """The batch, whose first row has position `at`, without the rows at the sorted positions `gone`."""
    low, high = np.searchsorted(gone, [at, at + batch.num_rows])
    if low == high:
        return batch
    mask = np.ones(batch.num_rows, dtype=bool)
    mask[gone[low:high] - at] = False
    return batch.filter(arrow_array(mask))


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the schema's column order and types; a missing column becomes null.

    Only widening casts are asked of it (the schema was evolved before), so a failing cast is our bug.
    """
    if batch.schema.equals(schema):
        return batch
    arrays = []
    for want in schema:
        index = batch.schema.get_field_index(want.name)
        if index < 0:
            arrays.append(pa.nulls(batch.num_rows, want.type))
        else:
            column = batch.column(index)
            arrays.append(widened(column, want.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

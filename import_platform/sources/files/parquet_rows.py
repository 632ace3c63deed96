"""Parquet in batches whose rows decode to about a number of bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.sources.files.columns import safe_names
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Piece, Reading, numbered

PROBED_ROWS = 64
"""Rows decoded to learn how wide those of a row group are, because dictionaries hide it from the footer."""


def read_parquet(reading: Reading) -> Iterator[Piece]:
    """Raises FileDamaged for what is no Parquet file, or is packed in another file."""
    if not reading.part.is_plain:
        raise FileDamaged("a Parquet file inside of another cannot be read in parts")
    row = 0
    try:
        file = pq.ParquetFile(pa.PythonFile(reading.part.open(), mode="r"), pre_buffer=False, buffer_size=1 << 20)
        for index in range(file.num_row_groups):
            count = file.metadata.row_group(index).num_rows
            if row + count <= reading.row:
                row += count
                continue
            for batch in file.iter_batches(batch_size=_batch_rows(file, index, reading), row_groups=[index]):
                done = max(reading.row - row, 0)
                row += batch.num_rows
                if done < batch.num_rows:
                    rest = batch.slice(done)
                    rest = rest.rename_columns(safe_names(reading.table, rest.schema.names))
                    yield Piece(rest, numbered(row - rest.num_rows + 1, rest.num_rows), {"row": row})
    except (pa.ArrowException, OSError) as error:
        raise FileDamaged(f"the file is no Parquet after row {row}") from error


def _batch_rows(file: pq.ParquetFile, index: int, reading: Reading) -> int:
    group = file.metadata.row_group(index)
    width = max(group.total_byte_size / max(group.num_rows, 1), 1)
    probed = max(1, min(PROBED_ROWS, int(reading.limit_bytes / (2 * width))))
    first = next(file.iter_batches(batch_size=probed, row_groups=[index]), None)
    if first is not None and first.num_rows:
        width = max(width, first.nbytes / first.num_rows)
    return max(1, min(int(group.num_rows), int(reading.limit_bytes / width)))

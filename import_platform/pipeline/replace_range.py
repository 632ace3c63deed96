"""What a backfill replaces: the rows of its range, in whatever leaves hold them at the commit.

Leaves inside the range go away whole. Of a leaf that holds the range and more, because it was merged back since the key
was made, exactly the rows of the range go away. What other writers brought since the pass began: see `newer_rows`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.layout import column_range, covers, in_range, overlaps
from import_platform.core.splice import Positions
from import_platform.core.table import HashPartition
from import_platform.io.delta import Snapshot
from import_platform.io.parquet import read_batches
from import_platform.pipeline.context import LakeTable

RANGE_BATCH_BYTES = 4 << 20


def range_files(table: LakeTable, snapshot: Snapshot | None, key: str) -> list[str]:
    """The files that can hold a row of the key's range."""
    if snapshot is None:
        return []
    partition = table.identity.partition
    return _of_leaves(snapshot, [leaf for leaf in snapshot.leaves if overlaps(key, leaf, partition)])


def whole_files(table: LakeTable, snapshot: Snapshot, key: str) -> list[str]:
    """The files all of whose rows are in the range."""
    partition = table.identity.partition
    return _of_leaves(snapshot, [leaf for leaf in snapshot.leaves if covers(key, leaf, partition)])


def _of_leaves(snapshot: Snapshot, leaves: Sequence[str]) -> list[str]:
    return snapshot.files.filter(pl.col("leaf").is_in(list(leaves)))["path"].to_list()


class PartlyInRange:
    """Positions of the range's rows in files that hold others too; of each file the partition column is read once."""

    def __init__(self, table: LakeTable, key: str) -> None:
        self._table = table
        self._key = key
        self._known: dict[str, Positions] = {}

    def rows(self, snapshot: Snapshot) -> dict[str, Positions]:
        """path -> sorted positions, of the files that have such rows."""
        table, key = self._table, self._key
        partly = set(range_files(table, snapshot, key)) - set(whole_files(table, snapshot, key))
        found = {path: self.positions(path, snapshot.schema) for path in sorted(partly)}
        return {path: positions for path, positions in found.items() if positions.size}

    def positions(self, path: str, schema: pa.Schema) -> Positions:
        """Of the rows of one file that are in the range, sorted."""
        if path not in self._known:
            self._known[path] = self._read(path, schema)
        return self._known[path]

    def _read(self, path: str, schema: pa.Schema) -> Positions:
        table, partition = self._table, self._table.identity.partition
        assert not isinstance(partition, HashPartition)  # its only key is `all`, which covers every leaf
        dtype = schema.field(partition.column).type
        range_ = column_range(self._key, partition, dtype)
        found = [np.empty(0, np.int64)]
        for at, batch in read_batches(
            table.store, f"{table.path}/{path}", columns=[partition.column], limit_bytes=RANGE_BATCH_BYTES
        ):
            column = batch.column(0).cast(dtype)
            frame = pl.DataFrame({partition.column: pl.from_arrow(column)})
            found.append(np.flatnonzero(in_range(frame, range_, dtype).to_numpy()).astype(np.int64) + at)
        return np.concatenate(found)

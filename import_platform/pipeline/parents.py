"""Parent tables as the lake has them, for sources whose lists hang on rows of another table.

What changed between two versions is found from files: those of the newer version that the older lacks, without the
rows that files gone since then held in the same words. Rewrites of unchanged rows fall out, whoever made them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from import_platform.core.arrow import arrow_array
from import_platform.core.table import PARTITION_COLUMN
from import_platform.errors import StoreUnavailable
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.parquet import read_batches
from import_platform.io.staging import Staging
from import_platform.sources.protocol import TokenExpired

GRACE_SECONDS, LATER_SECONDS, WAIT_SECONDS = 3.0, 10.0, 900.0
POLL_SECONDS = 0.2
Hashes = npt.NDArray[np.uint64]


class LakeParents:
    """The tables of one source. Memory of `changed`: 8 bytes per row of the files that went away, and a batch."""

    def __init__(self, lake: Lake, source: str) -> None:
        self._lake = lake
        self._source = source

    def version(self, table: str) -> int | None:
        snapshot = self._log(table).snapshot()
        return None if snapshot is None else snapshot.version

    def awaited_version(self, table: str) -> int | None:
        """As `version`, but while a sync of the table is under way elsewhere, its end is waited for: the first one's
        for long, because nothing can be read before it, a later one's for a moment."""
        staging = Staging(self._lake.store, self._lake.staging_path(self._source, table))
        started = time.monotonic()
        while True:
            found, is_open = self.version(table), bool(staging.attempts())
            patience = LATER_SECONDS if found is not None else WAIT_SECONDS
            if time.monotonic() - started >= (patience if is_open else 0.0 if found is not None else GRACE_SECONDS):
                return self.version(table)
            time.sleep(POLL_SECONDS)

    def changed(
        self, table: str, columns: Sequence[str], *, version: int, since: int | None
    ) -> Iterator[pa.RecordBatch]:
        now = self._paths(table, version)
        before = self._log(table).paths_at(since) if since is not None else frozenset()
        if before is None or not self._exist(table, before - now):
            before = frozenset()
        known = self._hashes(table, sorted(before - now))
        for path in sorted(now - before):
            for batch in self._batches(table, path):
                kept = batch
                if known.size:
                    kept = batch.filter(arrow_array(~np.isin(_row_hashes(batch), known)))
                if kept.num_rows:
                    yield _selected(kept, columns)

    def gone(self, table: str, columns: Sequence[str], *, version: int, since: int) -> pa.Table:
        now, before = self._paths(table, version), self._log(table).paths_at(since)
        if before is None or not self._exist(table, before - now):
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        old = self._values(table, sorted(before - now), columns)
        new = self._values(table, sorted(now - before), columns)
        if not old or not new:
            return (
                pa.Table.from_batches(old) if old else pa.table({name: pa.array([], pa.string()) for name in columns})
            )
        left, right = (pl.DataFrame(pl.from_arrow(pa.Table.from_batches(found))) for found in (old, new))
        return left.join(right, on=list(columns), how="anti", nulls_equal=True).to_arrow()

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        snapshot = self._log(table).snapshot()
        for path in sorted(snapshot.files["path"].to_list()) if snapshot is not None else ():
            for batch in self._batches(table, path):
                yield _selected(batch, columns)

    def _log(self, table: str) -> DeltaLog:
        return DeltaLog(self._lake.store, self._lake.table_path(self._source, table))

    def _paths(self, table: str, version: int) -> frozenset[str]:
        paths = self._log(table).paths_at(version)
        if paths is None or not self._exist(table, paths):
            raise TokenExpired(
                "the version of the parent that the pass began with is gone", table=table, remedy="It is read again."
            )
        return paths

    def _exist(self, table: str, paths: frozenset[str]) -> bool:
        folder = self._lake.table_path(self._source, table)
        return all(self._lake.store.size_bytes(f"{folder}/{path}") is not None for path in paths)

    def _batches(self, table: str, path: str) -> Iterator[pa.RecordBatch]:
        folder = self._lake.table_path(self._source, table)
        try:
            for _, batch in read_batches(self._lake.store, f"{folder}/{path}"):
                yield batch
        except FileNotFoundError:
            raise StoreUnavailable(
                "a file of the parent went away while it was read", table=table, remedy="Run the sync again."
            ) from None

    def _values(self, table: str, paths: Sequence[str], columns: Sequence[str]) -> list[pa.RecordBatch]:
        return [_selected(batch, columns) for path in paths for batch in self._batches(table, path)]

    def _hashes(self, table: str, paths: Sequence[str]) -> Hashes:
        found = [_row_hashes(batch) for path in paths for batch in self._batches(table, path)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


def _selected(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """The columns, null where a file has none of that name."""
    arrays = [
        batch.column(name) if name in batch.schema.names else pa.nulls(batch.num_rows, pa.string()) for name in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _row_hashes(batch: pa.RecordBatch) -> Hashes:
    """Of the values that are not null, by column name, so that a new empty column changes nothing."""
    total = np.zeros(batch.num_rows, dtype=np.uint64)
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name == PARTITION_COLUMN:
            continue
        series = pl.Series(name, pl.from_arrow(array))
        seed = int(pl.Series([name]).hash(7)[0]) % (1 << 32)
        mixed = series.hash(seed).to_numpy()
        total += np.where(series.is_null().to_numpy(), np.uint64(0), mixed)
    return total

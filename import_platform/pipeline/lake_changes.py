"""What a Delta version of a table has over another: found from the files that came and went, and in them by row hash.

Compactions and splits rewrite files without changing rows; those fall out, while the hashes fit into their share of the
memory. Where they do not, the rows of all new files are given, and whoever merges them finds most to be equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from import_platform.core.arrow import arrow_array
from import_platform.errors import StoreUnavailable
from import_platform.io.delta import DeltaLog, Snapshot
from import_platform.io.lake import Lake
from import_platform.io.parquet import conform, read_batches

BATCH_BYTES = 4 << 20
HASH_BYTES = 8
"""Of a row's hash; they are sorted in place."""

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Files:
    """Paths that a version has and the other lacks (`came`), and the reverse (`went`)."""

    came: tuple[str, ...]
    went: tuple[str, ...] = ()


class LakeChanges:
    """One table at one version, the newest when this is made. `merge_bytes` is for hashes."""

    def __init__(self, lake: Lake, source: str, table: str, snapshot: Snapshot, *, merge_bytes: int) -> None:
        self.snapshot = snapshot
        self._store = lake.store
        self._folder = lake.table_path(source, table)
        self._log = DeltaLog(lake.store, self._folder)
        self._merge_bytes = merge_bytes
        self._sizes = dict(snapshot.files.select("path", "rows").iter_rows())
        self._uri = lake.table_uri(source, table)

    def id(self) -> str:
        """Of the Delta table: another one after it was deleted and made anew."""
        try:
            return str(DeltaTable(self._uri, storage_options=self._store.storage_options).metadata().id)
        except (DeltaError, OSError) as error:
            raise StoreUnavailable(
                "the table's log cannot be read", table=self._uri, remedy="Check the lake; then publish again."
            ) from error

    def whole(self) -> Files:
        return Files(tuple(sorted(self._sizes)))

    def since(self, version: int) -> Files | None:
        """The files of now against those of a version; None where that one is gone, in the log or on disk."""
        before = self._log.paths_at(version) if version <= self.snapshot.version else None
        if before is None:
            return None
        went = sorted(before - set(self._sizes))
        if any(self._store.size_bytes(f"{self._folder}/{path}") is None for path in went):
            return None
        return Files(tuple(sorted(set(self._sizes) - before)), tuple(went))

    def rows(self, files: Files, *, known: Hashes | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of the files that came in the table's schema, without those whose hashes are known."""
        for batch in self._batches(files.came, self.snapshot.schema):
            kept = batch
            if known is not None:
                kept = batch.filter(arrow_array(~_among(_hashes(batch), known)))
            if kept.num_rows:
                yield kept

    def keys_gone(self, files: Files, key: Sequence[str], *, present: Hashes | None = None) -> Iterator[pa.RecordBatch]:
        """Keys of the files that went, without those whose hashes are present; a key may be in a file that came."""
        for batch in self._batches(files.went, self.key_schema(key)):
            kept = batch if present is None else batch.filter(arrow_array(~_among(_hashes(batch), present)))
            if kept.num_rows:
                yield kept

    def known(self, files: Files, key: Sequence[str]) -> tuple[Hashes | None, Hashes | None]:
        """Hashes of the rows that went, and of the keys that came; both None where they outgrow their share."""
        went = self._rows_in(files.went)
        came = sum(self._sizes[path] for path in files.came)
        if (went + came) * HASH_BYTES > self._merge_bytes:
            return None, None
        rows = self._sorted_hashes(files.went, self.snapshot.schema, went)
        return rows, self._sorted_hashes(files.came, self.key_schema(key), came)

    def key_schema(self, key: Sequence[str]) -> pa.Schema:
        return pa.schema([self.snapshot.schema.field(name) for name in key])

    def _sorted_hashes(self, paths: Sequence[str], schema: pa.Schema, count: int) -> Hashes:
        """Of `count` rows, which is what log and footers say."""
        hashes = np.empty(count, np.uint64)
        at = 0
        for batch in self._batches(paths, schema):
            hashes[at : at + batch.num_rows] = _hashes(batch)
            at += batch.num_rows
        hashes.sort()
        return hashes

    def _rows_in(self, paths: Sequence[str]) -> int:
        total = 0
        for path in paths:
            with self._store.open_input(f"{self._folder}/{path}") as file:
                total += pq.read_metadata(file).num_rows
        return total

    def _batches(self, paths: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        columns = None if schema.equals(self.snapshot.schema) else schema.names
        for path in paths:
            try:
                for _, batch in read_batches(
                    self._store, f"{self._folder}/{path}", columns=columns, limit_bytes=BATCH_BYTES
                ):
                    yield conform(batch, schema)
            except FileNotFoundError:
                raise StoreUnavailable(
                    "a file of the table went away while it was read", path=path, remedy="Publish again."
                ) from None


def _among(hashes: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    """Which of the hashes are in the sorted ones."""
    if not known.size:
        return np.zeros(hashes.size, dtype=bool)
    places = np.minimum(np.searchsorted(known, hashes), known.size - 1)
    return np.equal(known[places], hashes)


def _hashes(batch: pa.RecordBatch) -> Hashes:
    return pl.DataFrame(pl.from_arrow(batch)).hash_rows(7).to_numpy()

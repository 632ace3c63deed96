"""What a table remembers of deleted keys: small Parquet files beside its states, named by the state they belong to.

    _staging/<source>/<table>/tombstones/<id>.parquet       key and version columns, one row per deleted key

A file is written before the state that names it and never changed, so what is remembered is what was committed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.errors import StoreUnavailable
from import_platform.io.parquet import conform
from import_platform.io.store import Store

FILES_MAX = 16
"""Beyond so many files they are copied into one, so that a flush opens few."""


class Tombstones:
    """Those of one table; `path` is its staging folder."""

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._folder = f"{path}/tombstones"

    def batches(self, names: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The remembered keys in the order of their files, in these types; memory is a batch.

        Raises:
            StoreUnavailable: a file is gone, so nobody knows what was deleted.
        """
        for name in names:
            path = f"{self._folder}/{name}.parquet"
            if self._store.size_bytes(path) is None:
                raise StoreUnavailable(
                    "what the table remembers of deleted keys is gone",
                    path=path,
                    remedy="Read all files again: import-platform sync SOURCE/TABLE --full-refresh.",
                )
            with self._store.open_input(path) as file:
                for batch in pq.ParquetFile(file).iter_batches(use_threads=False):
                    yield conform(batch, schema)

    def added(self, known: Sequence[str], rows: Sequence[pa.RecordBatch], schema: pa.Schema) -> tuple[str, ...]:
        """The names after `rows` are remembered too; durable when this returns, and true once a state names them."""
        fold = len(known) >= FILES_MAX
        name = uuid.uuid4().hex
        with (
            self._store.open_output(f"{self._folder}/{name}.parquet") as sink,
            pq.ParquetWriter(sink, schema, compression="zstd") as out,
        ):
            for batch in self.batches(known, schema) if fold else ():
                out.write_batch(batch)
            for batch in rows:
                out.write_batch(conform(batch, schema))
        return (name,) if fold else (*known, name)

    def forget(self, living: Sequence[str], *, older_than: timedelta) -> None:
        """Deletes files that the state in force does not name, written so long ago that no writer means to."""
        young = datetime.now(UTC) - older_than
        kept = {f"{self._folder}/{name}.parquet" for name in living}
        entries = self._store.entries(self._folder)
        self._store.delete([e.path for e in entries if e.path not in kept and e.modified_at <= young])

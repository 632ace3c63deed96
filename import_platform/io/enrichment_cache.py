"""Answers of an enrichment, remembered by a digest of their key: Parquet files that are only ever added and joined.

    _staging/<source>/<table>/enriched/<cache id>/<name>.parquet   `digest`, and a column per output

Nothing depends on it but what is paid for: a file that is gone or broken means that its keys are asked for again.
"""

from __future__ import annotations

import io
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from import_platform.core.enriched_rows import DIGEST_BYTES
from import_platform.core.enrichment import Enrichment
from import_platform.errors import StoreUnavailable
from import_platform.io.store import Entry, Store

SAVE_ROWS = 2_000
SAVE_SECONDS = 5.0
JOIN_FILES = 16
ROW_GROUP_BYTES = 4 << 20
_KEY = "digest"
_TIER_BYTES = 64 << 10


class EnrichmentCache:
    """Memory: the answers that are not saved yet, one row group of digests, and the answers that are found.

    A lookup reads the digests of every file, 16 bytes a key; keys are hashes, so no order of files could spare them.
    """

    def __init__(self, store: Store, staging_path: str, enrichment: Enrichment) -> None:
        self._store = store
        self._folder = f"{staging_path}/enriched/{enrichment.cache_id}"
        outputs = [pa.field(output.name, output.type) for output in enrichment.outputs]
        # Columns by position: an output may be called `digest`.
        named = [pa.field(f"o{i}", output.type) for i, output in enumerate(outputs)]
        self._schema = pa.schema([pa.field(_KEY, pa.binary(DIGEST_BYTES)), *named])
        self._pending: dict[bytes, tuple[Any, ...]] = {}
        self._saved_at = time.monotonic()

    def find(self, digests: Collection[bytes]) -> dict[bytes, tuple[Any, ...]]:
        """The answers that are known of these keys."""
        found = {digest: self._pending[digest] for digest in digests if digest in self._pending}
        wanted = pa.array([digest for digest in digests if digest not in found], self._schema.field(0).type)
        if not len(wanted):
            return found
        for entry in self._entries():
            for rows in self._matching(entry, wanted):
                columns = [column.to_pylist() for column in rows.columns]
                found.update((values[0], tuple(values[1:])) for values in zip(*columns, strict=True))
        return found

    def put(self, digest: bytes, values: tuple[Any, ...]) -> None:
        self._pending[digest] = values

    @property
    def is_due(self) -> bool:
        """True when more would be lost to a kill than a file costs."""
        late = time.monotonic() - self._saved_at > SAVE_SECONDS
        return len(self._pending) >= SAVE_ROWS or (late and bool(self._pending))

    def save(self) -> None:
        """Makes every answer durable."""
        self._saved_at = time.monotonic()
        if not self._pending:
            return
        keys = pa.array(list(self._pending), self._schema.field(0).type)
        values = list(self._pending.values())
        columns = [pa.array([row[i] for row in values], field.type) for i, field in enumerate(list(self._schema)[1:])]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_arrays([keys, *columns], schema=self._schema), sink, compression="zstd")
        self._store.put(f"{self._folder}/{uuid.uuid4().hex}.parquet", sink.getvalue())
        self._pending.clear()
        self._join()

    def _entries(self) -> list[Entry]:
        return list(self._store.entries(self._folder))

    def _matching(self, entry: Entry, wanted: pa.Array | None) -> Iterator[pa.RecordBatch]:
        """The rows of these keys (None: all of them); none of a file that is gone or broken."""
        try:
            with self._store.open_input(entry.path) as file:
                reader = pq.ParquetFile(file)
                for group in range(reader.num_row_groups):
                    if wanted is None:
                        yield from reader.read_row_group(group, use_threads=False).to_batches()
                        continue
                    keys = reader.read_row_group(group, columns=[_KEY], use_threads=False).column(0)
                    hits = pc.indices_nonzero(pc.is_in(keys, value_set=wanted))
                    if len(hits):
                        yield from reader.read_row_group(group, use_threads=False).take(hits).to_batches()
        except pa.ArrowInvalid:  # whoever joined files was killed as it wrote this one, before it deleted those
            return
        except StoreUnavailable:
            if self._store.size_bytes(entry.path) is not None:
                raise

    def _join(self) -> None:
        """Files of about one size become one when there are many of them, so that a lookup opens few."""
        tiers: dict[int, list[Entry]] = defaultdict(list)
        for entry in self._entries():
            tiers[max(entry.size_bytes // _TIER_BYTES, 1).bit_length() // 4].append(entry)
        for entries in tiers.values():
            if len(entries) >= JOIN_FILES:
                self._rewrite(entries)

    def _rewrite(self, entries: Sequence[Entry]) -> None:
        with (
            self._store.open_output(f"{self._folder}/{uuid.uuid4().hex}.parquet") as sink,
            pq.ParquetWriter(sink, self._schema, compression="zstd") as writer,
        ):
            group: list[pa.RecordBatch] = []
            for entry in entries:
                for rows in self._matching(entry, None):
                    group.append(rows)
                    if sum(batch.nbytes for batch in group) >= ROW_GROUP_BYTES:
                        writer.write_table(pa.Table.from_batches(group))
                        group.clear()
            if group:
                writer.write_table(pa.Table.from_batches(group))
        self._store.delete([entry.path for entry in entries])

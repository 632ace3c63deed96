"""Key filters: a small file beside the table per data file, which says of a key that the data file lacks it.

A cache, not a part of the table: written when a merge has read the keys of a file and found none of its own, read by
the next merge instead of the keys, useless once the data file is rewritten. A lost one is made again.

The filter of a file is the ascending list of its keys' hashes (core.hashing), cut to FALSE_HIT_BITS more bits than it
takes to count the rows, in Parquet with delta encoding: about 23 bits a key, against 150 for a UUID as text. A Bloom
filter of the customary 10 bits errs for one key in a hundred, so a flush of a few hundred would look into every file.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.core.arrow import arrow_array
from import_platform.core.hashing import HASH_VERSION, key_hashes
from import_platform.errors import ImportPlatformError
from import_platform.io.store import Inputs, Store

FOLDER = "_filters"
FALSE_HIT_BITS = 20
"""A key that a file lacks is taken for present once in a million."""

FILTER_KEYS_MAX = 1 << 18
"""With more keys than this in a flush a filter would let a file pass by error more than once in four."""

FILTER_ROWS_MAX = 1 << 21
"""Files of more rows get no filter: sixteen bytes a row are held while it is made, and a slice while it is read."""

SLICE_ROWS = 1 << 17

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class Verdict:
    """`possible` False: the file has none of the keys. `size_bytes` is what the filter takes at rest."""

    possible: bool
    size_bytes: int


def filter_hashes(keys: pl.DataFrame, columns: Sequence[str]) -> Hashes:
    """One hash per key over the columns in their order."""
    return key_hashes(keys, columns)


class KeyFilters:
    """The filters of one table, listed once. What cannot be read or written is done without."""

    def __init__(self, store: Store, table_path: str, inputs: Inputs | None = None) -> None:
        self._store = store
        self._inputs = inputs or store
        self._folder = f"{table_path}/{FOLDER}"
        self._sizes: dict[str, int] | None = None
        self._lock = threading.Lock()

    def sizes(self) -> dict[str, int]:
        """Bytes at rest of each filter by its path in the store."""
        return dict(self._known())

    def look(self, path: str, hashes: Hashes) -> Verdict | None:
        """Whether a data file can hold one of the keys, whose hashes ascend; None where it has no filter."""
        size_bytes = self._known().get(self._path(path))
        if size_bytes is None:
            return None
        with (
            suppress(ImportPlatformError, OSError, pa.ArrowInvalid, KeyError, ValueError),
            self._inputs.open_input(self._path(path)) as file,
        ):
            reader = pq.ParquetFile(file)
            facts = json.loads(reader.schema_arrow.metadata[b"key_filter"])
            if facts["hash_version"] == HASH_VERSION:
                mine = (hashes >> np.uint64(64 - facts["bits"])).astype(np.int64)
                slices = (
                    reader.read_row_group(i, use_threads=False).column(0).to_numpy()
                    for i in range(reader.num_row_groups)
                )
                return Verdict(any(_meet(piece, mine) for piece in slices), size_bytes)
        return None

    def put(self, path: str, hashes: Hashes) -> None:
        """Writes the filter of a data file from the hashes of all its keys, in any order; uses the array up."""
        bits = min(max(len(hashes), 1).bit_length() + FALSE_HIT_BITS, 63)
        hashes.sort()
        hashes >>= np.uint64(64 - bits)
        cut = hashes.view(np.int64)
        facts = json.dumps({"bits": bits, "hash_version": HASH_VERSION})
        schema = pa.schema([pa.field("hash", pa.int64(), nullable=False)], metadata={"key_filter": facts})
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(
            sink, schema, compression="none", use_dictionary=False, column_encoding={"hash": "DELTA_BINARY_PACKED"}
        ) as writer:
            for start in range(0, len(cut), SLICE_ROWS):
                piece = arrow_array(cut[start : start + SLICE_ROWS])
                writer.write_table(pa.Table.from_arrays([piece], schema=schema), row_group_size=SLICE_ROWS)
        data = sink.getvalue().to_pybytes()
        with suppress(ImportPlatformError):
            self._store.put(self._path(path), data)
            self._known()[self._path(path)] = len(data)

    def forget(self, living: Iterable[str]) -> int:
        """Deletes the filters of data files that are not among the living; returns how many."""
        kept = {self._path(path) for path in living}
        dead = [entry.path for entry in self._store.entries(self._folder) if entry.path not in kept]
        self._store.delete(dead)
        return len(dead)

    def _known(self) -> dict[str, int]:
        with self._lock:
            if self._sizes is None:
                self._sizes = {}
                with suppress(ImportPlatformError):
                    self._sizes = {entry.path: entry.size_bytes for entry in self._store.entries(self._folder)}
            return self._sizes

    def _path(self, path: str) -> str:
        return f"{self._folder}/{path.rsplit('/', 1)[-1]}"


def _meet(sorted_slice: np.ndarray[Any, np.dtype[np.int64]], mine: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    """True when two ascending lists have a value in common."""
    low, high = np.searchsorted(mine, [sorted_slice[0], sorted_slice[-1] + 1])
    within = mine[low:high]
    at = np.searchsorted(sorted_slice, within)
    return bool((sorted_slice[np.minimum(at, len(sorted_slice) - 1)] == within).any())

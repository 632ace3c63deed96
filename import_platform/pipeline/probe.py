"""Where the lake holds the keys of a flush, found by reading key columns and key filters only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from import_platform.core.merge import ROW, Mask, keys_in_bounds
from import_platform.core.splice import NONE, NOTHING, Positions, Replaced
from import_platform.io.key_filter import FILTER_KEYS_MAX, FILTER_ROWS_MAX, KeyFilters, filter_hashes
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import read_batches
from import_platform.io.store import Inputs
from import_platform.pipeline.keys import FlushKeys, numbered

PROBE_BATCH_BYTES = 4 << 20


@dataclass(frozen=True)
class Hits:
    """Where keys were found in one file, and the row of the flush that each belongs to, unless those are too many.

    `updated_rows` counts the rows of the flush that are written anew. `was_read` is False when the file's key filter
    ruled it out, `filter_bytes` is what reading that took.
    """

    found: Replaced
    updated_rows: int = 0
    was_read: bool = True
    filter_bytes: int = 0


class Probe:
    """Looks for the keys of one flush in files, in each only once; without `filters` where the keys are no table's.

    Memory: a pass of keys; per worker a batch of key columns; eight bytes per row found, four where it takes
    passes.
    """

    def __init__(
        self,
        keys: FlushKeys,
        inputs: Inputs,
        table_path: str,
        filters: KeyFilters | None,
        *,
        workers: int,
        watch: MemoryWatch,
    ) -> None:
        self._keys = keys
        self._inputs = inputs
        self._table_path = table_path
        self._filters = filters
        self._workers = workers
        self._watch = watch
        self._known: dict[str, Hits] = {}

    def hits(self, files: pl.DataFrame) -> dict[str, Hits]:
        """Per path; `files` has path, rows and perhaps bounds of the first key column."""
        todo = files.filter(~pl.col("path").is_in(list(self._known)))
        if todo.height:
            if self._keys.passes == 1:
                self._look_once(todo)
            else:
                self._look_in_passes(todo)
        return {path: self._known[path] for path in files["path"]}

    def _look_once(self, files: pl.DataFrame) -> None:
        [keys] = self._keys.frames()
        names, first = self._keys.names, self._keys.primary_key[0]
        few = 0 < keys.height <= FILTER_KEYS_MAX and self._filters is not None
        hashes = np.sort(filter_hashes(keys, names)) if few else None

        def look(file: dict[str, object]) -> Hits:
            path, rows = str(file["path"]), file["rows"]
            mine = keys_in_bounds(keys, names[0], file.get(f"min.{first}"), file.get(f"max.{first}"))
            if hashes is None or self._filters is None or not isinstance(rows, int) or rows > FILTER_ROWS_MAX:
                return self._read(path, mine, build=False)
            verdict = self._filters.look(path, hashes)
            if verdict is None:
                return self._read(path, mine, build=True)
            if not verdict.possible:
                return Hits(NOTHING, was_read=False, filter_bytes=verdict.size_bytes)
            return self._read(path, mine, build=False, filter_bytes=verdict.size_bytes)

        with ThreadPoolExecutor(self._workers, thread_name_prefix="probe") as pool:
            self._known.update(zip(files["path"], pool.map(look, files.iter_rows(named=True)), strict=True))

    def _look_in_passes(self, files: pl.DataFrame) -> None:
        paths = files["path"].to_list()
        positions: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int32]]]] = {path: [] for path in paths}
        updated = dict.fromkeys(paths, 0)
        with ThreadPoolExecutor(self._workers, thread_name_prefix="probe") as pool:
            for keys in self._keys.frames():
                look = pool.map(lambda path, keys=keys: self._read(path, keys, build=False), paths)
                for path, hits in zip(paths, look, strict=True):
                    positions[path].append(hits.found.positions.astype(np.int32))
                    updated[path] += hits.updated_rows
                del keys, look, hits  # the next pass is made before it takes their place
        for path in paths:
            every = np.concatenate(positions.pop(path))  # 32 bits still: there are as many as rows in the flush
            every.sort()
            self._known[path] = Hits(Replaced(every, NONE), updated[path])

    def _read(self, path: str, keys: pl.DataFrame, *, build: bool, filter_bytes: int = 0) -> Hits:
        names, primary_key = self._keys.names, list(self._keys.primary_key)
        types = keys.select(names).schema
        positions: list[Positions] = [NONE]
        rows: list[Positions] = [NONE]
        hashes = []
        for at, batch in read_batches(
            self._inputs, f"{self._table_path}/{path}", columns=primary_key, limit_bytes=PROBE_BATCH_BYTES
        ):
            with self._watch.breathe():
                frame = numbered(batch, primary_key).cast(types)
                hit = frame.with_row_index("at").join(keys, on=names, how="inner", nulls_equal=True).sort("at")
            if hit.height:
                positions.append(hit["at"].to_numpy().astype(np.int64) + at)
                rows.append(hit[ROW].to_numpy().astype(np.int64))
            build = build and not hit.height
            if build:
                hashes.append(filter_hashes(frame, names))
        # A file that is hit will be rewritten, a filter of it would be for nothing.
        if build and hashes and self._filters is not None:
            self._filters.put(path, np.concatenate(hashes))
        found = Replaced(np.concatenate(positions), np.concatenate(rows))
        return Hits(found, _count_written(found.rows, self._keys.keep), filter_bytes=filter_bytes)


def _count_written(rows: Positions, keep: Mask | None) -> int:
    """Each row once, though the lake may have its key twice; without those that only take their key away."""
    different = np.unique(rows)
    return len(different) if keep is None else int(keep[different].sum())

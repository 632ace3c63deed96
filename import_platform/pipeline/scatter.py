"""Rows of some files to the leaves they belong to, with a bounded number of open files and of buffered bytes.

Where there are more leaves than files may be open, the inputs are read in several passes, each writing some of the
leaves: reading twice is cheaper than leaving thousands of small files behind. Later passes read only the row groups
that held rows of their leaves in the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import Self, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.layout import sort_key
from import_platform.core.splice import Positions
from import_platform.io.encoding import Encodings
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import ROW_GROUP_BYTES, LeafWriter, WrittenFile, conform, read_batches, without_rows
from import_platform.pipeline.leaves import OPEN_WRITERS, LeafWriters, TableFiles

T = TypeVar("T")
Place = Callable[[pa.RecordBatch], pl.Series]
OnRows = Callable[[int], None]


def ignore_rows(rows: int) -> None:
    """An OnRows for callers who watch nothing."""


BUFFER_BYTES = 1 * MIB
"""Decoded bytes a writer holds on average. Row groups have about twice that, because the fullest is encoded first: at
512 MiB the 28 children of a 400 MB leaf took 1.00 times its bytes, so larger buffers would gain nothing."""
UPLOAD_BYTES = 8 * MIB  # one part of a multipart upload, held by each file open on a remote store
OPEN_MIN = 4


def open_leaves_max(budget: MemoryBudget, *, is_local: bool) -> int:
    """How many leaves one pass writes."""
    each = BUFFER_BYTES if is_local else BUFFER_BYTES + UPLOAD_BYTES
    return max(OPEN_MIN, min(OPEN_WRITERS, buffered_bytes(budget) // each))


def buffered_bytes(budget: MemoryBudget) -> int:
    """Decoded bytes all writers hold together; what else a rewrite needs comes out of the merge's other shares."""
    return budget.merge_bytes * 5 // 8


def batch_bytes(budget: MemoryBudget) -> int:
    """Decoded bytes of one batch; about four are alive at once. Small ones are cut into too many leaves to be quick."""
    return min(max(budget.free_bytes // 32, 2 * MIB), ROW_GROUP_BYTES)


class Scatter:
    """Rewrites files of one snapshot. `targets` are the leaves expected; others may turn up and are written too.

    `gone` are positions of rows that go away, per file.
    """

    def __init__(
        self,
        table: TableFiles,
        schema: pa.Schema,
        place: Place,
        *,
        targets: Sequence[str],
        statistics_first: Sequence[str],
        budget: MemoryBudget,
        watch: MemoryWatch,
        on_rows: OnRows,
        gone: Mapping[str, Positions] | None = None,
    ) -> None:
        self._table = table
        self._schema = schema
        self._place = place
        self._statistics_first = statistics_first
        self._budget = budget
        self._gone = gone or {}
        self._encodings = Encodings()
        self._watch = watch
        self._on_rows = on_rows
        open_max = open_leaves_max(budget, is_local=table.store.is_local)
        self._pass_of, self._passes = passes_of(targets, open_max)

    def write(self, paths: Sequence[str]) -> list[WrittenFile]:
        """The finished files; rows of a leaf keep their order within an input."""
        index: dict[str, list[set[int]]] = {}
        files: list[WrittenFile] = []
        for number in range(self._passes):
            writers = LeafWriters(self._writer, buffered_bytes(self._budget))
            with WriteBehind(writers) as behind:
                for path in paths:
                    for batch, leaves in read_ahead(self._batches(path, number, index)):
                        behind.write(
                            (leaf, batch if rows is None else batch.take(rows))
                            for leaf, rows in _rows_by_leaf(leaves)
                            if self._passes == 1 or self._pass_of.get(leaf, 0) == number
                        )
                        if number == 0:
                            self._on_rows(batch.num_rows)
            files += writers.close()
        return files

    def _batches(
        self, path: str, number: int, index: dict[str, list[set[int]]]
    ) -> Iterator[tuple[pa.RecordBatch, pl.Series]]:
        """Batches of the file that can hold rows of a pass; the first pass notes in `index` which row groups do."""
        full = f"{self._table.path}/{path}"
        starts, wanted = None, None
        if self._passes > 1:
            if number == 0:
                starts = _row_group_starts(self._table, full)
                index[path] = [set() for _ in starts]
            else:
                wanted = [group for group, passes in enumerate(index[path]) if number in passes]
                if not wanted:
                    return
        for at, raw in read_batches(self._table.store, full, row_groups=wanted, limit_bytes=batch_bytes(self._budget)):
            with self._watch.breathe():
                kept = without_rows(raw, at, self._gone[path]) if path in self._gone else raw
                if not kept.num_rows:
                    continue
                batch = conform(kept, self._schema)
                leaves = self._place(batch)
                if starts is not None:
                    group = int(np.searchsorted(starts, at, side="right")) - 1
                    index[path][group].update(self._pass_of.get(leaf, 0) for leaf in leaves.unique().to_list())
                yield batch, leaves

    def _writer(self, leaf: str) -> LeafWriter:
        first = self._statistics_first
        return LeafWriter(
            self._table.store, self._table.path, leaf, self._schema, statistics_first=first, encodings=self._encodings
        )


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is made in a thread while the caller works on the last."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item


class WriteBehind:
    """Writes the pieces of one batch in a thread while the caller makes those of the next: encoding is half the work.

    The block ends when everything is written, and raises what writing raised.
    """

    def __init__(self, writers: LeafWriters) -> None:
        self._writers = writers
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._written: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._pool.shutdown()

    def write(self, pieces: Iterable[tuple[str, pa.RecordBatch]]) -> None:
        """Takes (leaf, rows) once the pieces before are written, so that those of two batches are held at most."""
        ready = list(pieces)
        self._wait()
        self._written = self._pool.submit(self._write, ready)

    def _write(self, pieces: list[tuple[str, pa.RecordBatch]]) -> None:
        while pieces:
            self._writers.write(*pieces.pop())

    def _wait(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.result()


def passes_of(targets: Sequence[str], open_max: int) -> tuple[dict[str, int], int]:
    """leaf -> the pass that writes it, and how many there are; neighbours share one, so that sorted inputs do too."""
    ordered = sorted(targets, key=sort_key)
    count = max(1, -(-len(ordered) // open_max))
    return {leaf: at * count // len(ordered) for at, leaf in enumerate(ordered)}, count


def _rows_by_leaf(leaves: pl.Series) -> Iterator[tuple[str, pa.Array | None]]:
    """Each leaf with its row numbers in ascending order; None for all rows."""
    if leaves.n_unique() == 1:
        yield str(leaves[0]), None
        return
    grouped = pl.DataFrame({"leaf": leaves}).with_row_index("at").group_by("leaf").agg("at")
    for leaf, rows in zip(grouped["leaf"], grouped["at"], strict=True):
        yield str(leaf), rows.to_arrow()


def _row_group_starts(table: TableFiles, path: str) -> list[int]:
    with table.store.open_input(path) as file:
        footer = pq.ParquetFile(file).metadata
    counts = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    return list(accumulate(counts, initial=0))[:-1] if counts else []

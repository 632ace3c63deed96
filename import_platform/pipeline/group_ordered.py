"""Parquet files in order, grouped by key into Parquet files: streamed, verified, in parallel, and resumed after a kill.

The input is cut into spans of row groups. A worker takes one span alone: it leaves out the rows that go on with the
group of the span before, reads on past the end of its span until its last group is whole, and writes files of its own.
So the output does not depend on the number of workers, and a span that is done is done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.groups import GroupBy, OrderedGroups, shares_of
from import_platform.core.ordering import Place
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet_files import ParquetFiles
from import_platform.io.store import Store

SPAN_BYTES = 64 * MIB
"""Of input at rest: enough to make the first look at the span before cheap, few enough to share among workers."""

BATCH_BYTES = 4 * MIB
ROW_GROUP_BYTES = 16 * MIB
WORKER_BYTES = 3 * BATCH_BYTES + 3 * ROW_GROUP_BYTES
"""Batches being read, compared and grouped; a buffered row group, its columns encoded, and one on its way out."""

MANIFEST = "_group.json"
DONE = "_done"


@dataclass(frozen=True)
class RowGroup:
    """One row group of an input; `first_row` is its first row's position in the file."""

    file: str
    index: int
    rows: int
    first_row: int
    bytes: int


@dataclass(frozen=True)
class GroupedFiles:
    """What was read and written. Counts of a resumed run are of this run alone, but for `parts`. `left_out` of the
    groups are in no share."""

    rows: int
    groups: int
    left_out: int
    parts: int
    resumed: int


@dataclass
class _Count:
    rows: int = 0
    groups: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Output:
    """Where groups go: `<share>/part-<span>.parquet` under the store's root, `part-<span>.parquet` without shares."""

    store: Store
    shares: Mapping[str, float] = field(default_factory=dict)


def group_ordered(
    files: ParquetFiles,
    grouping: GroupBy,
    output: Output,
    *,
    budget: MemoryBudget,
    watch: MemoryWatch | None = None,
    workers: int | None = None,
    span_bytes: int = SPAN_BYTES,
    on_rows: Callable[[int], None] = lambda rows: None,
    stop: Callable[[], bool] = lambda: False,
    replace: bool = False,
) -> GroupedFiles:
    """Reads every row once (and the key columns of one row group per span twice). Memory: WORKER_BYTES a worker and
    twice the largest group; the workers are as many as the budget feeds, at most one a core. `replace` starts over
    where the folder holds groups of something else.

    Raises:
        ConfigError: the output folder holds something else, or the files have not the columns (exit code 2).
        OutOfOrder, MemoryBudgetExceeded: see `OrderedGroups`; what is done stays done.
        Interrupted: stopped on request; what is done stays done.
    """
    row_groups = _row_groups(files)
    spans = spans_of(row_groups, span_bytes)
    done = _resumed(output, _manifest(row_groups, grouping, output, spans), replace=replace)
    at_once = workers or max(1, min(os.cpu_count() or 1, budget.free_bytes // 2 // WORKER_BYTES))
    limit_bytes = max(budget.free_bytes - at_once * WORKER_BYTES, 2 * WORKER_BYTES) // (2 * at_once)
    work = _Work(files, grouping, output, row_groups, limit_bytes, watch or MemoryWatch(), on_rows, stop)
    with ThreadPoolExecutor(at_once, thread_name_prefix="group") as pool:
        running = [pool.submit(work.run, number, span) for number, span in enumerate(spans) if number not in done]
        try:
            counts = [future.result() for future in running]
        finally:
            pool.shutdown(cancel_futures=True)
    parts = sum(entry.path.endswith(".parquet") for entry in output.store.entries(""))
    return GroupedFiles(
        sum(c.rows for c in counts),
        sum(c.groups for c in counts),
        sum(c.left_out for c in counts),
        parts,
        len(done),
    )


def spans_of(row_groups: Sequence[RowGroup], span_bytes: int) -> list[range]:
    """Consecutive row groups, by position in the list, of at least `span_bytes` together but for the last."""
    spans, start, size = [], 0, 0
    for position, row_group in enumerate(row_groups):
        size += row_group.bytes
        if size >= span_bytes or position == len(row_groups) - 1:
            spans.append(range(start, position + 1))
            start, size = position + 1, 0
    return spans


@dataclass
class _Work:
    files: ParquetFiles
    grouping: GroupBy
    output: Output
    row_groups: Sequence[RowGroup]
    limit_bytes: int
    watch: MemoryWatch
    on_rows: Callable[[int], None]
    stop: Callable[[], bool]

    def run(self, number: int, span: range) -> _Count:
        """One span into files of its own, which count once they are marked as done."""
        count = _Count()
        with _Parts(self.output, number) as parts:
            for grouped in self._groups(span, count):
                count.groups += grouped.num_rows
                count.left_out += grouped.num_rows
                for share, some in self._shared(grouped):
                    count.left_out -= some.num_rows
                    parts.write(share, some)
        self.output.store.put(f"{DONE}/{number:05d}", json.dumps(asdict(count)).encode())
        return count

    def _groups(self, span: range, count: _Count) -> Iterator[pa.RecordBatch]:
        groups = OrderedGroups(self.grouping, limit_bytes=self.limit_bytes, after=self._row_before(span.start))
        for position in span:
            for at, batch in self._batches(self.row_groups[position]):
                if self.stop():
                    raise Interrupted("stopped before the end", remedy="The same again goes on from here.")
                with self.watch.breathe():
                    yield from groups.add(Place(self.row_groups[position].file, at), batch)
                count.rows += batch.num_rows
                self.on_rows(batch.num_rows)
        for row_group in self.row_groups[span.stop :]:
            for at, batch in self._batches(row_group):
                if not groups.is_open:
                    return
                yield from groups.add(Place(row_group.file, at), batch, until_start=True)
        yield from groups.end()

    def _batches(
        self, row_group: RowGroup, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        names = list(columns or self.grouping.columns)
        found = self.files.row_group(row_group.file, row_group.index, columns=names, limit_bytes=BATCH_BYTES)
        at = row_group.first_row
        for batch in found:
            yield at, batch.select(names)
            at += batch.num_rows

    def _row_before(self, position: int) -> pa.RecordBatch | None:
        """The last row before a row group, of the columns that decide about order."""
        last = None
        for row_group in reversed(self.row_groups[:position]):
            for _, batch in self._batches(row_group):
                last = batch
            if last is not None:
                return last.slice(last.num_rows - 1)
        return None

    def _shared(self, grouped: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        if not self.output.shares:
            yield "", grouped
            return
        yield from shares_of(grouped, self.grouping.by, self.output.shares).items()


class _Parts:
    """The files of one span, one a share, each opened by its first group."""

    def __init__(self, output: Output, number: int) -> None:
        self._output = output
        self._number = number
        self._stack = ExitStack()
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pa.RecordBatch]] = {}
        self._bytes: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                for share in list(self._waiting):
                    self._drain(share)
        finally:
            self._stack.__exit__(None, None, None)

    def write(self, share: str, grouped: pa.RecordBatch) -> None:
        self._waiting.setdefault(share, []).append(grouped)
        self._bytes[share] = self._bytes.get(share, 0) + grouped.nbytes
        if self._bytes[share] >= ROW_GROUP_BYTES // max(len(self._output.shares), 1):
            self._drain(share)

    def _drain(self, share: str) -> None:
        table = pa.Table.from_batches(self._waiting.pop(share))
        self._bytes[share] = 0
        if share not in self._writers:
            folder = f"{share}/" if share else ""
            sink = self._stack.enter_context(self._output.store.open_output(f"{folder}part-{self._number:05d}.parquet"))
            writer = pq.ParquetWriter(sink, table.schema, **_encoding(table.schema))
            self._writers[share] = self._stack.enter_context(writer)
        self._writers[share].write_table(table, row_group_size=table.num_rows)


def _encoding(schema: pa.Schema) -> dict[str, object]:
    """Whole numbers and instants as differences: in order, or nearly, they take next to nothing."""
    leaf = {f.name: f.type.value_type if pa.types.is_list(f.type) else f.type for f in schema}
    path = {f.name: f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name for f in schema}
    whole = [path[n] for n, t in leaf.items() if pa.types.is_signed_integer(t) or pa.types.is_temporal(t)]
    texts = [path[n] for n, t in leaf.items() if pa.types.is_string(t) and n in schema.names and path[n] != n]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": texts,
        "column_encoding": dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
    }


def _row_groups(files: ParquetFiles) -> list[RowGroup]:
    found = []
    for name in files.names:
        footer, first_row = files.footer(name), 0
        for index in range(footer.num_row_groups):
            group = footer.row_group(index)
            size = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
            found.append(RowGroup(name, index, group.num_rows, first_row, size))
            first_row += group.num_rows
    return found


def _manifest(row_groups: Sequence[RowGroup], grouping: GroupBy, output: Output, spans: Sequence[range]) -> bytes:
    """What the parts are made of; parts of something else are never mixed with these."""
    sizes = [(group.file, group.rows, group.bytes) for group in row_groups]
    inputs = hashlib.blake2b(json.dumps(sizes).encode(), digest_size=16).hexdigest()
    told = {**asdict(grouping), "shares": dict(output.shares), "inputs": inputs, "spans": len(spans)}
    return json.dumps(told, sort_keys=True).encode()


def emptied(output: Output) -> None:
    """Deletes what an earlier run left.

    Raises:
        ConfigError: the folder holds something that no run of this kind made.
    """
    if output.store.get(MANIFEST) is None and next(output.store.entries(""), None) is not None:
        raise _not_ours(output)
    output.store.remove_folder("")


def _not_ours(output: Output) -> ConfigError:
    return ConfigError(
        "the output folder holds something else",
        folder=output.store.uri,
        remedy="Name an empty folder (--overwrite replaces the groups of an earlier run, and nothing else).",
    )


def total(output: Output) -> tuple[int, int, int]:
    """Rows, groups and groups left out of all spans that are done, whichever run did them."""
    told = [json.loads(output.store.get(entry.path) or b"{}") for entry in output.store.entries(DONE)]
    rows, groups, left_out = (sum(each.get(name, 0) for each in told) for name in ("rows", "groups", "left_out"))
    return rows, groups, left_out


def _resumed(output: Output, manifest: bytes, *, replace: bool) -> set[int]:
    """Spans that are done. A folder that holds anything of another run is refused, or emptied to `replace` it."""
    found = output.store.get(MANIFEST)
    if found is not None and found != manifest and replace:
        emptied(output)
        found = None
    if found == manifest:
        return {int(entry.path.rsplit("/", 1)[-1]) for entry in output.store.entries(DONE)}
    if found is not None or next(output.store.entries(""), None) is not None:
        raise _not_ours(output)
    output.store.put(MANIFEST, manifest)
    return set()

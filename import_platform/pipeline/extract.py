"""Pages from the source gathered into chunks, each staged durably with the point where a resume goes on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.arrow import arrow_array, arrow_scalar, numpy_mask
from import_platform.core.cursor import CursorValue, decode, encode, later, looked_back
from import_platform.core.enrichment import enriched_schema
from import_platform.core.hashing import key_hashes
from import_platform.core.known import Known
from import_platform.core.layout import column_range
from import_platform.core.rejected import RejectedRow
from import_platform.core.report import Stage, SyncReport
from import_platform.core.state import Attempt, AttemptKind, Checkpoint, TableState
from import_platform.core.table import SyncMode
from import_platform.pipeline.context import OpenTable
from import_platform.pipeline.enrich import Enriching
from import_platform.pipeline.fitting import Fitting
from import_platform.pipeline.read_ahead import read_ahead
from import_platform.sources.protocol import CursorWindow, Page, ReadRequest, ReadsFeed, Token

CHUNK_SECONDS = 2.0
TAIL_ROWS = 50_000
"""Hashes that a merge keeps of rows at an unsettled cursor value: more rows than that are merged again, which is only
slower. An append keeps all of them, because a row that it reads again and does not know is doubled."""


def read_request(table: OpenTable, attempt: Attempt, state: TableState, after: Token | None) -> ReadRequest:
    """The read that an attempt makes, from the start or from a token. Depends on nothing but durable state."""
    spec, budget = table.spec, table.context.budget
    window = None
    if attempt.kind in (AttemptKind.INCREMENTAL, AttemptKind.APPEND) and spec.cursor is not None:
        merges = attempt.kind is AttemptKind.INCREMENTAL
        since = attempt.after if attempt.after is None else _looked_back(table, attempt.after)
        again = not state.settled or spec.lookback is not None
        window = CursorWindow(spec.cursor, since, attempt.ceiling, inclusive=again, merges=merges)
    elif spec.sync is SyncMode.APPEND and spec.cursor is not None and attempt.ceiling is not None:
        # Rows past the ceiling are the next append's: read now, they would come twice.
        window = CursorWindow(spec.cursor, None, attempt.ceiling)
    range_ = None
    if attempt.replaces_range:
        column = getattr(spec.partition, "column", None)
        info = spec.info.column(column) if column else None
        range_ = column_range(attempt.key, spec.partition, info.type if info else pa.string())
    return ReadRequest(
        spec.info,
        tuple(c.name for c in spec.info.columns),
        spec.primary_key,
        window,
        range_,
        after,
        page_bytes=budget.page_bytes,
        row_bytes_max=budget.row_bytes_max,
        files=attempt.files if isinstance(table.context.source, ReadsFeed) else None,
    )


def _looked_back(table: OpenTable, value: CursorValue) -> CursorValue:
    spec = table.spec
    column = spec.info.column(spec.cursor) if spec.cursor is not None else None
    return value if spec.lookback is None or column is None else looked_back(value, spec.lookback, column.type)


@dataclass
class _Gathering:
    """Pages of the chunk being gathered. Mutable: one lives for the length of a chunk.

    `token` is where a resume goes on; `whole` says that no row after it was gathered.
    """

    started: float
    token: Token | None = None
    whole: bool = True
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)
    tail: list[int] = field(default_factory=list)
    met: list[int] = field(default_factory=list)
    reached: CursorValue | None = None
    bytes: int = 0
    rows: int = 0
    content: int = 0


class Extract:
    """One attempt's pass over the source. Iterating stages chunks and yields their checkpoints.

    Memory: one chunk plus about five pages. Ends early, at a checkpoint, when the context says stop or time is up;
    `ended` tells whether the source was read to its end.
    """

    def __init__(
        self,
        table: OpenTable,
        attempt: Attempt,
        state: TableState,
        done: list[Checkpoint],
        report: SyncReport,
        *,
        deadline: float,
    ) -> None:
        self._table = table
        self._attempt = attempt
        self._report = report
        self._deadline = deadline
        self._number = done[-1].number if done else 0
        self._previous = done[-1].id if done else ""
        self._request = read_request(table, attempt, state, done[-1].token if done else None)
        self._counted = table.spec.sync is SyncMode.APPEND and not table.spec.primary_key
        used = [known for checkpoint in done for known in checkpoint.met]
        again = not state.settled or table.spec.lookback is not None
        self._known = Known(state.tail if again else (), counted=self._counted, used=used)
        self._fitting = Fitting(table.spec, table.snapshot)
        self._schema = pa.schema([*self._fitting.schema, *enriched_schema(table.spec.enrich)])
        self._enriching = Enriching(table, self._stopping)
        self.ended = bool(done and done[-1].end)

    def __iter__(self) -> Iterator[Checkpoint]:
        if self.ended:
            return
        chunk = _Gathering(time.monotonic(), token=self._request.after)
        with self._enriching, closing(self._pages()) as pages:
            yield from self._chunks(chunk, pages)

    def _pages(self) -> Generator[Page]:
        source = self._table.context.source
        pages = iter(source.read(self._request))
        if getattr(source, "reads_ahead", False):
            pages = read_ahead(pages, page_bytes=self._request.page_bytes)
        yield from pages

    def _chunks(self, chunk: _Gathering, pages: Iterator[Page]) -> Iterator[Checkpoint]:
        while True:
            try:
                page = next(pages, None)
            except Exception:
                if chunk.whole:  # what was fetched before the source failed need not be fetched again
                    yield from self._stage(chunk, end=False)
                raise
            if page is None:
                break
            with self._table.context.watch.breathe():
                self._take(chunk, page)
            if self._stopping():
                if chunk.whole:
                    yield from self._stage(chunk, end=False)
                return
            full = chunk.bytes >= self._table.context.budget.chunk_bytes
            if full or (chunk.whole and chunk.rows and time.monotonic() - chunk.started > CHUNK_SECONDS):
                yield from self._stage(chunk, end=False)
                chunk = _Gathering(time.monotonic(), token=chunk.token)
        yield from self._stage(chunk, end=True)
        self.ended = True

    def _stopping(self) -> bool:
        return self._table.context.stop() or time.monotonic() > self._deadline

    def _take(self, chunk: _Gathering, page: Page) -> None:
        self._report.rows_read += page.batch.num_rows + len(page.rejected)
        self._report.bytes_read += page.batch.nbytes
        rows, rejected = self._fitting.fit(page)
        self._report.rows_rejected += len(rejected)
        sifted = self._without_known if self._attempt.kind is not AttemptKind.BACKFILL else self._known_only
        batch = self._enriching.enrich(sifted(chunk, rows))
        chunk.whole = page.token is not None
        chunk.token = page.token if chunk.whole else chunk.token
        if self._attempt.open_ended:
            self._reach(chunk, rows)
        else:
            chunk.tail += self._tail(rows)
        chunk.rejected += rejected
        if batch.num_rows:
            chunk.batches.append(batch)
            chunk.bytes += batch.nbytes
            chunk.rows += batch.num_rows
            if self._attempt.kind is AttemptKind.FULL_REFRESH:
                chunk.content = (chunk.content + _content(batch)) % 2**64
        estimate = self._table.spec.info.row_estimate
        whole = self._attempt.after is None and self._request.range is None
        total = estimate if estimate >= 0 and whole else None
        self._table.context.observer.progress(
            self._table.spec.id,
            Stage.READING,
            rows=self._report.rows_read,
            bytes_=self._report.bytes_read + page.ahead_bytes,
            total_rows=total,
        )

    def _without_known(self, chunk: _Gathering, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Leaves out rows at the last cursor value, with a lookback not past it, that are in the lake as they are."""
        at = self._at(batch, self._attempt.after, self._compared(pc.less_equal)) if self._known else None
        if at is None or not at.any():
            return batch
        seen = np.zeros(batch.num_rows, dtype=bool)
        seen[np.flatnonzero(at)] = self._meet(chunk, batch.filter(arrow_array(at)))
        return batch.filter(arrow_array(~seen))

    def _meet(self, chunk: _Gathering, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        hashes = self._hashes(batch)
        known = self._known.meet(hashes)
        if self._counted:
            chunk.met += hashes[known].tolist()
        return known

    def _known_only(self, chunk: _Gathering, batch: pa.RecordBatch) -> pa.RecordBatch:
        """For a backfill of an append table: without rows at an unsettled cursor value that no sync has brought yet."""
        at = None if self._attempt.settled else self._at(batch, self._attempt.ceiling)
        if at is None or not at.any():
            return batch
        keep = ~at
        keep[at] = self._meet(chunk, batch.filter(arrow_array(at)))
        return batch.filter(arrow_array(keep))

    def _tail(self, batch: pa.RecordBatch) -> list[int]:
        lookback = self._table.spec.lookback
        if (self._attempt.settled and lookback is None) or self._attempt.kind is AttemptKind.BACKFILL:
            return []
        ceiling = self._attempt.ceiling
        since = ceiling if ceiling is None else _looked_back(self._table, ceiling)
        return self._hashes_at(batch, self._at(batch, since, self._compared(pc.greater_equal)))

    def _reach(self, chunk: _Gathering, batch: pa.RecordBatch) -> None:
        """For a pass whose ceiling is what its rows reach: the greatest value so far, and the rows that have it."""
        cursor = str(self._table.spec.cursor)
        top = pc.max(batch.column(cursor)) if batch.num_rows else None
        if top is None or not top.is_valid:
            return
        value = encode(top.as_py(), top.type)
        if later(chunk.reached, value, top.type) != chunk.reached:
            chunk.reached = value
            chunk.tail.clear()
        chunk.tail += self._hashes_at(batch, self._at(batch, chunk.reached))

    def _hashes_at(self, batch: pa.RecordBatch, at: npt.NDArray[np.bool_] | None) -> list[int]:
        return [] if at is None or not at.any() else [int(h) for h in self._hashes(batch.filter(arrow_array(at)))]

    def _hashes(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        """What tells rows at one cursor value apart: their content; their key where rows only come and never change."""
        key = self._table.spec.primary_key
        return row_hashes(batch.select(key) if key and self._table.spec.sync is SyncMode.APPEND else batch)

    def _compared(self, looking_back: Callable[..., Any]) -> Callable[..., Any]:
        return pc.equal if self._table.spec.lookback is None else looking_back

    def _at(
        self, batch: pa.RecordBatch, value: str | None, compare: Callable[..., Any] = pc.equal
    ) -> npt.NDArray[np.bool_] | None:
        cursor = self._table.spec.cursor
        if cursor is None or value is None or not batch.num_rows:
            return None
        kind = batch.schema.field(cursor).type
        found = compare(batch.column(cursor), arrow_scalar(decode(value, kind), kind))
        return numpy_mask(found)

    def _stage(self, chunk: _Gathering, *, end: bool) -> Iterator[Checkpoint]:
        if not chunk.rows and not chunk.rejected and not end:
            return
        self._number += 1
        token = chunk.token if chunk.whole else None
        checkpoint = Checkpoint(
            self._number,
            chunk.rows,
            chunk.bytes,
            token,
            len(chunk.rejected),
            end,
            tuple(chunk.tail if self._table.spec.sync is SyncMode.APPEND else chunk.tail[: TAIL_ROWS + 1]),
            id=uuid.uuid4().hex[:12],
            previous=self._previous,
            content=chunk.content,
            met=tuple(chunk.met),
            reached=chunk.reached,
        )
        self._enriching.save()
        self._table.staging.stage(self._attempt.id, checkpoint, self._schema, chunk.batches, chunk.rejected)
        self._previous = checkpoint.id
        chunk.batches.clear()
        yield checkpoint


def _content(batch: pa.RecordBatch) -> int:
    """The sum of a hash per row. Polars' own hash is quick (40 M rows/s) and the same in every process of one release;
    after an upgrade it may differ, and then an unchanged table is swapped once more."""
    frame = pl.DataFrame([pl.Series(str(i), array) for i, array in enumerate(batch.columns)])
    return int(frame.hash_rows(1).sum() or 0) % 2**64


def row_hashes(batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """A hash per row of its values that are not NULL, so neither a new empty column nor another order changes it."""
    total = np.zeros(batch.num_rows, dtype=np.uint64)
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        # Names of a source may look like patterns to Polars.
        value, named = pl.DataFrame({"v": pl.from_arrow(array)}), pl.DataFrame({"v": [name]})
        mixed = (key_hashes(value, ["v"]) ^ key_hashes(named, ["v"])) * _ODD
        mixed ^= mixed >> np.uint64(32)
        total += np.where(numpy_mask(array.is_null()), np.uint64(0), mixed)
    return total


_ODD = np.uint64(0x9E3779B97F4A7C15)

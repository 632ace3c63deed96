"""One pass over one list: answers gathered into pages, each with the token of the answer after it.

A token is `{"page": what the next request differs in, "last": cursor value}` or `{"done": true}`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from import_platform.core.cursor import CursorValue, decode, encode
from import_platform.core.layout import in_range
from import_platform.core.rejected import RejectedRow
from import_platform.errors import SourceRejected
from import_platform.sources.http.waiting import Patience
from import_platform.sources.json.columns import INSTANT
from import_platform.sources.json.typing import Row, as_rows
from import_platform.sources.protocol import ColumnsGrew, CursorWindow, Page, ReadRequest, Token, TokenExpired
from import_platform.sources.rest.ascending import Edge, Order
from import_platform.sources.rest.changes import changed_rows, event_params, follows_events
from import_platform.sources.rest.client import Fetched, Listing
from import_platform.sources.rest.declaration import Resource
from import_platform.sources.rest.prefetch import Ended, Prefetch
from import_platform.sources.rest.shape import Shape, converted, fitting_batch, shape_of, split_wide
from import_platform.sources.rest.window import inside, is_past, window_params

GROUP_ROWS, GROUP_SECONDS = 2000, 0.5
"""Answers are made columns together: the work per batch would cost as much as that per row for 100 rows."""
POLL_SECONDS = 1.0
DONE: Token = {"done": True}
BODY_BYTES_LEAST = 16 << 20


@dataclass
class _Group:
    """Rows that are gathered and not yet given. Mutable: it lives from one page to the next."""

    rows: list[Row]
    bytes: int
    started: float


class Answering(Protocol):
    """What a pass needs of an API."""

    def pages(self, listing: Listing, patience: Patience, /) -> Iterator[Fetched]: ...

    def server_now(self) -> datetime: ...


class Pass:
    """Answers of one list from a token on. It outlives the generator that reads it where columns grow in between."""

    def __init__(self, client: Answering, resource: Resource, request: ReadRequest) -> None:
        self.token: Token | None = request.after
        self._resource = resource
        self._request = request
        self._client = client
        self._large_bytes = request.page_bytes
        self._group = _Group([], 0, 0.0)
        begin = request.after.get("page") if request.after else None
        self._seen = {json.dumps(begin or {}, sort_keys=True, default=str)}
        self._order = Order(resource)
        self._edge = Edge(resource.endpoint, request.after)
        self._last_hash: int | None = None
        self._next: Token = DONE
        self._is_retried = False
        self.is_resumable = True
        now = client.server_now()
        self._by_events = follows_events(resource.changes, request.window, now)
        self._is_windowed = self._by_events or resource.changes is None
        self._changed: set[Any] = set()
        self._prefetch = self._begin(request.after)

    def pages(self, request: ReadRequest) -> Iterator[Page]:
        """Raises ColumnsGrew: the rows are kept, and come when the pass is read again with the table that it names."""
        shape = shape_of(self._resource, request.table)
        ended = False
        while not ended:
            ended = self._gather()
            if self._group.rows:
                page, is_last = self._page(shape, request, token=self._next)
                self.token, self._group = page.token, _Group([], 0, 0.0)
                yield page
                if is_last:
                    break
            elif not ended:
                self._group = _Group([], 0, 0.0)  # large answers without a row
                yield Page(empty_batch(shape, request), self.token)
        if self.token != DONE:
            self.token = DONE
            yield Page(empty_batch(shape, request), DONE)

    def close(self) -> None:
        self._prefetch.close()

    def _begin(self, after: Token | None, params: Mapping[str, Any] | None = None) -> Prefetch:
        listing = self._listing(after, params)
        return Prefetch(lambda patience: self._client.pages(listing, patience), large_bytes=self._large_bytes)

    def _listing(self, after: Token | None, params: Mapping[str, Any] | None) -> Listing:
        request, resource = self._request, self._resource
        body_bytes_max = max(request.row_bytes_max or 0, BODY_BYTES_LEAST)
        begin = after.get("page") if after else None
        if self._by_events and resource.changes is not None and request.window is not None:
            asked = event_params(resource.changes, request.window)
            return Listing(resource, resource.changes.path, asked, begin, body_bytes_max)
        column = request.table.column(request.window.column) if request.window else None
        asked = window_params(resource.endpoint.incremental, request.window, column.type if column else None)
        whole = {**resource.endpoint.params, **asked, **(params or {})}
        return Listing(resource, resource.endpoint.path, whole, begin, body_bytes_max)

    def _gather(self) -> bool:
        """Adds answers to the group until it is worth a page; True when there are no more."""
        group = self._group
        while len(group.rows) < GROUP_ROWS and group.bytes < self._large_bytes:
            if group.rows and time.monotonic() - group.started > GROUP_SECONDS:
                return False
            try:
                answer = self._prefetch.get(timeout_seconds=POLL_SECONDS)
            except Ended:
                return True
            except TokenExpired as error:
                self._prefetch = self._after_expiry(error)
                continue
            if answer is None:
                return False
            is_end = self._check(answer)
            group.rows += self._rows_of(answer)
            group.bytes += answer.body_bytes
            group.started = group.started or time.monotonic()
            self.is_resumable = answer.resumable
            if is_end:
                self._next = DONE
                return True
            self._next = DONE if answer.next is None else {"page": answer.next, **self._edge.token}
        return False

    def _rows_of(self, answer: Fetched) -> list[Row]:
        changes = self._resource.changes
        if changes is None or not self._by_events:
            return self._edge.without_repeated(as_rows(answer.rows), answer.next)
        return changed_rows(answer.rows, changes, self._resource.primary_key, self._changed)

    def _after_expiry(self, error: TokenExpired) -> Prefetch:
        """Begins again from the last row's cursor where the API can be asked from there; its rows merge by key.

        Raises TokenExpired: it cannot, so the pass starts over.
        """
        incremental, request, token = self._resource.endpoint.incremental, self._request, self.token or {}
        last = token.get("last")
        merges = incremental is not None and request.primary_key and last is not None and not self._is_retried
        if not merges or incremental is None:
            raise error
        narrowed = {"asc": incremental.start_param, "desc": incremental.end_param}.get(incremental.row_order or "")
        if not narrowed:
            raise error
        self._is_retried = True
        self._seen, self._last_hash = {"{}"}, None
        self._order.begin_again()
        column = request.table.column(incremental.column)
        window = request.window or CursorWindow(incremental.column, None, None)
        bounds = replace(window, after=last) if incremental.row_order == "asc" else replace(window, upto=last)
        return self._begin(None, window_params(incremental, bounds, column.type if column else None))

    def _check(self, answer: Fetched) -> bool:
        """True when the API would give the last id again and again because there is nothing after it.

        Raises SourceRejected: it goes round in circles.
        """
        text = json.dumps(answer.next, sort_keys=True, default=str) if answer.next is not None else ""
        if text in self._seen and self._edge.is_end(as_rows(answer.rows), answer.next):
            return True
        same = bool(answer.rows) and answer.body_hash == self._last_hash and bool(self._request.primary_key)
        if text in self._seen or same:
            what = "page token" if text in self._seen else "page"
            raise SourceRejected(
                f"the API gives the same {what} again, so the list would never end",
                table=self._resource.name,
                remedy="Compare the paginator's parameter names with the API's pages: it may not know them.",
            )
        if text:
            self._seen.add(text)
        self._last_hash = answer.body_hash
        return False

    def _page(self, shape: Shape, request: ReadRequest, *, token: Token) -> tuple[Page, bool]:
        rows, wide = self._group.rows, tuple[RejectedRow, ...]()
        if request.row_bytes_max is not None and self._group.bytes > request.row_bytes_max:
            rows, wide = split_wide(rows, self._resource, limit_bytes=request.row_bytes_max)
        grown = shape.grown(rows)
        done = converted(grown, rows)
        if done.wider or not grown.same_columns(shape):
            raise ColumnsGrew.to(grown.widened(done.wider).table())
        batch, rejected = fitting_batch(grown, rows, done)
        self._order.check(batch)
        page, is_last = page_of(
            batch,
            request,
            (*wide, *rejected),
            token=token,
            resource=self._resource,
            windowed=self._is_windowed,
        )
        # Without a place to go on from, rows are only whole together with all that follow.
        return (page if self.is_resumable or page.token == DONE else replace(page, token=None)), is_last


def page_of(
    batch: pa.RecordBatch,
    request: ReadRequest,
    rejected: tuple[RejectedRow, ...],
    *,
    token: Token,
    resource: Resource,
    windowed: bool = True,
) -> tuple[Page, bool]:
    """What of the rows was asked for; True when the rest of the list cannot hold more of it."""
    incremental = resource.endpoint.incremental
    window = lagging(request.window, resource) if windowed else None
    is_last = is_past(batch, window, incremental)
    if token != DONE and incremental is not None and incremental.column in batch.schema.names and batch.num_rows:
        token = {**token, "last": _last(batch.column(incremental.column))}
    mask = inside(batch, window)
    kept = batch if mask is None else batch.filter(mask)
    if request.range is not None and request.range.column is not None:
        column = kept.column(request.range.column)
        frame = pl.DataFrame({request.range.column: pl.from_arrow(column)})
        kept = kept.filter(in_range(frame, request.range, column.type).to_arrow())
    return Page(kept.select(list(request.columns)), DONE if is_last else token, rejected), is_last


def lagging(window: CursorWindow | None, resource: Resource) -> CursorWindow | None:
    """The window with what `lag` reads again; an append reads nothing again."""
    source = resource.changes or resource.endpoint.incremental
    if window is None or window.after is None or source is None or not source.lag or not window.merges:
        return window
    if window.after.lstrip("-").isdigit():
        return replace(window, after=str(int(window.after) - int(source.lag)))
    dtype = INSTANT if resource.changes is not None or "T" in window.after else None
    if dtype is None:
        return window
    return replace(window, after=encode(decode(window.after, dtype) - timedelta(seconds=source.lag), dtype))


def _last(column: pa.Array) -> CursorValue | None:
    value = column[-1].as_py()
    return None if value is None else encode(value, column.type)


def empty_batch(shape: Shape, request: ReadRequest) -> pa.RecordBatch:
    schema = shape.schema
    return pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in request.columns]))

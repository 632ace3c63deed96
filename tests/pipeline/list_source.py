"""A source whose tables are Arrow tables in memory: real pages and tokens, and faults on demand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from import_platform.core.cursor import decode, encode
from import_platform.core.layout import range_expr
from import_platform.core.table import ColumnInfo, TableInfo
from import_platform.sources.protocol import Ceiling, CursorWindow, Page, ReadRequest, TokenExpired


@dataclass
class ListSource:
    """One table `name` with `rows`; a test changes `rows` between syncs, `fail_after` pages makes a read die.

    Only every `token_every`-th page carries a token. `on_page` is called with the number of pages given so far before
    each page. `expired` refuses to go on after a token; `page_seconds` makes a slow source; `top` is a ceiling other
    than the greatest value.
    """

    rows: pa.Table
    primary_key: tuple[str, ...] = ("id",)
    name: str = "t"
    page_rows: int = 100
    settled: bool = False
    fail_after: int | None = None
    token_every: int = 1
    expired: bool = False
    page_seconds: float = 0.0
    top: Any = None
    on_page: Callable[[int], None] | None = None
    kind: str = "list"
    reads: list[ReadRequest] = field(default_factory=list)
    pages: int = 0

    def check(self) -> str:
        return "rows in memory"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        if names is not None and self.name not in names:
            return []
        columns = tuple(ColumnInfo(f.name, f.type, str(f.type), f.nullable) for f in self.rows.schema)
        return [TableInfo("", self.name, columns, self.primary_key, self.rows.num_rows, self.rows.nbytes)]

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        frame = self._frame()
        top = self.top if self.top is not None else frame[cursor].max() if frame.height else None
        return None if top is None else Ceiling(encode(top, self.rows.schema.field(cursor).type), self.settled)

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        return self.rows.num_rows

    def base_keys(self, table: TableInfo, partition: Any, *, limit: int, timeout_seconds: float) -> list[str] | None:
        return None

    def read(self, request: ReadRequest) -> Iterator[Page]:
        self.reads.append(request)
        if request.after and self.expired:
            raise TokenExpired("the list was rewritten", remedy="Read it from its beginning.")
        frame = self._windowed(request.window)
        if request.range is not None and request.range.column is not None:
            frame = frame.filter(range_expr(request.range, self.rows.schema.field(request.range.column).type))
        key = list(request.primary_key)
        frame = frame.sort(key, nulls_last=False, maintain_order=True) if key else frame
        start = int(request.after["row"]) if request.after else 0
        for page_number, at in enumerate(range(start, frame.height, self.page_rows), start=1):
            if self.fail_after is not None and self.pages >= self.fail_after:
                raise ConnectionError("the test pulled the plug")
            if self.on_page is not None:
                self.on_page(self.pages)
            time.sleep(self.page_seconds)
            self.pages += 1
            page = frame.slice(at, self.page_rows)
            table = page.to_arrow().cast(self.rows.schema).combine_chunks()
            end = at + page.height
            # As in every connector: a page that cuts rows of one key apart is no place to go on from.
            cut = bool(key) and end < frame.height and all(frame[end - 1, k] == frame[end, k] for k in key)
            token = {"row": end} if page_number % self.token_every == 0 and not cut else None
            yield Page(table.to_batches()[0], token)

    def close(self) -> None: ...

    def _frame(self) -> pl.DataFrame:
        return pl.DataFrame(pl.from_arrow(self.rows))

    def _windowed(self, window: CursorWindow | None) -> pl.DataFrame:
        frame = self._frame()
        if window is None:
            return frame
        kind = self.rows.schema.field(window.column).type
        column = pl.col(window.column)
        if window.after is not None:
            low = pl.lit(decode(window.after, kind))
            frame = frame.filter(column >= low if window.inclusive else column > low)
        if window.upto is not None:
            keep = column <= pl.lit(decode(window.upto, kind))
            frame = frame.filter(keep if window.after is not None else keep | column.is_null())
        return frame

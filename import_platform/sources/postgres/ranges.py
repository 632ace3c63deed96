"""A table read as ranges of its key, or of its blocks, several at a time, each going on from its own place.

The bounds of keys are quantiles from the server's statistics, so they cost nothing and fit any type of key. The token
of every page holds all ranges with the place that each had reached, so a resume goes on in each of them, whatever
number of readers it has. All readers see one snapshot; a server that cannot share one (a standby) is read by one.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from import_platform.core.budget import MIB
from import_platform.core.postgres_text import literal
from import_platform.sources.postgres.catalog import PgTable
from import_platform.sources.postgres.read import read_pages
from import_platform.sources.postgres.session import PostgresSession, Transaction
from import_platform.sources.postgres.types import has_native_order
from import_platform.sources.protocol import Page, ReadRequest, Token, TokenExpired

_WORTH_BYTES = 64 * MIB
_RANGES_PER_READER = 4
"""More ranges than readers, so that an uneven one does not leave the others idle at the end."""
_HISTOGRAM = """
SELECT b.bound FROM pg_catalog.pg_stats s
CROSS JOIN LATERAL unnest(s.histogram_bounds::text::text[]) WITH ORDINALITY AS b (bound, position)
WHERE s.schemaname = {schema} AND s.tablename = {table} AND s.attname = {column} AND NOT s.inherited
ORDER BY b.position
"""


@dataclass
class _Range:
    """Keys whose first column is in [lower, upper), or the blocks in it of the table's `file`.

    Mutable: `token` is the last place that was handed out.
    """

    lower: str | None
    upper: str | None
    token: Token | None = None
    done: bool = False
    file: int | None = None

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def options(self) -> dict[str, Any]:
        return {"key_range" if self.file is None else "block_range": (self.lower, self.upper)}


def ranges_of(transaction: Transaction, table: PgTable, request: ReadRequest, *, readers: int) -> list[_Range]:
    """The ranges to read; none where one statement does as well or a place between rows cannot be named.

    A table with values stored out of line is read by one reader, because each reader may hold a row of any width.

    Raises:
        TokenExpired: the token's ranges are blocks of a table that was rewritten since.
    """
    if request.after is not None:
        return _from_token(transaction, table, request.after)
    worth = table.bytes >= _WORTH_BYTES and table.wide_bytes == 0 and table.kind == "r"
    if readers < 2 or not worth or (request.window is not None and request.window.after is not None):
        return []
    count = readers * _RANGES_PER_READER
    return (
        _key_ranges(transaction, table, request, count) if request.primary_key else _blocks(transaction, table, count)
    )


def _from_token(transaction: Transaction, table: PgTable, token: Token) -> list[_Range]:
    ranges = [_Range(**found) for found in token.get("ranges", ())]
    if any(found.file is not None for found in ranges):
        now = transaction.rows(f"SELECT pg_relation_filenode({table.oid})::int8 AS file")[0]["file"]
        if any(found.file != now for found in ranges):
            raise TokenExpired(
                "the table was rewritten at the source, so its rows are no longer where the last page ended",
                remedy="Start the read of this table from its beginning.",
            )
    return ranges


def _blocks(transaction: Transaction, table: PgTable, count: int) -> list[_Range]:
    found = transaction.rows(
        f"SELECT pg_relation_filenode({table.oid})::int8 AS file,"
        f" pg_relation_size({table.oid}) / current_setting('block_size')::int8 AS blocks"
    )[0]
    if found["file"] is None or found["blocks"] < count:
        return []
    bounds = [str(found["blocks"] * n // count) for n in range(1, count)]
    pairs = zip([None, *bounds], [*bounds, None], strict=True)
    return [_Range(low, high, file=found["file"]) for low, high in pairs]


def _key_ranges(transaction: Transaction, table: PgTable, request: ReadRequest, count: int) -> list[_Range]:
    if not table.key or not set(table.key) <= set(request.primary_key):
        return []
    first = table.column(request.primary_key[0])
    if not has_native_order(first.type):
        return []
    names = {"schema": literal(table.schema), "table": literal(table.name), "column": literal(first.name)}
    found = [str(row["bound"]) for row in transaction.rows(_HISTOGRAM.format(**names))]
    count = min(count, len(found) - 1)
    if count < 2:
        return []
    bounds = list(dict.fromkeys(found[len(found) * n // count] for n in range(1, count)))
    return [_Range(low, high) for low, high in zip([None, *bounds], [*bounds, None], strict=True)]


def read_ranges(
    session: PostgresSession,
    transaction: Transaction,
    table: PgTable,
    request: ReadRequest,
    *,
    readers: int,
) -> Iterator[Page] | None:
    """The pages of a request by several readers; None where one statement is to read them."""
    ranges = ranges_of(transaction, table, request, readers=readers)
    if not ranges:
        return None
    snapshot = _exported(transaction)
    if snapshot is None and request.after is None:
        return None
    reader = _RangeReader(session, request, ranges, readers=readers if snapshot is not None else 1)
    return reader.pages(table, snapshot)


class _RangeReader:
    """One read of a table by several readers, each in a thread and a transaction of its own."""

    def __init__(
        self, session: PostgresSession, request: ReadRequest, ranges: Sequence[_Range], *, readers: int
    ) -> None:
        self._session = session
        self._request = replace(request, after=None, page_bytes=max(request.page_bytes // readers, MIB))
        self._ranges = ranges
        self._waiting = deque(found for found in ranges if not found.done)
        self._pages: queue.Queue[tuple[_Range, Page | None] | Exception] = queue.Queue(maxsize=1)
        self._stop = threading.Event()
        self._readers = min(readers, len(self._waiting))

    def pages(self, table: PgTable, snapshot: str | None) -> Iterator[Page]:
        """Pages as they come, with a token each."""
        threads = [
            threading.Thread(target=self._run, args=(table, snapshot), name=f"range-reader-{n}", daemon=True)
            for n in range(self._readers)
        ]
        for thread in threads:
            thread.start()
        try:
            left = sum(not found.done for found in self._ranges)
            while left:
                came = self._pages.get()
                if isinstance(came, Exception):
                    raise came
                range_, page = came
                if page is None:
                    range_.done = True
                    left -= 1
                    continue
                range_.token = page.token
                yield Page(page.batch, {"ranges": [found.as_json() for found in self._ranges]}, page.rejected)
                del page, came
        finally:
            self._stop.set()
            while any(thread.is_alive() for thread in threads):
                with suppress(queue.Empty):
                    self._pages.get(timeout=0.05)

    def _run(self, table: PgTable, snapshot: str | None) -> None:
        try:
            with self._session.transaction(snapshot=snapshot) as transaction:
                while not self._stop.is_set():
                    try:
                        range_ = self._waiting.popleft()
                    except IndexError:
                        return
                    self._read(transaction, table, range_)
        except Exception as error:  # noqa: BLE001  it is raised by the reader of the pages
            self._pages.put(error)

    def _read(self, transaction: Transaction, table: PgTable, range_: _Range) -> None:
        options = {**self._request.options, **range_.options}
        pages = read_pages(transaction, table, replace(self._request, after=range_.token, options=options))
        for page in pages:
            if self._stop.is_set():
                return
            self._pages.put((range_, page))
        self._pages.put((range_, None))


def _exported(transaction: Transaction) -> str | None:
    """The transaction's snapshot for others; None on a standby, which would end the transaction if it were asked."""
    if transaction.rows("SELECT pg_is_in_recovery() AS standby")[0]["standby"]:
        return None
    return str(transaction.rows("SELECT pg_export_snapshot() AS snapshot")[0]["snapshot"])

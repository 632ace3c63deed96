"""What every connector offers: discovery, a ceiling for the cursor, and pages of rows that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from import_platform.core.cursor import CursorValue
from import_platform.core.feed import FeedFile
from import_platform.core.layout import ColumnRange
from import_platform.core.rejected import RejectedRow
from import_platform.core.table import TableInfo
from import_platform.errors import ImportPlatformError, RetryableError, SourceUnavailable

Token = Mapping[str, Any]
"""A JSON object, opaque outside its connector: where to go on after a page."""


class TokenExpired(SourceUnavailable):
    """A token's place is gone (a keyless table was rewritten): drop the pages and read from the beginning."""


class NoRowsYet(RetryableError):
    """A `sampled` table has no row, so nothing is known of its columns: there is nothing to import, and no fault."""


class ColumnsGrew(RetryableError):
    """A read of a `sampled` table met a new column or a wider type: read on from the last token with `table`.

    The source keeps what it had fetched, so that nothing is asked for twice.
    """

    table: TableInfo

    @classmethod
    def to(cls, table: TableInfo) -> ColumnsGrew:
        error = cls("the table has more or wider columns than were known", table=table.name)
        error.table = table
        return error


@dataclass(frozen=True)
class Page:
    """One answer of a source. `batch` has exactly the requested columns in `TableInfo.arrow_schema` types.

    `token` is set when a read may go on after this page without missing or repeating a row of it; None means that the
    rows since the last token are only whole together with later pages. `ahead_bytes` of the source were read for
    rows of later pages; only people are told.
    """

    batch: pa.RecordBatch
    token: Token | None
    rejected: tuple[RejectedRow, ...] = ()
    ahead_bytes: int = 0


@dataclass(frozen=True)
class Ceiling:
    """The largest cursor value that is complete now.

    `value` None: nobody can say before the rows have come, and they come in the cursor's order. The pass is then
    complete up to the greatest value that it read.

    `settled` promises that no row can ever appear or change with a cursor at or below `value` (a timestamp more than
    its resolution in the past, with no older transaction open); the next read may then leave out `value` itself.
    """

    value: CursorValue | None
    settled: bool = False


@dataclass(frozen=True)
class CursorWindow:
    """Rows with after < cursor <= upto (`inclusive` makes it after <= cursor). None is no bound on that side.

    Rows whose cursor is NULL belong to a window without a lower bound only. Where rows are merged by key (`merges`),
    later ones may come too: they come again with the next window, which changes nothing.
    """

    column: str
    after: CursorValue | None
    upto: CursorValue | None
    inclusive: bool = True
    merges: bool = False


@dataclass(frozen=True)
class ReadRequest:
    """One read of one table, whole or narrowed; pages come ordered by primary key where the table has one."""

    table: TableInfo
    columns: tuple[str, ...]
    primary_key: tuple[str, ...]
    window: CursorWindow | None = None
    range: ColumnRange | None = None
    after: Token | None = None
    page_bytes: int = 8 << 20
    row_bytes_max: int | None = None  # rows wider than this at the source are rejected unread, with their key
    options: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FeedFile, ...] | None = None  # of a feed: what to read; None: all there are


@runtime_checkable
class ReadsFeed(Protocol):
    """A source whose tables are files that come and change. The number of a file's version is the cursor."""

    def files(self, table: TableInfo) -> tuple[FeedFile, ...]:
        """The files that there are, in the order in which they are to be read."""
        ...

    def feed(self, table: TableInfo) -> tuple[str, tuple[str, ...]]:
        """A name that stays, and the tables that are made of the same files, this one among them."""
        ...


class ParentTables(Protocol):
    """Tables of this source as the lake has them, for lists that are asked for row by row of another table."""

    def version(self, table: str) -> int | None:
        """The newest version; None while the lake has no such table."""
        ...

    def awaited_version(self, table: str) -> int | None:
        """As `version`, but while the table's first sync is under way elsewhere, its end is waited for."""
        ...

    def changed(
        self, table: str, columns: Sequence[str], *, version: int, since: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Rows at `version` that are not the same at `since` (None: all rows), in an order that the version fixes.

        Raises:
            TokenExpired: the files of `version` are gone.
        """
        ...

    def gone(self, table: str, columns: Sequence[str], *, version: int, since: int) -> pa.Table:
        """Values that rows had at `since` and none has at `version`."""
        ...

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The newest rows, nothing while the lake has no such table."""
        ...


@runtime_checkable
class ReadsLake(Protocol):
    """A source whose tables may hang on rows of others."""

    def use_parents(self, parents: ParentTables) -> None: ...


@runtime_checkable
class UsesScratch(Protocol):
    """A source that keeps on this machine's disk what its tables share."""

    def use_scratch(self, folder: Path, *, owner: str) -> None:
        """A folder of this user alone; `owner` tells lakes and sources apart that use it."""
        ...

    def let_go(self, table: TableInfo, files: Sequence[FeedFile], after: Token | None) -> None:
        """Of what is kept there for the table, but for `files` from the token on, which it is about to read."""
        ...


@runtime_checkable
class Warns(Protocol):
    """A source that finds what is most likely a slip in a declaration, and no fault yet."""

    def warnings(self, name: str) -> tuple[str, ...]:
        """Sentences about a table as it is called in the lake, behind `discover` and behind reading it."""
        ...


@runtime_checkable
class SaysWhyEmpty(Protocol):
    """A source that knows why it has shown no row of a sampled table."""

    def why_empty(self, table: TableInfo) -> ImportPlatformError | None:
        """Behind `discover`. NoRowsYet: there is no fault; any other: a person has to act; None: nobody knows."""
        ...


class Source(Protocol):
    """One external system. Methods raise SourceUnavailable, SourceRejected or ConfigError, never a driver's error.

    A connector with an attribute `reads_ahead` that is true has its pages fetched in a thread of their own, one ahead.
    """

    kind: str

    def check(self) -> str:
        """One line that names the server and its version, after a real round trip."""
        ...

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """The tables of the configured schemas in name order, read in bulk; only `names` (as in the lake) if given."""
        ...

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        """The largest cursor value that is complete right now; None when no row has one.

        PostgreSQL lowers it to the start of the oldest open transaction, so that a late commit is not passed by.
        """
        ...

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        """How many rows the table has, by counting at the source; raises SourceUnavailable past the time limit, and
        where only a whole read could tell."""
        ...

    def base_keys(self, table: TableInfo, partition: Any, *, limit: int, timeout_seconds: float) -> list[str] | None:
        """Base partition keys that the source holds, in order; None when there are more than `limit`."""
        ...

    def read(self, request: ReadRequest) -> Iterator[Page]:
        """The rows, page by page; memory is about four times one page. Empty pages may carry a token."""
        ...

    def close(self) -> None: ...

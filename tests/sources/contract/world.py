"""A place to make tables in, and what reading one of them takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from import_platform.core.table import TableInfo
from import_platform.sources.protocol import Page, ReadRequest, Source

Columns = Sequence[tuple[str, str]]
SMALL_PAGE = 300
START = datetime(2024, 1, 31, 22, 30, tzinfo=UTC)
HOSTILE = (
    "plain",
    "it's",
    'say "hi"',
    "back\\slash",
    "\\'; DROP TABLE t; --",
    "$1 %s :x {y}",
    "tab\tline\nend",
    "ünïcödé 漢字 🚀",
    "C0",
    "c0",
    "'",
    '"',
    "\\",
    "E'\\n'",
    " leading",
    "trailing ",
    "a.b",
    "_",
    "NULL",
)
EVENTS: Columns = (("id", "int"), ("label", "text"), ("at", "time"))


class World(Protocol):
    connection: dict[str, Any]

    def make(
        self, table: str, columns: Columns, rows: Iterable[Sequence[Any]] = (), *, key: Sequence[str] = ()
    ) -> None: ...

    def open(self) -> Source: ...


def info_of(source: Source, table: str) -> TableInfo:
    (found,) = source.discover([table])
    return found


def request(info: TableInfo, **changes: Any) -> ReadRequest:
    base = ReadRequest(
        table=info, columns=tuple(c.name for c in info.columns), primary_key=info.primary_key, page_bytes=SMALL_PAGE
    )
    return replace(base, **changes)


def rows_of(pages: Iterable[Page]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for page in pages for row in page.batch.to_pylist()]


def some_rows(count: int) -> list[tuple[int, str, datetime]]:
    return [(n, f"row {n}", START + timedelta(hours=7 * n)) for n in range(count)]


def assert_resumable(source: Source, read: ReadRequest, *, rows: int) -> list[Page]:
    pages = list(source.read(read))
    assert len(pages) > 2
    assert len(rows_of(pages)) == rows
    for position, page in list(enumerate(pages))[:: max(len(pages) // 8, 1)]:
        if page.token is not None:
            rest = rows_of(source.read(replace(read, after=page.token)))
            assert sorted(map(repr, rest)) == sorted(map(repr, rows_of(pages[position + 1 :])))
    return pages


def assert_whole_after_tokens(source: Source, read: ReadRequest, *, rows: int) -> None:
    pages = list(source.read(read))
    assert len(rows_of(pages)) == rows
    for position, page in enumerate(pages):
        if page.token is not None:
            assert len(rows_of(source.read(replace(read, after=page.token)))) == len(rows_of(pages[position + 1 :]))

"""The part of a source's contract that can be tried against the real thing: one page of each table."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from import_platform.core.sampled import with_known
from import_platform.core.table import TableInfo
from import_platform.core.wording import counted
from import_platform.errors import ImportPlatformError
from import_platform.sources.protocol import ColumnsGrew, Page, ReadRequest, Source

GROWTHS_MAX = 50
PAGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Live:
    """What one page of a table showed. `error` says why there was none, or what the page broke."""

    table: str
    rows: int = 0
    columns: int = 0
    rejected: int = 0
    goes_on: bool = False  # the page has a token, and reading on from it gives other rows
    seconds: float = 0.0
    error: ImportPlatformError | None = None

    @property
    def sentence(self) -> str:
        if self.error is not None:
            return str(self.error)
        if not self.rows and not self.rejected:
            return f"0 rows in {self.seconds:.1f} s"
        told = f"{counted(self.rows, 'row')}, {counted(self.columns, 'column')} in {self.seconds:.1f} s"
        told += f", {self.rejected} rejected" if self.rejected else ""
        return told + ("; goes on from its token" if self.goes_on else "")


def live_check(source: Source, info: TableInfo) -> Live:
    """Reads the first page and the one after its token. Never raises for what the source does."""
    started = time.monotonic()
    try:
        table, page = _first_page(source, info, None)
        if page is None:
            return Live(info.name_in_lake, seconds=time.monotonic() - started)
        goes_on = False
        if page.token is not None:
            _, following = _first_page(source, table, page)
            goes_on = following is not None and not _same_keys(table, page, following)
    except ImportPlatformError as error:
        return Live(info.name_in_lake, seconds=time.monotonic() - started, error=error)
    return Live(
        info.name_in_lake,
        page.batch.num_rows,
        page.batch.num_columns,
        len(page.rejected),
        goes_on,
        time.monotonic() - started,
    )


def _first_page(source: Source, info: TableInfo, after: Page | None) -> tuple[TableInfo, Page | None]:
    token = after.token if after is not None else None
    for _ in range(GROWTHS_MAX):
        request = ReadRequest(
            info, tuple(c.name for c in info.columns), info.primary_key, after=token, page_bytes=PAGE_BYTES
        )
        pages = source.read(request)
        try:
            return info, next((page for page in pages if page.batch.num_rows or page.rejected), None)
        except ColumnsGrew as grew:
            info = replace(with_known(grew.table, info.arrow_schema), sampled=True)
        finally:
            close = getattr(pages, "close", None)
            if close is not None:
                close()
    return info, None


def _same_keys(info: TableInfo, one: Page, other: Page) -> bool:
    names = list(info.primary_key) or list(one.batch.schema.names)
    return bool(one.batch.select(names).slice(0, 1).equals(other.batch.select(names).slice(0, 1)))

"""The connector of kind `dlt`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pyarrow as pa
from dlt.extract import DltResource

from import_platform.core.cursor import encode
from import_platform.core.layout import ALL
from import_platform.core.table import HashPartition, PartitionSpec, TableInfo
from import_platform.core.wording import counted
from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.dlt_sources.adapter import Hints, Reading, open_resources, starts_at
from import_platform.sources.http.waiting import Patience
from import_platform.sources.json.typing import as_rows
from import_platform.sources.protocol import Ceiling, ColumnsGrew, NoRowsYet, Page, ReadRequest
from import_platform.sources.rest.ascending import is_open_ended
from import_platform.sources.rest.client import Fetched, Listing
from import_platform.sources.rest.declaration import Endpoint, Incremental, Resource
from import_platform.sources.rest.read import DONE, Pass
from import_platform.sources.rest.shape import declared_shape

SAMPLE_PAGES, SAMPLE_ROWS = 20, 2000


class DltSource:
    """The resources of one dlt source as tables. A resource whose rows come in the order of its incremental cursor
    (`row_order="asc"`) goes on after any page; others are read in one piece."""

    kind = "dlt"

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._path = str(connection["source"])
        self._arguments = dict(connection.get("arguments") or {})
        self._wanted = connection.get("tables")
        self._passes: dict[str, Pass] = {}
        self._hints: dict[str, Hints] = {}
        self._cursors: dict[str, Any] = {}  # a value of each cursor, for its make

    def __repr__(self) -> str:
        return f"DltSource({self._path!r})"

    def check(self) -> str:
        return f"dlt source {self._path}, {counted(len(self._resources()), 'resource')}"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """The columns of the first rows of each resource; in name order.

        Raises NoRowsYet where some are named: what a cursor is shows in its rows only, and a pass without it would take
        away what the lake has.
        """
        found = self._resources()
        infos = [self._described(found[name]) for name in sorted(found) if names is None or name in names]
        if names is not None and any(not info.columns and found[info.name].incremental is not None for info in infos):
            raise NoRowsYet("the source gives no row now", remedy="Its next row is read")
        return infos

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        column = table.column(cursor)
        said = self._declared(table).endpoint.incremental
        if column is not None and is_open_ended(said, cursor, column.type):
            return Ceiling(None)
        if column is None or not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
            raise ConfigError(
                "nobody can say how far this cursor has come",
                table=table.name,
                column=cursor,
                remedy="Use a timestamp, a date, or growing ids with row_order asc as cursor; or sync: full_refresh.",
            )
        now = (datetime.now(UTC) - timedelta(seconds=1)).replace(microsecond=0)
        return Ceiling(encode(now if pa.types.is_timestamp(column.type) else now.date(), column.type))

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        raise SourceUnavailable("a dlt resource does not count its rows", table=table.name, remedy="Sync the table.")

    def base_keys(
        self, table: TableInfo, partition: PartitionSpec, *, limit: int, timeout_seconds: float
    ) -> list[str] | None:
        return [ALL] if isinstance(partition, HashPartition) else None

    def read(self, request: ReadRequest) -> Iterator[Page]:
        """In the resource's own order. A resource that cannot go on has a token after its last page only."""
        if request.after == DONE:
            return
        held = self._passes.pop(request.table.name, None)
        if held is not None and (held.token != request.after or not held.is_resumable):
            held.close()
            held = None
        reading = held or Pass(self._answers(request.table.name), self._declared(request.table), request)
        has_grown = False
        try:
            yield from reading.pages(request)
        except ColumnsGrew:
            has_grown = True
            raise
        finally:
            if has_grown:
                self._passes[request.table.name] = reading
            else:
                reading.close()

    def close(self) -> None:
        for reading in self._passes.values():
            reading.close()

    def _resources(self) -> dict[str, DltResource]:
        found = open_resources(self._path, self._arguments)
        return found if self._wanted is None else {name: found[name] for name in self._wanted if name in found}

    def _resource(self, name: str) -> DltResource:
        found = self._resources().get(name)
        if found is None:
            raise SourceRejected(
                "the dlt source has no such resource", table=name, remedy="See: import-platform tables."
            )
        return found

    def _answers(self, name: str) -> _Answers:
        return _Answers(Reading(self._resource(name), self._hints_of(name)), self._cursors.get(name))

    def _declared(self, table: TableInfo) -> Resource:
        return _as_resource(table.name, table.primary_key, self._hints_of(table.name), table)

    def _hints_of(self, name: str) -> Hints:
        if name not in self._hints:
            self._described(self._resource(name))
        return self._hints[name]

    def _described(self, resource: DltResource) -> TableInfo:
        reading = Reading(resource)
        rows: list[Any] = []
        for page in islice(reading.pages(None, None), SAMPLE_PAGES):
            rows += as_rows(page.rows)
            if len(rows) >= SAMPLE_ROWS:
                break
        hints = self._hints[resource.name] = reading.hints
        if hints.cursor is not None:
            self._cursors[resource.name] = next((row[hints.cursor] for row in rows if row.get(hints.cursor)), None)
        plain = declared_shape(_as_resource(resource.name, hints.primary_key, hints, None)).grown(rows).table()
        declared = _as_resource(resource.name, hints.primary_key, hints, plain)
        return declared_shape(declared).grown(rows).table()


class _Answers:
    """A resource's pages as a pass of an API reads them."""

    def __init__(self, reading: Reading, cursor_like: Any) -> None:
        self._reading = reading
        self._cursor_like = cursor_like

    def pages(self, listing: Listing, _patience: Patience) -> Iterator[Fetched]:
        after = listing.params.get("after")
        start = starts_at(str(after), self._cursor_like) if after is not None else None
        yield from self._reading.pages(listing.begin, start)

    def server_now(self) -> datetime:
        return datetime.now(UTC)


def _as_resource(name: str, primary_key: tuple[str, ...], hints: Hints, table: TableInfo | None) -> Resource:
    """The words of kind `rest` for it, so that both are typed, windowed and resumed by the same code."""
    column = table.column(hints.cursor) if table is not None and hints.cursor is not None else None
    grows = Incremental(cursor_path=str(hints.cursor), start_param="after", row_order="asc" if hints.resumes else None)
    incremental = None
    if column is not None and is_open_ended(grows, column.name, column.type):
        incremental = grows
    elif column is not None and (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        incremental = Incremental(cursor_path=str(hints.cursor), start_param="after", format="iso", lag=1)
    endpoint = Endpoint(path=name, incremental=incremental)
    return Resource(name=name, endpoint=endpoint, primary_key=primary_key)

"""The connector of kind `rest`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from import_platform.core.cursor import encode
from import_platform.core.layout import ALL
from import_platform.core.table import HashPartition, PartitionSpec, TableInfo
from import_platform.core.wording import counted
from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.http.evidence import Secrets
from import_platform.sources.http.waiting import Patience
from import_platform.sources.json.typing import Row, as_rows, convert
from import_platform.sources.protocol import Ceiling, ColumnsGrew, Page, ParentTables, ReadRequest
from import_platform.sources.rest.ascending import is_open_ended
from import_platform.sources.rest.changes import CHANGED_AT
from import_platform.sources.rest.children import ChildPass, fetch_children
from import_platform.sources.rest.client import Fetched, Listing, RestClient
from import_platform.sources.rest.declaration import Resource, RestApi, parse
from import_platform.sources.rest.parent_rows import absent, column_of, link_fields, parent_row
from import_platform.sources.rest.read import DONE, Pass
from import_platform.sources.rest.shape import declared_shape, shape_of
from import_platform.sources.rest.shipped import expand
from import_platform.sources.rest.window import check_cursor, check_lag

SAMPLE_PARENTS, SAMPLE_ROWS = 5, 100


class RestSource:
    """The lists of one API as tables. Opens no connection before the first call."""

    kind = "rest"

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self.api: RestApi = parse(connection)
        self._client = RestClient(self.api)
        self._patience = Patience()
        self._passes: dict[str, Pass | ChildPass] = {}
        self._parents: ParentTables | None = None

    def __repr__(self) -> str:
        return f"RestSource({urlsplit(self.api.client.base_url).netloc!r}, {counted(len(self.api.resources), 'table')})"

    @property
    def secrets(self) -> Secrets:
        """What hides the credentials of this source in a text."""
        return self._client.secrets

    def use_parents(self, parents: ParentTables) -> None:
        self._parents = parents

    def check(self) -> str:
        """One page of the first list that has no parent."""
        resource = next((r for r in self.api.resources if r.parent is None), self.api.resources[0])
        rows = len(self._first_answer(resource).rows)
        host = urlsplit(self.api.client.base_url).netloc
        tables = counted(len(self.api.resources), "table")
        return f"HTTP API at {host}, {tables}; {resource.name} answers with {counted(rows, 'row')}"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """Declared columns and those of the first page; in name order. Where all are asked for, a list that the API
        refuses has its declared columns only, so that it does not stand in the way of the others."""
        wanted = [r for r in self.api.resources if names is None or r.name in names]
        found, refused = [], []
        for resource in wanted:
            try:
                found.append(self._described(resource))
            except SourceRejected as error:
                refused.append(error)
                if names is not None or error.facts.get("status") == 401 or len(refused) == len(wanted):
                    raise
                found.append(declared_shape(resource).table())
        return sorted(found, key=lambda info: info.name)

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        """The newest row's value where the newest come first, open where ids grow from row to row, else the API's
        clock. Never settled: APIs are late."""
        resource, column = self._resource(table), table.column(cursor)
        if column is None:
            raise SourceRejected(
                "no row of the API has this field",
                table=table.name,
                column=cursor,
                remedy="Correct cursor_path, or declare the column.",
            )
        if resource.parent is not None:
            return self._parent_version(resource)
        if resource.changes is not None and cursor == CHANGED_AT:
            return Ceiling(encode(self._client.server_now(), column.type))
        incremental = resource.endpoint.incremental
        if is_open_ended(incremental, cursor, column.type):
            return Ceiling(None)
        check_cursor(incremental, cursor, column.type)
        if incremental is not None and incremental.column == cursor and incremental.row_order == "desc":
            return self._newest(resource, table, cursor)
        now = self._client.server_now()
        return Ceiling(encode(now if pa.types.is_timestamp(column.type) else now.date(), column.type))

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        raise SourceUnavailable(
            "an API does not count its rows", table=table.name, remedy="Sync the table; the lake counts then."
        )

    def base_keys(
        self, table: TableInfo, partition: PartitionSpec, *, limit: int, timeout_seconds: float
    ) -> list[str] | None:
        """None: what an API holds is only known by reading it."""
        return [ALL] if isinstance(partition, HashPartition) else None

    def read(self, request: ReadRequest) -> Iterator[Page]:
        """In the API's own order; every page has a token."""
        if request.after == DONE:
            return
        resource = self._resource(request.table)
        reading = self._held(request) or self._begun(resource, request)
        has_grown = False
        try:
            yield from reading.pages(request)
        except ColumnsGrew:
            has_grown = True
            raise
        finally:
            if has_grown:
                self._passes[resource.name] = reading
            else:
                reading.close()

    def close(self) -> None:
        for reading in self._passes.values():
            reading.close()
        self._client.close()

    def _begun(self, resource: Resource, request: ReadRequest) -> Pass | ChildPass:
        if resource.parent is None:
            check_lag(resource.endpoint.incremental, request.window)
            return Pass(self._client, resource, request)
        if self._parents is None:
            raise absent(resource)
        return ChildPass(self._client, resource, request, self._parents)

    def _parent_version(self, resource: Resource) -> Ceiling:
        version = self._parents.awaited_version(str(resource.parent)) if self._parents is not None else None
        if version is None:
            raise absent(resource)
        return Ceiling(str(version), settled=True)

    def _held(self, request: ReadRequest) -> Pass | ChildPass | None:
        """The pass that stopped at this very token because columns grew."""
        held = self._passes.pop(request.table.name, None)
        if held is not None and held.token != request.after:
            held.close()
            return None
        return held

    def _resource(self, table: TableInfo) -> Resource:
        found = self.api.resource(table.name)
        if found is None:
            raise SourceRejected(
                "the declaration has no such resource", table=table.name, remedy="Declare it under resources."
            )
        return found

    def _described(self, resource: Resource) -> TableInfo:
        shape = declared_shape(resource)
        rows = self._sample(resource)
        table = shape.grown(rows).table()
        missing = [name for name in resource.primary_key if table.column(name) is None]
        if missing and rows:
            raise ConfigError(
                "no row of the API has a field of the primary key",
                table=resource.name,
                column=missing[0],
                remedy="Correct primary_key.",
            )
        return table

    def _sample(self, resource: Resource) -> list[Row]:
        """Rows of the first answer; of a child those of the first parents that have any."""
        if resource.parent is None:
            return as_rows(self._first_answer(resource).rows)
        fields = dict.fromkeys([*link_fields(resource), *resource.include_from_parent])
        missing: SourceRejected | None = None
        has_list = False
        for parent in self._some_parents(resource, tuple(fields)):
            taken = {column_of(resource, field): parent[field] for field in fields}
            try:
                found = list(islice(fetch_children(self._client, resource, parent, self._patience), SAMPLE_ROWS))
            except SourceRejected as error:
                if error.facts.get("status") not in (404, 410):
                    raise
                missing = missing or error
                continue
            if found:
                return [{**row, **taken} for row in found]
            has_list = True
        if missing is not None and not has_list and not self._is_in_lake(resource):
            raise missing  # no parent has this list: the path is wrong, the table not empty
        return []

    def _is_in_lake(self, resource: Resource) -> bool:
        return self._parents is not None and self._parents.version(resource.name) is not None

    def _some_parents(self, resource: Resource, fields: tuple[str, ...]) -> list[Row]:
        parent = self.api.resource(str(resource.parent))
        assert parent is not None
        columns = tuple(dict.fromkeys(field.split(".")[0] for field in fields))
        if self._parents is not None and self._parents.version(parent.name) is not None:
            batches = self._parents.rows(parent.name, columns)
            rows: Iterable[Row] = (row for batch in batches for row in batch.slice(0, SAMPLE_PARENTS).to_pylist())
        else:
            rows = self._sample(parent)
        return [parent_row(row, fields) for row in islice(rows, SAMPLE_PARENTS)]

    def _first_answer(self, resource: Resource, params: Mapping[str, Any] | None = None) -> Fetched:
        listing = Listing(resource, resource.endpoint.path, {**resource.endpoint.params, **(params or {})})
        return next(self._client.pages(listing, self._patience), Fetched([], None, 0, 0))

    def _newest(self, resource: Resource, table: TableInfo, cursor: str) -> Ceiling | None:
        rows = as_rows(self._first_answer(resource).rows)
        column = next(c for c in shape_of(resource, table).columns if c.name == cursor)
        values = [v for v in convert(rows, [column]).arrays[0].to_pylist() if v is not None] if rows else []
        return Ceiling(encode(max(values), column.type)) if values else None


def shipped_source(connection: Mapping[str, Any]) -> RestSource:
    """A source that comes with the platform."""
    return RestSource(expand(connection))

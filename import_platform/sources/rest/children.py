"""Lists that are asked for once per row of a parent table, from the parent as the lake has it.

A pass is pinned to a version of the parent and goes through the rows that changed since the last one, several requests
at a time, their answers in the parents' order. A token is `{"parents": how many are done, "version": n}`. What the lake
holds of a parent that is read again and the API does not give any more is marked as gone beside the new rows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Any
from urllib.parse import quote

from import_platform.errors import SourceRejected
from import_platform.sources.http.waiting import Patience
from import_platform.sources.json.typing import Row, as_rows
from import_platform.sources.protocol import ColumnsGrew, Page, ParentTables, ReadRequest, Token
from import_platform.sources.rest.client import Listing, RestClient
from import_platform.sources.rest.declaration import PLACEHOLDER, Resource
from import_platform.sources.rest.parent_rows import Family
from import_platform.sources.rest.read import DONE, GROUP_SECONDS, POLL_SECONDS, empty_batch, page_of
from import_platform.sources.rest.shape import Shape, converted, fitting_batch, shape_of

MISSING_MAX = 20
"""So many parents in a row without a list mean a wrong path; fewer were deleted at the API meanwhile."""
GROUP_ROWS = 2000
AHEAD = 4  # parents under way or waiting per request at a time


class ChildPass:
    """Reads the children of every changed parent. It outlives its generator where columns grow in between."""

    def __init__(self, client: RestClient, resource: Resource, request: ReadRequest, parents: ParentTables) -> None:
        self.token: Token | None = request.after
        self._client = client
        self._family = Family(resource, parents, request)
        self._resource = resource
        self._patience = Patience()
        self._pool = ThreadPoolExecutor(client.api.client.parallel, thread_name_prefix="import_platform-children")
        self._waiting: deque[tuple[Row, Future[list[Row] | None]]] = deque()
        self._rows: list[Row] = []
        self._done = int(request.after["parents"]) if request.after else 0
        self._todo = self._family.parents(skip=self._done)
        self._missing = 0
        self._has_found = False
        self._gone_sent = False

    def pages(self, request: ReadRequest) -> Iterator[Page]:
        """Raises ColumnsGrew: the rows are kept, and come when the pass is read again with the table that it names."""
        shape = shape_of(self._resource, request.table)
        ended = False
        while not ended:
            ended = self._gather()
            if not self._rows:
                if not ended:
                    yield Page(empty_batch(shape, request), self._now())
                continue
            page = self._page(shape, request)
            self.token, self._rows = page.token, []
            yield page
        self._raise_missing()
        self._rows = self._family.orphans() if not self._gone_sent else self._rows
        self._gone_sent = True
        yield self._page(shape, request, last=True)
        self.token = DONE

    def close(self) -> None:
        self._patience.end()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _now(self) -> Token:
        return {"parents": self._done, "version": self._family.version}

    def _gather(self) -> bool:
        """Adds the children of whole parents until they are worth a page; True when no parent is left."""
        started = time.monotonic()
        while len(self._rows) < GROUP_ROWS:
            self._submit()
            if not self._waiting:
                return True
            parent, answer = self._waiting[0]
            if self._rows and time.monotonic() - started > GROUP_SECONDS:
                return False
            try:
                found = answer.result(timeout=POLL_SECONDS)
            except Late:
                return False
            self._waiting.popleft()
            self._check_missing(found)
            self._rows += self._family.rows_of(parent, found or [])
            self._done += 1
        return False

    def _submit(self) -> None:
        while len(self._waiting) < AHEAD * self._client.api.client.parallel:
            parent = next(self._todo, None)
            if parent is None:
                return
            self._waiting.append((parent, self._pool.submit(self._fetch, parent)))

    def _fetch(self, parent: Row) -> list[Row] | None:
        """Every child of one parent; None where the API has no such parent any more."""
        try:
            return list(fetch_children(self._client, self._resource, parent, self._patience))
        except SourceRejected as error:
            if error.facts.get("status") in (404, 410):
                return None
            raise

    def _check_missing(self, found: Sequence[Row] | None) -> None:
        if found is not None:
            self._missing, self._has_found = 0, True
            return
        self._missing += 1
        if self._missing >= MISSING_MAX:
            self._raise_missing()

    def _raise_missing(self) -> None:
        if self._missing and not self._has_found:
            raise SourceRejected(
                "the API has no list of children for any parent asked",
                table=self._resource.name,
                asked=self._missing,
                remedy="Correct the path; it must name a field that identifies the parent.",
            )

    def _page(self, shape: Shape, request: ReadRequest, *, last: bool = False) -> Page:
        grown = shape.grown(self._rows)
        done = converted(grown, self._rows)
        if done.wider or not grown.same_columns(shape):
            raise ColumnsGrew.to(grown.widened(done.wider).table())
        batch, rejected = fitting_batch(grown, self._rows, done)
        page, _ = page_of(
            batch, request, rejected, token=DONE if last else self._now(), resource=self._resource, windowed=False
        )
        return page


def fetch_children(client: RestClient, resource: Resource, parent: Row, patience: Patience) -> Iterator[Row]:
    """The children of one parent's row, as the API gives them."""
    values = {field: parent.get(field) for _, field in resource.parent_fields}
    path = PLACEHOLDER.sub(lambda match: quote(str(values[match[2]]), safe=""), resource.endpoint.path)
    params = {name: _param(value, values) for name, value in resource.endpoint.params.items()}
    for answer in client.pages(Listing(resource, path, params), patience):
        yield from as_rows(answer.rows)


def _param(said: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(said, Mapping) and said.get("type") == "resolve":
        return values[said["field"]]
    return PLACEHOLDER.sub(lambda match: str(values[match[2]]), said) if isinstance(said, str) else said

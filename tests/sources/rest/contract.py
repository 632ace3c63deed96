"""What every source of kind `rest` must do, as tests that the test class of each API inherits.

An API gives `api`: a running local server that behaves like it, and what is needed to ask it for one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from import_platform.errors import SourceRejected, SourceUnavailable
from import_platform.sources.protocol import ColumnsGrew, Page, ReadRequest, Source, Token
from import_platform.sources.registry import open_source
from tests.sources.rest.api_server import Answer, ApiServer, status


@dataclass
class Api:
    """One table of one API behind a local server. `give` puts rows (by id) behind the table, in the API's own order;
    `repeat` makes the server give the first page again and again."""

    server: ApiServer
    connection: Mapping[str, Any]
    table: str
    give: Callable[[list[dict[str, Any]]], None]
    row: Callable[[int], dict[str, Any]]
    rows_per_page: int = 100
    repeat: Callable[[], Any] | None = None
    empty_page: Callable[[], Any] | None = None
    parents: Any = None
    extra: dict[str, Any] = field(default_factory=dict)

    def open(self, **client: Any) -> Source:
        connection = {**self.connection}
        if connection["kind"] == "rest":
            connection["client"] = {**connection["client"], **client}
        return open_source("api", connection)


def request_for(source: Source, table: str, **changes: Any) -> ReadRequest:
    (info,) = source.discover([table])
    base = ReadRequest(table=info, columns=tuple(c.name for c in info.columns), primary_key=info.primary_key)
    return replace(base, **changes)


def read(source: Source, request: ReadRequest) -> list[Page]:
    """Every page, as a sync reads: where columns grow, on from the last token with the new ones."""
    pages: list[Page] = []
    while True:
        try:
            for page in source.read(request):
                pages += [page]  # one by one: those before an error count
        except ColumnsGrew as grew:
            known = {c.name: c for c in request.table.columns} | {c.name: c for c in grew.table.columns}
            table = replace(grew.table, columns=tuple(known.values()))
            request = replace(
                request, table=table, columns=tuple(known), after=pages[-1].token if pages else request.after
            )
        else:
            return pages


def ids(pages: Iterable[Page], key: str = "id") -> list[Any]:
    return [value for page in pages for value in page.batch.column(key).to_pylist()]


def tokens(pages: Iterable[Page]) -> list[Token]:
    return [page.token for page in pages if page.token is not None]


@pytest.mark.usefixtures("small_groups")
class RestContract:
    def test_every_row_comes_once_and_in_the_apis_order(self, api: Api) -> None:
        rows = [api.row(n) for n in range(5 * api.rows_per_page + 7)]
        api.give(rows)
        source = api.open()
        found = ids(read(source, request_for(source, api.table)))
        assert sorted(map(str, found)) == sorted(str(row["id"]) for row in rows)
        assert found == sorted(found) or found == sorted(found, reverse=True)

    def test_a_read_goes_on_from_any_token(self, api: Api) -> None:
        api.give([api.row(n) for n in range(4 * api.rows_per_page + 3)])
        source = api.open()
        request = request_for(source, api.table)
        pages = read(source, request)
        assert len(tokens(pages)) >= 5
        for position, page in enumerate(pages):
            again = api.open()
            rest = ids(read(again, replace(request, after=page.token)))
            assert rest == ids(pages[position + 1 :])

    def test_a_resume_asks_for_no_page_again(self, api: Api) -> None:
        api.give([api.row(n) for n in range(6 * api.rows_per_page)])
        source = api.open()
        request = request_for(source, api.table)
        pages = [page for page in read(source, request) if page.batch.num_rows]
        api.server.asked.clear()
        rest = read(api.open(), replace(request, after=pages[3].token))
        assert len(ids(rest)) == 2 * api.rows_per_page
        assert len(api.server.asked) <= 3

    def test_the_last_token_says_that_there_is_no_more(self, api: Api) -> None:
        api.give([api.row(n) for n in range(3)])
        source = api.open()
        request = request_for(source, api.table)
        last = read(source, request)[-1].token
        api.server.asked.clear()
        assert read(source, replace(request, after=last)) == []
        assert api.server.asked == []

    def test_an_empty_list_has_no_rows(self, api: Api) -> None:
        api.give([api.row(1)])
        source = api.open()
        request = request_for(source, api.table)
        api.give([])
        assert ids(read(source, request)) == []

    def test_a_row_without_a_key_and_one_given_twice_both_come(self, api: Api) -> None:
        rows = [api.row(n) for n in range(5)]
        api.give(rows)
        source = api.open()
        request = request_for(source, api.table)
        odd = api.row(3) | {"id": None}
        api.give([*rows, rows[1], odd])
        assert sorted(map(str, ids(read(source, request)))) == sorted(
            [*(str(r["id"]) for r in rows), str(rows[1]["id"]), "None"]
        )

    def test_a_repeated_page_is_an_error_and_no_endless_loop(self, api: Api) -> None:
        if api.repeat is None:
            pytest.skip("this API has one page")
        api.give([api.row(n) for n in range(4 * api.rows_per_page)])
        source = api.open()
        request = request_for(source, api.table)
        api.repeat()
        with pytest.raises(SourceRejected, match="same page"):
            read(source, request)

    @pytest.mark.slow  # waits for real, once per API
    def test_a_rate_limit_is_waited_for(self, api: Api) -> None:
        api.give([api.row(n) for n in range(2 * api.rows_per_page)])
        source = api.open()
        request = request_for(source, api.table)
        api.server.faults.extend([status(429, {"Retry-After": "1"}), status(503), None, status(429)])
        start = api.server.asked[-1].at
        assert len(ids(read(source, request))) == 2 * api.rows_per_page
        waited = [asked.at for asked in api.server.asked if asked.at > start]
        assert waited[1] - waited[0] >= 1.0

    def test_refused_credentials_are_the_owners_and_are_not_tried_again(self, api: Api) -> None:
        api.give([api.row(1)])
        source = api.open()
        api.server.refuse = lambda asked: status(401, {}, '{"error": "bad token s3cr3t-token"}')
        api.server.asked.clear()
        with pytest.raises(SourceRejected, match="credentials") as raised:
            source.discover([api.table])
        assert len(api.server.asked) == 1
        assert "s3cr3t" not in str(raised.value) + repr(raised.value.facts)

    def test_a_server_that_stays_down_is_unavailable(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("import_platform.sources.rest.waiting.BACKOFF_SECONDS", 0.001)
        api.server.refuse = lambda asked: status(500)
        with pytest.raises(SourceUnavailable):
            api.open().discover([api.table])
        assert 3 <= len(api.server.asked) <= 10


def refusing(code: int) -> Callable[[Any], Answer]:
    return lambda asked: status(code)

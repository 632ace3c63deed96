"""The contract: each check is a function that raises ContractBroken where a declaration or our client fails it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from import_platform.errors import ImportPlatformError, SourceRejected, SourceUnavailable
from import_platform.sources.protocol import ColumnsGrew, Page, ReadRequest, Source, Token
from import_platform.sources.rest.connector import RestSource
from import_platform.sources.rest.contract.server import Answer, LocalServer, status
from import_platform.sources.rest.declaration import Resource
from import_platform.sources.rest.shipped import expand

Row = dict[str, Any]


class ContractBroken(Exception):
    """What does not hold, as a sentence."""


class NotApplicable(Exception):
    """Why a check says nothing about this API."""


@dataclass(frozen=True)
class Api:
    """One table of one API behind a local server.

    `give` puts rows behind the table, in the API's own order of `key`; `repeat` makes the server give the first page
    again and again, None where there is one page only.
    """

    server: LocalServer
    connection: Mapping[str, Any]
    table: str
    give: Callable[[list[Row]], None]
    row: Callable[[int], Row]
    rows_per_page: int = 100
    repeat: Callable[[], Any] | None = None
    key: str = "id"

    def open(self, **client: Any) -> RestSource:
        """The source, with other words under `client:`."""
        said = expand(self.connection) if self.connection["kind"] != "rest" else dict(self.connection)
        return RestSource({**said, "client": {**said["client"], **client}})

    @property
    def resource(self) -> Resource:
        found = self.open().api.resource(self.table)
        if found is None:
            raise ContractBroken(f"the declaration has no resource {self.table}")
        return found


def request_for(source: Source, table: str, **changes: Any) -> ReadRequest:
    """A read of the whole table whose every page is one answer."""
    (info,) = source.discover([table])
    columns = tuple(column.name for column in info.columns)
    return replace(ReadRequest(info, columns, info.primary_key, page_bytes=1), **changes)


def read(source: Source, request: ReadRequest) -> list[Page]:
    """Every page, as a sync reads: where columns grow, on from the last token with the new ones."""
    pages: list[Page] = []
    while True:
        try:
            for page in source.read(request):
                pages.append(page)  # noqa: PERF402  one by one: those before an error count
        except ColumnsGrew as grew:
            known = {c.name: c for c in request.table.columns} | {c.name: c for c in grew.table.columns}
            table = replace(grew.table, columns=tuple(known.values()))
            after = pages[-1].token if pages else request.after
            request = replace(request, table=table, columns=tuple(known), after=after)
        else:
            return pages


def ids(pages: Iterable[Page], key: str = "id") -> list[Any]:
    return [value for page in pages for value in page.batch.column(key).to_pylist()]


def tokens(pages: Iterable[Page]) -> list[Token]:
    return [page.token for page in pages if page.token is not None]


def require(holds: object, sentence: str) -> None:
    if not holds:
        raise ContractBroken(sentence)


def every_row_comes_once_and_in_the_apis_order(api: Api) -> None:
    rows = [api.row(n) for n in range(5 * api.rows_per_page + 7)]
    api.give(rows)
    source = api.open()
    found = ids(read(source, request_for(source, api.table)), api.key)
    wanted = sorted(str(row[api.key]) for row in rows)
    require(len(found) == len(wanted), f"{len(found)} of {len(wanted)} rows came")
    require(sorted(map(str, found)) == wanted, "other rows came than the API has")
    require(found in (sorted(found), sorted(found, reverse=True)), "the rows lost their order")


def a_read_goes_on_from_any_token(api: Api) -> None:
    api.give([api.row(n) for n in range(4 * api.rows_per_page + 3)])
    source = api.open()
    request = request_for(source, api.table)
    pages = read(source, request)
    least = 5 if api.repeat is not None else 1
    require(len(tokens(pages)) >= least, f"{len(tokens(pages))} pages have a token")
    for position, page in enumerate(pages):
        rest = ids(read(api.open(), replace(request, after=page.token)), api.key)
        require(rest == ids(pages[position + 1 :], api.key), f"after page {position + 1} other rows came than before")


def a_resume_asks_for_no_page_again(api: Api) -> None:
    if api.repeat is None:
        raise NotApplicable("the list has one page")
    api.give([api.row(n) for n in range(6 * api.rows_per_page)])
    source = api.open()
    request = request_for(source, api.table)
    pages = [page for page in read(source, request) if page.batch.num_rows]
    require(len(pages) == 6, f"{len(pages)} pages of rows came where the API has 6")
    api.server.asked.clear()
    rest = read(api.open(), replace(request, after=pages[3].token))
    require(len(ids(rest, api.key)) == 2 * api.rows_per_page, "rows came twice or not at all")
    asked = _lists_asked(api)
    require(asked <= 3, f"{asked} requests for 2 pages and an end")


def the_last_token_says_that_there_is_no_more(api: Api) -> None:
    api.give([api.row(n) for n in range(3)])
    source = api.open()
    request = request_for(source, api.table)
    last = read(source, request)[-1].token
    api.server.asked.clear()
    require(read(source, replace(request, after=last)) == [], "rows came after the end")
    require(_lists_asked(api) == 0, "the API was asked after the end")


def an_empty_list_has_no_rows(api: Api) -> None:
    api.give([api.row(1)])
    source = api.open()
    request = request_for(source, api.table)
    api.give([])
    require(ids(read(source, request), api.key) == [], "rows came")


def a_row_without_a_key_and_one_given_twice_both_come(api: Api) -> None:
    rows = [api.row(n) for n in range(5)]
    api.give(rows)
    source = api.open()
    request = request_for(source, api.table)
    odd = api.row(5) | {api.key: None}
    api.give([*rows[:2], rows[1], *rows[2:], odd])
    found = sorted(map(str, ids(read(source, request), api.key)))
    wanted = sorted([*(str(row[api.key]) for row in rows), str(rows[1][api.key]), "None"])
    require(found == wanted, f"{len(found)} of {len(wanted)} rows came, or others")


def a_repeated_page_is_an_error_and_no_endless_loop(api: Api) -> None:
    if api.repeat is None:
        raise NotApplicable("the list has one page")
    if not api.resource.primary_key:
        raise NotApplicable("without a primary key two pages may be alike")
    api.give([api.row(n) for n in range(4 * api.rows_per_page)])
    source = api.open()
    request = request_for(source, api.table)
    api.repeat()
    _raises(SourceRejected, "same page", lambda: read(source, request))


def a_rate_limit_is_waited_for(api: Api) -> None:
    _without_rules(api, 429, 503)
    api.give([api.row(n) for n in range(2 * api.rows_per_page)])
    source = api.open()
    request = request_for(source, api.table)
    api.server.asked.clear()
    api.server.faults.extend([status(429, {"Retry-After": "1"}), status(503), None, status(429)])
    found = ids(read(source, request), api.key)
    api.server.faults.clear()
    require(len(found) == 2 * api.rows_per_page, f"{len(found)} of {2 * api.rows_per_page} rows came")
    waited = api.server.asked[1].at - api.server.asked[0].at
    require(waited >= 1.0, f"Retry-After asked for 1 s, the next request came after {waited:.1f} s")


def refused_credentials_are_the_owners_and_are_not_tried_again(api: Api) -> None:
    _without_rules(api, 401)
    api.give([api.row(1)])
    source = api.open()
    api.server.refuse = lambda asked: None if asked.path == TOKEN_PATH else status(401, {}, '{"error": "s3cr3t-token"}')
    api.server.asked.clear()
    error = _raises(SourceRejected, "credentials", lambda: source.discover([api.table]))
    wanted = 2 if api.open().api.client.auth and source.api.client.auth.type.startswith("oauth2") else 1  # type: ignore[union-attr]
    require(_lists_asked(api) == wanted, f"{_lists_asked(api)} requests with refused credentials")
    require("s3cr3t" not in str(error) + repr(error.facts), "the error quotes the answer")


def a_server_that_stays_down_is_unavailable(api: Api) -> None:
    _without_rules(api, 500)
    api.server.refuse = lambda asked: None if asked.path == TOKEN_PATH else status(500)
    api.server.asked.clear()
    _raises(SourceUnavailable, "", lambda: api.open(retries=2).discover([api.table]))
    require(_lists_asked(api) == 3, f"{_lists_asked(api)} requests where 3 were allowed")


def an_error_inside_a_good_answer_is_no_empty_table(api: Api) -> None:
    resource = api.resource
    if resource.endpoint.empty_when_absent or not resource.primary_key:
        raise NotApplicable("the declaration takes answers without rows, or has no key to know rows by")
    api.give([api.row(n) for n in range(3)])
    source = api.open(retries=0)
    request = request_for(source, api.table)
    told = status(200, {}, '{"error": {"message": "s3cr3t-token"}}')
    api.server.refuse = lambda asked: None if asked.path == TOKEN_PATH else told
    error = _raises(ImportPlatformError, "", lambda: read(source, request))
    require("s3cr3t" not in str(error) + repr(error.facts), "the error quotes the answer")


def html_instead_of_json_is_the_owners(api: Api) -> None:
    api.give([api.row(1)])
    source = api.open(retries=1)
    page: Answer = (200, {"Content-Type": "text/html"}, b"<!doctype html><html>Please log in</html>")
    api.server.refuse = lambda asked: None if asked.path == TOKEN_PATH else page
    _raises(SourceRejected, "HTML", lambda: source.discover([api.table]))


TOKEN_PATH = "/_token"  # noqa: S105  a path
"""Where the local server gives an OAuth2 token."""

Check = Callable[[Api], None]
CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        every_row_comes_once_and_in_the_apis_order,
        a_read_goes_on_from_any_token,
        a_resume_asks_for_no_page_again,
        the_last_token_says_that_there_is_no_more,
        an_empty_list_has_no_rows,
        a_row_without_a_key_and_one_given_twice_both_come,
        a_repeated_page_is_an_error_and_no_endless_loop,
        a_rate_limit_is_waited_for,
        refused_credentials_are_the_owners_and_are_not_tried_again,
        a_server_that_stays_down_is_unavailable,
        an_error_inside_a_good_answer_is_no_empty_table,
        html_instead_of_json_is_the_owners,
    )
}


def _lists_asked(api: Api) -> int:
    return sum(asked.path != TOKEN_PATH for asked in api.server.asked)


def _without_rules(api: Api, *codes: int) -> None:
    actions: Sequence[Any] = (*api.resource.endpoint.response_actions, *api.open().api.client.response_actions)
    said = [str(action.status_code).lower() for action in actions if action.status_code is not None]
    for code in codes:
        if str(code) in said or f"{code // 100}xx" in said:
            raise NotApplicable(f"the declaration has a rule of its own for {code}")


def _raises(kind: type[ImportPlatformError], words: str, run: Callable[[], Any]) -> ImportPlatformError:
    try:
        run()
    except kind as error:
        require(words in str(error), f"an error came, but not the right one: {error}")
        return error
    except ImportPlatformError as error:
        raise ContractBroken(f"{type(error).__name__} instead of {kind.__name__}: {error}") from None
    raise ContractBroken("no error came")

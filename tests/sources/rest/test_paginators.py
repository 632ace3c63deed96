"""Every paginator passes the contract, against a server that pages in its way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sources.rest.api_server import ApiServer, Asked, Listed
from tests.sources.rest.contract import Api, RestContract, ids, read, request_for

PAGINATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "page_number": ("data", {"type": "page_number", "base_page": 1, "total_path": "pages"}),
    "page_number_until_empty": ("data", {"type": "page_number", "base_page": 1}),
    "offset": ("data", {"type": "offset", "limit": 10, "total_path": "total"}),
    "cursor": ("data", {"type": "cursor", "cursor_path": "next", "cursor_param": "cursor"}),
    "cursor_in_body": ("data", {"type": "cursor", "cursor_path": "next", "cursor_body_path": "cursor"}),
    "last_key": (
        "data",
        {"type": "cursor", "cursor_path": "data[-1].id", "cursor_param": "starting_after", "has_more_path": "has_more"},
    ),
    "header_cursor": ("$", {"type": "header_cursor", "cursor_key": "X-Next", "cursor_param": "cursor"}),
    "header_link": ("$", {"type": "header_link"}),
    "json_link": ("data", {"type": "json_link", "next_url_path": "links.next"}),
}
STYLES = {"page_number_until_empty": "page_number", "cursor_in_body": "cursor", "last_key": "after_key"}


def row(n: int) -> dict[str, Any]:
    return {
        "id": n,
        "name": f"row {n}",
        "amount": n / 4,
        "updated_at": f"2025-01-01T00:{n // 60 % 60:02d}:{n % 60:02d}Z",
    }


@pytest.fixture(params=PAGINATORS)
def api(request: pytest.FixtureRequest, server: ApiServer) -> Api:
    selector, paginator = PAGINATORS[request.param]
    listed = Listed([], STYLES.get(request.param, request.param), per_page=10)
    server.lists["/things"] = listed
    endpoint: dict[str, Any] = {"path": "things", "data_selector": selector, "paginator": paginator}
    if "body" in request.param:
        endpoint |= {"method": "POST", "json": {"query": "all"}}
    connection = {
        "kind": "rest",
        "client": {"base_url": server.url, "auth": {"token": "s3cr3t-token"}},
        "resources": [{"name": "things", "primary_key": "id", "endpoint": endpoint}],
    }

    def give(rows: list[dict[str, Any]]) -> None:
        listed.rows = rows

    def repeat() -> None:
        listed.per_page = 10
        first = listed.rows
        honest = getattr(server, f"_{listed.style}")

        def again(spec: Listed, rows: Any, asked: Asked, said: dict[str, Any]) -> Any:
            return honest(spec, first, Asked(asked.method, asked.path, {}, {}, {}, 0), {})

        setattr(server, f"_{listed.style}", again)

    return Api(server, connection, "things", give, row, rows_per_page=10, repeat=repeat)


class TestEveryPaginator(RestContract):
    """All of the contract."""


def test_an_answer_whose_paginator_cannot_be_told_is_refused_instead_of_read_in_part(server: ApiServer) -> None:
    from import_platform.errors import ConfigError
    from import_platform.sources.registry import open_source

    server.lists["/things"] = Listed([row(n) for n in range(30)], "offset", per_page=10)
    connection = {"kind": "rest", "client": {"base_url": server.url}, "resources": ["things"]}
    with pytest.raises(ConfigError, match="could not be told"):
        open_source("api", connection).discover()


def test_links_are_told_from_the_first_answer(server: ApiServer) -> None:
    from import_platform.sources.registry import open_source

    server.lists["/things"] = Listed([row(n) for n in range(35)], "header_link", per_page=10)
    resources = [{"name": "things", "endpoint": {"path": "things", "data_selector": "$"}}]
    source = open_source("api", {"kind": "rest", "client": {"base_url": server.url}, "resources": resources})
    assert ids(read(source, request_for(source, "things"))) == list(range(35))

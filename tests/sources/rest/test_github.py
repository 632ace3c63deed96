"""The shipped source GitHub, against a local server with Link headers, `since` and GitHub's rate limit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.sources.rest.api_server import ApiServer, Asked, Listed, status
from tests.sources.rest.contract import Api, RestContract
from tests.sources.rest.rest_table import RestTable


def connection(server: ApiServer) -> dict[str, Any]:
    return {
        "kind": "github",
        "token": "ghp_s3cr3t-token",
        "owner": "octo",
        "repository": "hello",
        "base_url": server.url,
    }


def issue(n: int) -> dict[str, Any]:
    at = f"2025-01-{n // 1440 + 1:02d}T{n // 60 % 24:02d}:{n % 60:02d}:00Z"
    return {"id": 1000 + n, "number": n, "title": f"Issue {n}", "updated_at": at, "user": {"login": "octo"}}


@pytest.fixture
def api(server: ApiServer) -> Api:
    listed = Listed([], "header_link", since="since")
    server.lists["/repos/octo/hello/issues"] = listed

    def give(rows: list[dict[str, Any]]) -> None:
        listed.rows = rows

    def repeat() -> None:
        honest = server._header_link
        server._header_link = lambda spec, rows, asked, said: honest(  # type: ignore[method-assign]
            spec, rows, Asked("GET", asked.path, {"page": "1"}, {}, {}, 0), {"page": 1}
        )

    return Api(server, connection(server), "issues", give, issue, rows_per_page=100, repeat=repeat)


class TestGithub(RestContract):
    """All of the contract."""


def test_later_syncs_ask_since_the_last_change(server: ApiServer, tmp_path: Path) -> None:
    rows = [issue(n) for n in range(150)]
    server.lists["/repos/octo/hello/issues"] = Listed(lambda asked: rows, "header_link", since="since")
    table = RestTable(connection(server), "issues", str(tmp_path))
    table.sync()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    rows = [*rows[:5], *rows[6:], {**rows[5], "title": "Closed", "updated_at": now}]
    server.asked.clear()
    assert table.sync().rows_updated == 1
    assert [asked.params["state"] for asked in server.asked] == ["all"] * len(server.asked)
    assert all("since" in asked.params for asked in server.asked[1:])
    assert table.frame().filter(number=5)["title"].to_list() == ["Closed"]


def test_comments_are_children_of_issues(server: ApiServer, tmp_path: Path) -> None:
    server.lists["/repos/octo/hello/issues"] = Listed([issue(n) for n in range(10)], "header_link")
    server.lists["^/repos/octo/hello/issues/[0-9]+/comments"] = Listed(
        lambda asked: [{"id": int(asked.path.split("/")[5]) * 10 + k, "body": f"c{k}"} for k in range(2)], "header_link"
    )
    table = RestTable(connection(server), "issue_comments", str(tmp_path))
    table.sync(table="issues")
    table.sync()
    found = table.frame()
    assert found.height == 20
    assert set(found["_issues_number"]) == set(range(10))


def test_the_primary_rate_limit_is_a_403_that_is_waited_for(server: ApiServer, tmp_path: Path) -> None:
    server.lists["/users/octo/repos"] = Listed([{"id": 1, "full_name": "octo/hello"}], "header_link")
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1)}
    server.faults.append(status(403, reset, '{"message": "API rate limit exceeded"}'))
    table = RestTable(connection(server), "repos", str(tmp_path))
    assert table.sync().rows_inserted == 1

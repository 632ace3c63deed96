"""Being a good client: limits, patience, time limits, credentials, and never a secret where it does not belong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from import_platform.core.report import Silent, Stage
from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.http.waiting import asked_seconds
from import_platform.sources.registry import check_connection_keys, open_source
from tests.sources.rest.api_server import ApiServer, Asked, Listed, ok, status
from tests.sources.rest.contract import ids, read, request_for
from tests.sources.rest.rest_table import RestTable

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "name": f"row {n}"} for n in range(count)]


def connection(server: ApiServer, auth: Any = None, **client: Any) -> dict[str, Any]:
    said = {"base_url": server.url, **client, **({"auth": auth} if auth else {})}
    endpoint = {"path": "things", "data_selector": "data", "paginator": {"type": "page_number", "base_page": 1}}
    return {
        "kind": "rest",
        "client": said,
        "resources": [{"name": "things", "primary_key": "id", "endpoint": endpoint}],
    }


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": format_datetime(NOW + timedelta(seconds=30), usegmt=True)}, 30),
        ({"Retry-After": format_datetime(NOW - timedelta(seconds=30), usegmt=True)}, 0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW.timestamp()) + 40)}, 40),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, 12),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "12"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_a_server_says_how_long_to_wait_in_several_ways(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_seconds(headers, NOW) == seconds


def test_requests_keep_to_the_declared_rate_across_tables(server: ApiServer) -> None:
    server.lists["/things"] = Listed(rows(1), "page_number")
    limit = {"requests": 10, "per_seconds": 1, "burst": 1}
    sources = [open_source("api", connection(server, rate_limit=limit)) for _ in range(2)]
    started = time.monotonic()
    for _ in range(4):
        for source in sources:
            source.discover()
    assert time.monotonic() - started >= 0.65  # eight requests, one at once, then ten a second


def test_a_server_that_asks_for_a_day_is_left_to_the_next_run(server: ApiServer) -> None:
    server.refuse = lambda asked: status(429, {"Retry-After": "86400"})
    with pytest.raises(SourceUnavailable, match="long time"):
        open_source("api", connection(server)).discover()
    assert len(server.asked) == 1


def test_a_sync_that_waits_for_a_busy_api_can_be_stopped(server: ApiServer, tmp_path: Path) -> None:
    server.lists["/things"] = Listed(rows(30), "page_number", per_page=10)
    rows_came = threading.Event()

    class Reading(Silent):
        def progress(self, table: str, stage: Stage, *, rows: int, **counts: Any) -> None:
            if rows:
                rows_came.set()

    def stop() -> bool:
        return rows_came.is_set() and any(asked.params.get("page") == "3" for asked in server.asked)

    table = RestTable(connection(server), "things", str(tmp_path), stop=stop, observer=Reading())
    server.refuse = lambda asked: status(429, {"Retry-After": "600"}) if asked.params.get("page") == "3" else None
    assert table.sync().status == "checkpointed"
    assert sum(asked.params.get("page") == "3" for asked in server.asked) == 1, "nobody waited for the 600 seconds"
    server.refuse, table.stop = None, None
    report = table.sync()
    assert report.resumed
    assert table.ids() == list(range(30))


def test_nobody_waits_for_dlt_who_opens_no_api() -> None:
    """It takes a second and 48 MB: neither --help nor loading definitions may import it."""
    code = "import sys, import_platform.cli, import_platform.definitions; sys.exit('dlt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_a_request_without_an_answer_ends_at_its_time_limit(server: ApiServer) -> None:
    server.lists["/things"] = Listed(rows(1), "page_number")
    ended, answered = threading.Event(), threading.Event()

    def never(asked: Asked) -> None:
        ended.wait(600)
        answered.set()

    server.refuse = never
    with pytest.raises(SourceUnavailable, match="did not answer"):
        open_source("api", connection(server, timeout=0.3, retries=1)).discover()
    assert not answered.is_set()
    ended.set()


def test_the_next_page_is_fetched_while_the_last_is_worked_on(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("import_platform.sources.rest.read.GROUP_ROWS", 1)
    server.lists["/things"] = Listed(rows(20), "page_number", per_page=5)
    source = open_source("api", connection(server))
    seen = 0
    for page in source.read(request_for(source, "things")):
        seen += bool(page.batch.num_rows)
        asked_ahead = min(seen + 1, 4)
        patience = time.monotonic() + 20
        while len(server.asked) < asked_ahead and time.monotonic() < patience:
            time.sleep(0.005)  # this page's work, which nobody's request waits for
        assert len(server.asked) >= asked_ahead
    assert seen == 4


def test_client_credentials_are_fetched_once_and_renewed_when_refused(server: ApiServer) -> None:
    good = {"token": "first"}

    def answer(asked: Asked) -> Any:
        if asked.path == "/token":
            assert asked.body["client_secret"] == "s3cr3t-value"
            return ok({"access_token": good["token"], "expires_in": 3600})
        return None if asked.headers.get("Authorization") == f"Bearer {good['token']}" else status(401)

    server.refuse = answer
    server.lists["/things"] = Listed(rows(30), "page_number", per_page=10)
    auth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{server.url}/token",
        "client_id": "me",
        "client_secret": "s3cr3t-value",
    }
    source = open_source("api", connection(server, auth))
    request = request_for(source, "things")
    assert ids(read(source, request)) == list(range(30))
    assert [asked.path for asked in server.asked].count("/token") == 1
    good["token"] = "second"
    assert ids(read(source, request)) == list(range(30))
    assert [asked.path for asked in server.asked].count("/token") == 2


@pytest.mark.parametrize(("retries", "refusals"), [(0, [401]), (1, [500, 401]), (1, [401, 500])])
def test_a_renewed_token_takes_none_of_the_tries(retries: int, refusals: list[int], server: ApiServer) -> None:
    left = iter(refusals)

    def answer(asked: Asked) -> Any:
        if asked.path == "/token":
            return ok({"access_token": "t", "expires_in": 3600})
        refusal = next(left, None)
        return None if refusal is None else status(refusal)

    server.refuse = answer
    server.lists["/things"] = Listed(rows(1), "page_number")
    auth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{server.url}/token",
        "client_id": "me",
        "client_secret": "s3cr3t-value",
    }
    assert open_source("api", connection(server, auth, retries=retries)).discover()[0].name == "things"
    assert [asked.path for asked in server.asked].count("/token") == 2


def test_a_token_refused_after_its_renewal_is_the_owners_matter(server: ApiServer) -> None:
    token = ok({"access_token": "t", "expires_in": 3600})
    server.refuse = lambda asked: token if asked.path == "/token" else status(401)
    auth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{server.url}/token",
        "client_id": "me",
        "client_secret": "s3cr3t-value",
    }
    with pytest.raises(SourceRejected, match="does not accept the credentials"):
        open_source("api", connection(server, auth, retries=0)).discover()


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"token": "abcdefgh"}, ("Authorization", "Bearer abcdefgh")),
        ({"type": "http_basic", "username": "me", "password": "pw"}, ("Authorization", "Basic bWU6cHc=")),
        ({"type": "api_key", "name": "X-Key", "api_key": "abcdefgh"}, ("X-Key", "abcdefgh")),
    ],
)
def test_credentials_go_where_they_are_declared(auth: dict[str, str], header: Any, server: ApiServer) -> None:
    server.lists["/things"] = Listed(rows(1), "page_number")
    open_source("api", connection(server, auth)).discover()
    assert server.asked[0].headers[header[0]] == header[1]


def test_a_key_that_the_api_repeats_in_its_links_is_in_no_token(server: ApiServer) -> None:
    server.lists["/things"] = Listed(rows(30), "json_link", per_page=10)
    said = connection(server, {"type": "api_key", "name": "api_key", "api_key": "s3cr3t", "location": "query"})
    said["resources"][0]["endpoint"]["paginator"] = {"type": "json_link", "next_url_path": "links.next"}
    source = open_source("api", said)
    pages = read(source, request_for(source, "things"))
    assert ids(pages) == list(range(30))
    assert "s3cr3t" not in json.dumps([page.token for page in pages])
    assert all(asked.params["api_key"] == "s3cr3t" for asked in server.asked)


def test_credentials_do_not_follow_a_link_or_a_redirect_to_another_host(server: ApiServer) -> None:
    with ApiServer() as other:
        elsewhere = {"data": rows(1), "links": {"next": f"{other.url}/things"}}
        said = connection(server, {"type": "api_key", "name": "X-Key", "api_key": "s3cr3t"})
        said["resources"][0]["endpoint"]["paginator"] = {"type": "json_link", "next_url_path": "links.next"}
        source = open_source("api", said)
        server.refuse = lambda asked: ok(elsewhere)
        request = request_for(source, "things")
        with pytest.raises(SourceRejected, match="another host"):
            read(source, request)
        server.refuse = lambda asked: (302, {"Location": f"{other.url}/things"}, b"")
        with pytest.raises(SourceRejected, match="another host"):
            read(source, request)
        assert other.asked == []


def test_what_is_kept_of_a_failure_holds_no_secret(server: ApiServer) -> None:
    secret = "s3cr3t-value"
    said = connection(server, {"token": secret}, headers={"X-Session": "another-secret"})
    server.refuse = lambda asked: status(403, {"Set-Cookie": "a=b"}, json.dumps({"error": f"{secret} is no good"}))
    with pytest.raises(SourceRejected) as raised:
        open_source("api", said).discover()
    kept = repr(raised.value.evidence)  # type: ignore[attr-defined]
    assert "is no good" in kept
    assert secret not in kept + str(raised.value)
    assert "another-secret" not in kept
    assert "a=b" not in kept


def test_rules_of_the_source_decide_before_ours(server: ApiServer) -> None:
    said = connection(server)
    said["resources"][0]["endpoint"]["response_actions"] = [
        {"status_code": 404, "action": "ignore"},
        {"json_path": "errors[0].code", "action": "reject", "message": "the plan has no access to this list"},
    ]
    source = open_source("api", said)
    server.lists["/things"] = Listed(rows(3), "page_number")
    request = request_for(source, "things")
    server.refuse = lambda asked: status(404)
    assert ids(read(source, request)) == []
    server.refuse = lambda asked: ok({"data": [], "errors": [{"code": 9}]})
    with pytest.raises(SourceRejected, match="no access to this list"):
        read(source, replace(request))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"client": {"base_url": "ftp://x"}}, "base_url must begin"),
        ({"client": {"base_url": "http://x", "auth": {"type": "bearer"}}}, "needs token"),
        ({"client": {"base_url": "http://x", "paginator": {"type": "cursor", "limit": 3}}}, "does not know limit"),
        ({"client": {"base_url": "http://x", "pager": "x"}}, "Extra inputs"),
        ({"resources": []}, "at least 1"),
        ({"resources": ["a", "a"]}, "more than once"),
        ({"resources": [{"name": "a", "columns": {"x": "varchar"}}]}, "no column type"),
    ],
)
def test_a_mistake_in_the_declaration_is_named_without_values(change: dict[str, Any], words: str) -> None:
    said = {"kind": "rest", "client": {"base_url": "http://x"}, "resources": ["a"], **change}
    with pytest.raises(ConfigError, match=words):
        check_connection_keys(said)

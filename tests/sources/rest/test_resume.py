"""A sync of an API that is killed goes on where it was; a token that no longer works costs a little, never a row."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from import_platform.errors import SourceRejected
from import_platform.sources.rest.prefetch import AHEAD
from tests.sources.rest.api_server import ApiServer, Asked, Listed, status
from tests.sources.rest.rest_table import RestTable
from tests.sources.rest.test_paginators import PAGINATORS, STYLES, row

PAGES, PER_PAGE = 40, 10


def connection(server: ApiServer, style: str, **endpoint: Any) -> dict[str, Any]:
    selector, paginator = PAGINATORS[style]
    whole: dict[str, Any] = {"path": "things", "data_selector": selector, "paginator": paginator, **endpoint}
    if "body" in style:
        whole |= {"method": "POST", "json": {"query": "all"}}
    return {
        "kind": "rest",
        "client": {"base_url": server.url, "auth": {"token": "s3cr3t-token"}},
        "resources": [{"name": "things", "primary_key": "id", "endpoint": whole}],
    }


def killed_at_a_random_page(table: RestTable, server: ApiServer, *, seed: str) -> int:
    """How many requests it had sent: the first for the columns, the last without an answer, and all between are staged
    but for two."""
    wanted = random.Random(seed).randint(PAGES // 4, PAGES * 3 // 4)
    assert table.kill_at_request(server, wanted, staged_rows=(wanted - 4) * PER_PAGE) == wanted
    return wanted


@pytest.mark.slow
@pytest.mark.parametrize("style", PAGINATORS)
def test_a_sync_killed_at_a_random_page_goes_on_and_reads_every_row_once(
    style: str, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("import_platform.sources.rest.read.GROUP_ROWS", 1)
    rows = [row(n) for n in range(PAGES * PER_PAGE)]
    server.lists["/things"] = Listed(rows, STYLES.get(style, style), per_page=PER_PAGE)
    table = RestTable(connection(server, style), "things", str(tmp_path), page_by_page=True)
    asked = killed_at_a_random_page(table, server, seed=style)
    staged = table.staged_rows()
    server.asked.clear()
    report = table.sync()
    assert report.resumed
    assert table.ids() == [r["id"] for r in rows]
    assert report.rows_read == len(rows) - staged
    repeated = len(server.asked) - (PAGES - asked)
    # The sample, the chunks that were not staged, what was under way, an empty last page.
    assert repeated <= 6


@pytest.mark.usefixtures("small_groups")
def test_a_stopped_sync_goes_on_from_its_page(server: ApiServer, tmp_path: Path) -> None:
    rows = [row(n) for n in range(200)]
    server.lists["/things"] = Listed(rows, "cursor", per_page=10)
    table = RestTable(connection(server, "cursor"), "things", str(tmp_path), page_by_page=True)
    pages = iter(range(1000))
    table.stop = lambda: next(pages) >= 1
    table.sync()
    table.stop = None
    report = table.sync()
    assert report.resumed
    assert table.ids() == list(range(200))


class Newest:
    """A list with the newest first, by key tokens, as Stripe has: rows come at the front while it is read."""

    def __init__(self, server: ApiServer, count: int) -> None:
        self.server = server
        self.rows = [row(n) for n in range(count)][::-1]
        server.lists["/things"] = Listed(lambda asked: self.rows, "after_key", per_page=10)

    def add(self, count: int) -> None:
        first = self.rows[0]["id"] + 1
        self.rows = [row(n) for n in range(first, first + count)][::-1] + self.rows


def newest_first(server: ApiServer, **incremental: Any) -> dict[str, Any]:
    return connection(server, "last_key", incremental={"cursor_path": "updated_at", "row_order": "desc", **incremental})


@pytest.mark.slow
def test_a_newest_first_list_fills_its_gap_first_and_then_brings_what_came_meanwhile(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("import_platform.sources.rest.read.GROUP_ROWS", 1)
    newest = Newest(server, PAGES * PER_PAGE)
    table = RestTable(newest_first(server), "things", str(tmp_path), page_by_page=True)
    killed_at_a_random_page(table, server, seed="newest")
    newest.add(35)
    report = table.sync()
    assert report.resumed
    assert table.ids() == list(range(PAGES * PER_PAGE))  # the pass that was begun, to its end
    server.asked.clear()
    report = table.sync()
    assert table.ids() == list(range(PAGES * PER_PAGE + 35))
    # Down to the last sync's newest row and no further, but for what was fetched ahead until it was seen.
    assert len(server.asked) <= 6 + AHEAD < PAGES
    assert table.sync().rows_inserted == 0


def test_a_sync_of_changes_asks_from_the_last_value_on(server: ApiServer, tmp_path: Path) -> None:
    rows = [row(n) for n in range(100)]
    server.lists["/things"] = Listed(rows, "page_number", per_page=10, since="since")
    incremental = {"cursor_path": "updated_at", "start_param": "since", "row_order": "asc"}
    table = RestTable(connection(server, "page_number", incremental=incremental), "things", str(tmp_path))
    assert table.sync().rows_inserted == 100
    cursor = table.staging().state(table.log().snapshot().transaction).cursor  # type: ignore[union-attr]
    cursor = str(cursor).replace(".000000", "")
    rows.append({**row(7), "name": "changed", "updated_at": cursor})
    rows.append({**row(500), "updated_at": cursor})
    server.asked.clear()
    report = table.sync()
    assert (report.rows_inserted, report.rows_updated) == (1, 1)
    assert [asked.params["since"] for asked in server.asked[1:]] == [cursor]
    assert table.frame().filter(id=7)["name"].to_list() == ["changed"]


def test_a_cursor_in_seconds_since_1970_is_an_instant(server: ApiServer, tmp_path: Path) -> None:
    rows = [{"id": n, "changed": 1_735_689_600 + n} for n in range(20)]
    server.lists["/things"] = Listed(rows, "page_number", per_page=10, since="since", cursor="changed")
    incremental = {"cursor_path": "changed", "start_param": "since", "format": "epoch"}
    table = RestTable(connection(server, "page_number", incremental=incremental), "things", str(tmp_path))
    table.sync()
    assert table.frame().sort("id")["changed"][3].timestamp() == 1_735_689_603
    rows.append({"id": 99, "changed": int(time.time())})
    server.asked.clear()
    assert table.sync().rows_inserted == 1
    assert server.asked[-1].params["since"].isdigit()


@pytest.mark.parametrize("code", [400, 404, 410])
def test_an_expired_token_falls_back_to_the_last_row_with_overlap(
    code: int, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("import_platform.sources.rest.read.GROUP_ROWS", 1)
    rows = [row(n) for n in range(200)]
    server.lists["/things"] = Listed(rows, "cursor", per_page=10, since="since")
    incremental = {"cursor_path": "updated_at", "start_param": "since", "row_order": "asc"}
    table = RestTable(connection(server, "cursor", incremental=incremental), "things", str(tmp_path), page_by_page=True)
    stopping = iter(range(1000))
    table.stop = lambda: next(stopping) >= 5
    table.sync()
    table.stop = None
    refused: list[str] = []

    def expired(asked: Asked) -> Any:
        token = asked.params.get("cursor")
        if token is not None and not refused:
            refused.append(token)
            return status(code)
        return None

    server.refuse = expired
    report = table.sync()
    assert refused
    assert report.resumed
    assert table.ids() == list(range(200))
    assert report.rows_read < 200  # from the last row on, not from the first


def test_an_expired_token_of_a_list_that_cannot_be_narrowed_reads_it_anew(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("import_platform.sources.rest.read.GROUP_ROWS", 1)
    rows = [row(n) for n in range(100)]
    server.lists["/things"] = Listed(rows, "cursor", per_page=10)
    table = RestTable(connection(server, "cursor"), "things", str(tmp_path), page_by_page=True)
    stopping = iter(range(1000))
    table.stop = lambda: next(stopping) >= 3
    table.sync()
    table.stop = None
    refused = iter([True])
    server.refuse = lambda asked: status(410) if "cursor" in asked.params and next(refused, False) else None
    assert table.sync().rows_read == 100
    assert table.ids() == list(range(100))


def test_a_token_that_came_a_moment_ago_does_not_expire(server: ApiServer, tmp_path: Path) -> None:
    server.lists["/things"] = Listed([row(n) for n in range(100)], "cursor", per_page=10)
    table = RestTable(connection(server, "cursor"), "things", str(tmp_path))
    server.refuse = lambda asked: status(400) if asked.params.get("cursor") == "c50" else None
    with pytest.raises(SourceRejected, match="refuses the request"):
        table.sync()

"""Ids that grow from row to row as cursor: `since_id`, as number or text, with or without the last row again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from import_platform.errors import ConfigError, SourceRejected
from import_platform.sources.registry import open_source
from tests.sources.rest.api_server import ApiServer, Asked, Listed
from tests.sources.rest.contract import ids, read, request_for
from tests.sources.rest.rest_table import RestTable
from tests.sources.rest.test_resume import killed_at_a_random_page

PER_PAGE = 10
Row = dict[str, Any]


def number(n: int) -> int:
    return n * 3 + 1


def word(n: int) -> str:
    return f"01J{n:08d}"


def row(make: Callable[[int], Any], n: int) -> Row:
    return {"id": make(n), "name": f"row {n}"}


class Feed:
    """Rows by growing ids. The API gives those after `since_id`, with that row itself where `again`."""

    def __init__(self, server: ApiServer, rows: list[Row], *, again: bool = False) -> None:
        self.rows, self.again, self.server = rows, again, server
        server.lists["/events"] = Listed(self._from, "keyset", per_page=PER_PAGE)

    def _from(self, asked: Asked) -> list[Row]:
        since = asked.params.get("since_id")
        if since is None:
            return self.rows
        made = type(self.rows[0]["id"])(since)
        return [row for row in self.rows if row["id"] > made or (self.again and row["id"] == made)]

    @property
    def asked(self) -> list[str | None]:
        return [asked.params.get("since_id") for asked in self.server.asked]


def connection(server: ApiServer, *, key: bool = True, **incremental: Any) -> dict[str, Any]:
    said = {"cursor_path": "id", "start_param": "since_id", "row_order": "asc", **incremental}
    paginator = {"type": "cursor", "cursor_path": "data[-1].id", "cursor_param": "since_id"}
    endpoint = {"path": "events", "data_selector": "data", "paginator": paginator, "incremental": said}
    resource = {"name": "events", "endpoint": endpoint} | ({"primary_key": "id"} if key else {})
    return {"kind": "rest", "client": {"base_url": server.url}, "resources": [resource]}


@pytest.mark.parametrize("make", [number, word])
@pytest.mark.parametrize("again", [False, True])
def test_later_syncs_ask_for_what_came_after_the_last_id(
    make: Callable[[int], Any], again: bool, server: ApiServer, tmp_path: Path
) -> None:
    feed = Feed(server, [row(make, n) for n in range(35)], again=again)
    table = RestTable(connection(server), "events", str(tmp_path))
    first = table.sync()
    assert (first.rows_inserted, first.cursor_value) == (35, str(make(34)))
    idle = table.sync()
    assert (idle.status.value, idle.rows_inserted, idle.files_added) == ("unchanged", 0, 0)
    feed.rows += [row(make, n) for n in range(35, 60)]
    server.asked.clear()
    later = table.sync()
    assert (later.rows_inserted, later.rows_updated, later.cursor_value) == (25, 0, str(make(59)))
    assert feed.asked[1] == str(make(34))  # the first is that of discovery
    assert len(feed.asked) <= 6
    assert table.ids() == [make(n) for n in range(60)]


def test_rows_that_share_the_last_id_come_once_and_those_added_to_it_come(server: ApiServer, tmp_path: Path) -> None:
    """A version number that several rows share: the API gives rows at `since_id` again."""
    rows = [{"id": n, "seq": n // 3} for n in range(30)]
    feed = Feed(server, rows)
    server.lists["/events"].rows = lambda asked: [r for r in feed.rows if r["seq"] >= int(asked.params.get("from", 0))]
    server.lists["/events"].style = "page_number"
    said = connection(server, cursor_path="seq", start_param="from")
    said["resources"][0]["endpoint"]["paginator"] = {"type": "page_number", "base_page": 1}
    table = RestTable(said, "events", str(tmp_path))
    assert table.sync().cursor_value == "9"
    assert table.sync().files_added == 0
    feed.rows += [{"id": 30, "seq": 9}, {"id": 31, "seq": 10}]
    report = table.sync()
    assert (report.rows_inserted, report.rows_updated, report.cursor_value) == (2, 0, "10")
    assert table.ids() == list(range(32))


@pytest.mark.parametrize("again", [False, True])
def test_rows_without_a_key_are_appended_once(again: bool, server: ApiServer, tmp_path: Path) -> None:
    feed = Feed(server, [row(number, n) for n in range(25)], again=again)
    said = connection(server, key=False, start_exclusive=not again)
    table = RestTable(said, "events", str(tmp_path), sync_mode="append", page_by_page=True)
    table.sync()
    feed.rows += [row(number, n) for n in range(25, 42)]
    table.sync()
    table.sync()
    assert table.ids() == [number(n) for n in range(42)]


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("make", [number, word])
def test_a_read_goes_on_from_any_id(make: Callable[[int], Any], again: bool, server: ApiServer) -> None:
    Feed(server, [row(make, n) for n in range(47)], again=again)
    request = request_for(open_source("api", connection(server)), "events")
    pages = read(open_source("api", connection(server)), request)
    assert ids(pages) == [make(n) for n in range(47)]
    for position, page in enumerate(pages):
        rest = ids(read(open_source("api", connection(server)), replace(request, after=page.token)))
        assert rest == ids(pages[position + 1 :])


@pytest.mark.usefixtures("small_groups")
def test_a_stopped_sync_goes_on_and_its_cursor_waits_for_the_end(server: ApiServer, tmp_path: Path) -> None:
    feed = Feed(server, [row(number, n) for n in range(200)])
    table = RestTable(connection(server), "events", str(tmp_path), page_by_page=True)
    pages = iter(range(1000))
    table.stop = lambda: next(pages) >= 8
    assert table.sync().cursor_value is None
    table.stop = None
    feed.rows += [row(number, 200)]
    report = table.sync()
    assert (report.resumed, report.cursor_value) == (True, str(number(200)))
    assert table.ids() == [number(n) for n in range(201)]


@pytest.mark.slow
@pytest.mark.parametrize("make", [number, word])
def test_a_sync_killed_at_a_random_page_goes_on_and_then_follows_new_ids(
    make: Callable[[int], Any], server: ApiServer, tmp_path: Path
) -> None:
    feed = Feed(server, [row(make, n) for n in range(400)], again=True)
    server.latency_seconds = 0.02
    table = RestTable(connection(server), "events", str(tmp_path), page_by_page=True)
    asked = killed_at_a_random_page(table, server, seed=make.__name__)
    assert asked < 40
    feed.rows += [row(make, n) for n in range(400, 450)]
    report = table.sync()
    assert report.cursor_value == str(make(449))
    assert table.ids() == [make(n) for n in range(450)]
    assert table.sync().rows_inserted == 0


def test_more_rows_at_one_id_than_a_page_holds_are_an_error_and_no_end(server: ApiServer) -> None:
    rows = [{"id": 1, "name": f"row {n}"} for n in range(PER_PAGE + 3)]
    Feed(server, rows, again=True)
    source = open_source("api", connection(server, key=False))
    with pytest.raises(SourceRejected, match="again, so the list would never end"):
        read(source, request_for(source, "events"))


def test_ids_as_text_that_grow_as_numbers_are_refused_and_a_declared_bigint_takes_them(
    server: ApiServer, tmp_path: Path
) -> None:
    rows = [{"id": str(n), "name": f"row {n}"} for n in range(5, 25)]
    server.lists["/events"] = Listed(
        lambda asked: [r for r in rows if int(r["id"]) > int(asked.params.get("since_id", 0))], "keyset", per_page=10
    )
    table = RestTable(connection(server), "events", str(tmp_path))
    with pytest.raises(SourceRejected, match="order of their cursor") as raised:
        table.sync()
    assert "bigint" in str(raised.value)
    said = connection(server)
    said["resources"][0]["columns"] = {"id": "bigint"}
    table = RestTable(said, "events", str(tmp_path / "again"))
    table.sync()
    assert table.ids() == list(range(5, 25))
    assert table.sync().rows_inserted == 0


def test_a_lag_reads_so_many_ids_again(server: ApiServer, tmp_path: Path) -> None:
    feed = Feed(server, [row(number, n) for n in range(20) if n != 17])
    table = RestTable(connection(server, lag=12), "events", str(tmp_path))
    table.sync()
    feed.rows = [row(number, n) for n in range(21)]  # 17 was committed after 19 was seen
    table.sync()
    assert table.ids() == [number(n) for n in range(21)]


def test_what_cannot_be_counted_back_is_said(server: ApiServer, tmp_path: Path) -> None:
    Feed(server, [row(word, n) for n in range(5)])
    with pytest.raises(ConfigError, match="ids of text cannot be counted"):
        RestTable(connection(server, lag=5), "events", str(tmp_path)).sync()
    feed = Feed(server, [row(number, n) for n in range(5)])
    table = RestTable(connection(server, key=False, lag=5), "events", str(tmp_path / "b"), sync_mode="append")
    table.sync()
    feed.rows += [row(number, 9)]
    with pytest.raises(ConfigError, match="append cannot read rows again"):
        table.sync()


def test_the_state_says_how_far_a_sync_came(server: ApiServer, tmp_path: Path) -> None:
    Feed(server, [row(number, n) for n in range(3)])
    table = RestTable(connection(server), "events", str(tmp_path))
    table.sync()
    snapshot = table.log().snapshot()
    assert snapshot is not None
    state = json.loads(table.staging().state(snapshot.transaction).to_json())
    assert (state["cursor"], state["settled"], len(state["tail"])) == (str(number(2)), False, 1)


def test_rows_stay_when_the_api_shows_none_any_more(server: ApiServer, tmp_path: Path) -> None:
    """Nothing is known of the columns then, and that is no reason to read, and so to empty, the whole table."""
    feed = Feed(server, [row(number, n) for n in range(15)])
    table = RestTable(connection(server), "events", str(tmp_path))
    table.sync()
    kept, feed.rows = feed.rows, []
    server.lists["/events"] = Listed(lambda _: [], "keyset", per_page=PER_PAGE)
    assert table.sync().rows_deleted == 0
    feed = Feed(server, [*kept, row(number, 15)])
    assert table.sync().rows_inserted == 1
    assert table.ids() == [row["id"] for row in feed.rows]

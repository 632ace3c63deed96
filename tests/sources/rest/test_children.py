"""Children are asked for once per changed row of the stored parent, and replaced as a set."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.rest.declaration import parse
from tests.sources.rest.api_server import ApiServer, Asked, Listed, status
from tests.sources.rest.rest_table import RestTable


class Shop:
    """Invoices with lines; `lines` maps an invoice's id to its lines."""

    def __init__(self, server: ApiServer, invoices: int = 30, *, per_invoice: int = 3) -> None:
        self.server = server
        self.invoices = [{"id": n, "number": f"I{n}", "touched": 0} for n in range(invoices)]
        self.lines = {n: [self.line(n, k) for k in range(per_invoice)] for n in range(invoices)}
        server.lists["/invoices"] = Listed(lambda asked: self.invoices, "page_number")
        server.lists["^/invoices/[^/]+/lines"] = Listed(self._lines, "cursor", per_page=2)

    def line(self, invoice: int, k: int) -> dict[str, Any]:
        return {"id": f"l{invoice}_{k}", "amount": k * 10, "text": f"line {k}"}

    def touch(self, invoice: int) -> None:
        self.invoices = [{**i, "touched": i["touched"] + (i["id"] == invoice)} for i in self.invoices]

    def asked_for_lines(self) -> list[str]:
        return [asked.path.split("/")[2] for asked in self.server.asked if asked.path.endswith("/lines")]

    def _lines(self, asked: Asked) -> list[dict[str, Any]]:
        return self.lines.get(int(asked.path.split("/")[2]), [])


def connection(server: ApiServer, **client: Any) -> dict[str, Any]:
    paginator = {"type": "page_number", "base_page": 1, "total_path": "pages"}
    return {
        "kind": "rest",
        "client": {"base_url": server.url, "retries": 1, **client},
        "resource_defaults": {"primary_key": "id", "endpoint": {"data_selector": "data"}},
        "resources": [
            {"name": "invoices", "endpoint": {"path": "invoices", "paginator": paginator}},
            {
                "name": "lines",
                "endpoint": {
                    "path": "invoices/{resources.invoices.id}/lines",
                    "paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "cursor"},
                },
                "include_from_parent": ["number"],
            },
        ],
    }


@pytest.fixture
def shop(server: ApiServer) -> Shop:
    return Shop(server)


@pytest.fixture
def table(server: ApiServer, shop: Shop, tmp_path: Path) -> RestTable:
    return RestTable(connection(server), "lines", str(tmp_path))


def sync(table: RestTable) -> Any:
    table.sync(table="invoices")
    return table.sync()


def lines_in_lake(table: RestTable) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for row in table.frame().to_dicts():
        found.setdefault(row["_invoices_id"], set()).add(row["id"])
    return found


def expected(shop: Shop) -> dict[int, set[str]]:
    ids = {invoice["id"] for invoice in shop.invoices}
    return {n: {line["id"] for line in lines} for n, lines in shop.lines.items() if lines and n in ids}


def test_every_child_comes_with_what_it_takes_from_its_parent(shop: Shop, table: RestTable) -> None:
    report = sync(table)
    assert report.rows_inserted == 90
    assert lines_in_lake(table) == expected(shop)
    row = table.frame().filter(id="l7_1").to_dicts()[0]
    assert (row["_invoices_id"], row["_invoices_number"], row["amount"]) == (7, "I7", 10)


def test_without_its_parent_in_the_lake_a_child_waits(table: RestTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("import_platform.pipeline.parents.GRACE_SECONDS", 0.1)
    with pytest.raises(SourceUnavailable, match="parent is not in the lake"):
        table.sync()


def test_nothing_is_asked_while_no_parent_changed(shop: Shop, table: RestTable) -> None:
    sync(table)
    shop.server.asked.clear()
    report = sync(table)
    assert report.status == "unchanged"
    assert set(shop.asked_for_lines()) <= {"0", "1", "2"}  # the sample that tells the columns


def test_only_changed_parents_are_asked_for_their_children(shop: Shop, table: RestTable) -> None:
    sync(table)
    shop.lines[7] = [shop.line(7, 0), {**shop.line(7, 1), "amount": 99}, shop.line(7, 2)]
    shop.lines[8] = []  # changed behind the parent's back: its next touch shows it
    shop.touch(7)
    shop.server.asked.clear()
    report = sync(table)
    assert shop.asked_for_lines().count("7") == 2
    assert "8" not in shop.asked_for_lines()
    assert report.rows_read == 3
    assert table.frame().filter(id="l7_1")["amount"].to_list() == [99]
    assert table.frame().height == 90


def test_a_child_that_left_its_parent_disappears_in_the_same_commit(shop: Shop, table: RestTable) -> None:
    sync(table)
    shop.lines[7] = [shop.line(7, 1), shop.line(7, 9)]
    shop.touch(7)
    before = table.log().snapshot()
    report = sync(table)
    after = table.log().snapshot()
    assert lines_in_lake(table)[7] == {"l7_1", "l7_9"}
    assert report.rows_deleted == 2
    assert before is not None
    assert after is not None
    assert after.version == before.version + 1


def test_children_of_a_parent_that_is_gone_disappear(shop: Shop, table: RestTable) -> None:
    sync(table)
    shop.invoices = [invoice for invoice in shop.invoices if invoice["id"] != 5]
    sync(table)
    assert 5 not in lines_in_lake(table)
    assert lines_in_lake(table) == expected(shop)


@pytest.mark.parametrize(("first", "second"), [(3, 20), (20, 3)])
def test_a_child_that_moved_to_another_parent_stays(first: int, second: int, shop: Shop, table: RestTable) -> None:
    sync(table)
    moved = shop.lines[first].pop()
    shop.lines[second].append(moved)
    shop.touch(first)
    shop.touch(second)
    sync(table)
    assert lines_in_lake(table) == expected(shop)


def test_a_parent_deleted_at_the_api_meanwhile_has_no_children(shop: Shop, table: RestTable) -> None:
    shop.server.refuse = lambda asked: status(404) if asked.path == "/invoices/5/lines" else None
    sync(table)
    assert lines_in_lake(table) == {n: ids for n, ids in expected(shop).items() if n != 5}


def test_a_path_that_no_parent_has_is_the_owners_fault(shop: Shop, table: RestTable) -> None:
    table.sync(table="invoices")
    shop.server.refuse = lambda asked: status(404) if asked.path.endswith("/lines") else None
    with pytest.raises((SourceRejected, ConfigError)):
        table.sync()


def test_requests_go_out_several_at_a_time_and_no_more(server: ApiServer, tmp_path: Path) -> None:
    shop = Shop(server, 60, per_invoice=1)
    table = RestTable(connection(server, parallel=4, timeout=300), "lines", str(tmp_path))
    table.sync(table="invoices")
    server.asked.clear()
    changed, under_way, most = threading.Condition(), 0, 0

    def watched(asked: Asked) -> Any:
        """Holds every request until four are there at once, the sample that tells the columns left aside."""
        nonlocal under_way, most
        with changed:
            under_way += 1
            most = max(most, under_way)
            changed.notify_all()
            if asked.path.split("/")[2] not in {"0", "1", "2"}:
                changed.wait_for(lambda: most >= 4, timeout=120)
        time.sleep(0.05)  # so that a fifth would be seen
        with changed:
            under_way -= 1

    server.refuse = watched
    table.sync()
    assert most == 4
    assert (under_way, lines_in_lake(table)) == (0, expected(shop))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_pass_over_parents_goes_on_and_ends_with_every_child_once(
    seed: int, server: ApiServer, tmp_path: Path
) -> None:
    shop = Shop(server, 120)
    table = RestTable(connection(server, parallel=4), "lines", str(tmp_path), page_by_page=True)
    sync(table)
    for n in range(0, 120, 2):
        shop.lines[n] = [shop.line(n, 1), shop.line(n, 5)]
        shop.touch(n)
    table.sync(table="invoices")
    assert table.kill_at_request(server, random.Random(seed).randint(15, 50), staged_rows=1) < 60
    assert table.sync().resumed
    assert lines_in_lake(table) == expected(shop)


def test_a_parent_that_is_not_declared_is_refused() -> None:
    said: dict[str, Any] = {
        "client": {"base_url": "http://x"},
        "resources": [{"name": "a", "endpoint": "b/{resources.c.id}"}],
    }
    with pytest.raises(ConfigError, match="no other resource"):
        parse(said)

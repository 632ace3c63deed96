"""The shipped source Stripe, against a local server that pages and tells events as Stripe does."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from import_platform.errors import ConfigError, SourceRejected
from import_platform.sources.registry import check_connection_keys, open_source, table_depths
from tests.sources.rest.api_server import ApiServer, Listed
from tests.sources.rest.contract import Api, RestContract
from tests.sources.rest.fake_stripe import KEY, START, FakeStripe
from tests.sources.rest.rest_table import RestTable


@pytest.fixture
def stripe(server: ApiServer) -> FakeStripe:
    return FakeStripe(server)


def connection(server: ApiServer, key: str = KEY) -> dict[str, Any]:
    return {"kind": "stripe", "api_key": key, "base_url": server.url}


@pytest.fixture
def api(server: ApiServer, stripe: FakeStripe) -> Api:
    listed = Listed([], "after_key")
    server.lists["/customers"] = listed

    def give(rows: list[dict[str, Any]]) -> None:
        listed.rows = rows[::-1]

    def repeat() -> None:
        listed.token = str
        rows = list(listed.rows) if isinstance(listed.rows, list) else []
        body = json.dumps({"data": rows[:100], "has_more": True}).encode()
        server._after_key = lambda *_: (200, {}, body)  # type: ignore[method-assign]

    def row(n: int) -> dict[str, Any]:
        return {"id": f"cus_{n:06d}", "object": "customer", "created": START + n, "email": f"{n}@example.com"}

    return Api(server, connection(server), "customers", give, row, rows_per_page=100, repeat=repeat)


class TestStripe(RestContract):
    """All of the contract."""


@pytest.fixture
def table(server: ApiServer, stripe: FakeStripe, tmp_path: Path) -> RestTable:
    for n in range(250):
        stripe.add("customer", n, email=f"{n}@example.com")
        stripe.add("invoice", n, amount_due=n * 100)
        stripe.lines[f"in_{n:06d}"] = [{"id": f"il_{n}_{k}", "amount": k} for k in range(2)]
    stripe.seconds_ago = 0
    return RestTable(connection(server), "customers", str(tmp_path))


def test_the_first_load_reads_every_object_100_at_a_time(server: ApiServer, table: RestTable) -> None:
    report = table.sync()
    assert report.rows_inserted == 250
    assert {asked.params["limit"] for asked in server.asked} == {"100"}
    assert table.frame().filter(id="cu_000007")["created"].to_list()[0].timestamp() == START + 7


def test_changes_and_deletions_come_by_events_alone(server: ApiServer, stripe: FakeStripe, table: RestTable) -> None:
    table.sync()
    stripe.update("customer", "cu_000003", email="first@example.com")
    stripe.update("customer", "cu_000003", email="new@example.com")
    stripe.delete("customer", "cu_000004")
    stripe.add("customer", 900, email="900@example.com")
    server.asked.clear()
    table.sync()
    found = table.frame()
    assert found.height == 250
    assert found.filter(id="cu_000003")["email"].to_list() == ["new@example.com"]
    assert found.filter(id="cu_000004").is_empty()
    assert found.filter(id="cu_000900").height == 1
    assert {asked.path for asked in server.asked[1:]} == {"/events"}


def test_a_lake_older_than_the_events_is_read_whole_again(
    server: ApiServer, stripe: FakeStripe, table: RestTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.sync()
    stripe.update("customer", "cu_000003", email="new@example.com")
    monkeypatch.setattr("import_platform.sources.rest.changes.timedelta", lambda **_: timedelta(0))
    server.asked.clear()
    table.sync()
    assert {asked.path for asked in server.asked} == {"/customers"}
    assert table.frame().filter(id="cu_000003")["email"].to_list() == ["new@example.com"]


def test_line_items_follow_their_invoices(server: ApiServer, stripe: FakeStripe, table: RestTable) -> None:
    table.sync(table="invoices")
    assert table.sync(table="invoice_line_items").rows_inserted == 500
    stripe.lines["in_000005"] = [{"id": "il_5_1", "amount": 77}]
    stripe.update("invoice", "in_000005", amount_due=1)
    table.sync(table="invoices")
    server.asked.clear()
    report = table.sync(table="invoice_line_items")
    assert (report.rows_updated, report.rows_deleted) == (1, 1)
    assert {a.path for a in server.asked[5:]} <= {"/invoices/in_000005/lines"}
    assert table.frame("invoice_line_items").height == 499


def test_a_wrong_key_is_said_without_showing_it(server: ApiServer, stripe: FakeStripe) -> None:
    source = open_source("pay", connection(server, "sk_live_wr0ng"))
    with pytest.raises(SourceRejected, match="credentials") as raised:
        source.check()
    assert "wr0ng" not in str(raised.value) + repr(source) + str(vars(raised.value))


def test_its_declaration_is_checked_without_a_key() -> None:
    said = {"kind": "stripe", "api_key": "{{ env.STRIPE_API_KEY }}"}
    check_connection_keys(said)
    assert table_depths(said) == {"invoice_line_items": 1}
    with pytest.raises(ConfigError, match="no such table"):
        check_connection_keys({**said, "tables": ["invoces"]})

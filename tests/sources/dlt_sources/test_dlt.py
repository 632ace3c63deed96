"""Any dlt source becomes tables: page by page, typed as an API's rows, its incremental state in our checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from import_platform.errors import ConfigError, SourceUnavailable
from import_platform.sources.registry import open_source
from tests.sources.dlt_sources import shop
from tests.sources.rest.contract import ids, read, request_for
from tests.sources.rest.rest_table import RestTable

SHOP = {"kind": "dlt", "source": "tests.sources.dlt_sources.shop:shop", "tables": ["customers", "labels"]}


@pytest.fixture(autouse=True)
def rows() -> Iterator[list[dict[str, Any]]]:
    shop.fill(100)
    yield shop.ROWS
    shop.ROWS.clear()


@pytest.fixture
def every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("import_platform.sources.rest.read.GROUP_ROWS", 1)


def test_resources_are_tables_with_their_keys_and_cursors() -> None:
    customers, labels = open_source("shop", SHOP).discover()
    assert (customers.name, customers.primary_key, customers.cursors) == ("customers", ("id",), ("updated_at",))
    assert (labels.name, labels.primary_key, labels.cursors) == ("labels", (), ())
    assert {c.name: str(c.type) for c in customers.columns} == {
        "id": "int64",
        "name": "string",
        "balance": "decimal128(22, 2)",
        "updated_at": "timestamp[us, tz=UTC]",
        "tags": "string",
    }


@pytest.mark.usefixtures("every_page")
def test_a_resource_in_cursor_order_goes_on_from_any_page() -> None:
    source = open_source("shop", SHOP)
    request = request_for(source, "customers")
    pages = [page for page in read(source, request) if page.batch.num_rows]
    assert len(pages) == 10
    for position, page in enumerate(pages):
        again = open_source("shop", SHOP)
        again.discover(["customers"])
        rest = ids(read(again, replace(request, after=page.token)))
        assert rest == ids(pages[position + 1 :])


@pytest.mark.usefixtures("every_page")
def test_a_resource_without_order_is_only_whole_at_its_end() -> None:
    source = open_source("shop", SHOP)
    pages = read(source, request_for(source, "labels"))
    assert [page.token for page in pages] == [None] * 25 + [{"done": True}]


def test_syncs_bring_changes_only_and_decimals_stay_exact(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    table = RestTable(SHOP, "customers", str(tmp_path))
    assert table.sync().rows_inserted == 100
    now = datetime.now(UTC)
    rows[7] = {**rows[7], "balance": Decimal("0.25"), "updated_at": now}
    rows.append({"id": 500, "name": "new", "balance": Decimal("12345678901234.5"), "updated_at": now})
    report = table.sync()
    assert (report.rows_inserted, report.rows_updated, report.rows_read) == (1, 1, 2)
    assert shop.ASKED[-1] > shop.START
    assert table.frame().filter(id=500)["balance"].to_list() == [Decimal("12345678901234.50")]


def test_growing_ids_in_their_order_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = RestTable({**SHOP, "tables": ["payments"]}, "payments", str(tmp_path))
    assert table.sync().cursor_value == "99"
    assert table.sync().files_added == 0
    monkeypatch.setattr(shop, "PAID", [130])
    report = table.sync()
    assert (report.rows_inserted, report.rows_updated, report.cursor_value) == (30, 0, "129")
    assert shop.ASKED[-1] == 99


def test_a_verified_source_of_dlt_that_needs_no_account_is_imported(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.csv").write_text("id,name\n1,Ada\n2,Bob\n")
    (folder / "b.csv").write_text("id,name\n3,Cy\n")
    said = {"kind": "dlt", "source": "tests.sources.dlt_sources.shop:files", "arguments": {"folder": folder.as_uri()}}
    table = RestTable(said, "people", str(tmp_path / "lake"))
    table.sync()
    assert sorted(table.frame()["name"].to_list()) == ["Ada", "Bob", "Cy"]


def test_what_a_source_raises_is_told_without_its_words() -> None:
    source = open_source("shop", {**SHOP, "tables": ["broken"]})
    with pytest.raises(SourceUnavailable) as raised:
        source.discover()
    assert "hunter2" not in str(raised.value)


def test_a_path_that_leads_nowhere_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_source("shop", {"kind": "dlt", "source": "tests.no_such_module:shop"}).check()


@pytest.mark.parametrize("table", ["customers", "payments"])
def test_rows_stay_when_the_source_gives_none_any_more(
    table: str, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What kind of cursor it has is not known then: a pass without it would take every row away."""
    lake = RestTable({**SHOP, "tables": [table]}, table, str(tmp_path))
    lake.sync()
    kept = rows.copy()
    rows.clear()
    monkeypatch.setattr(shop, "PAID", [0])
    assert lake.sync().status.value == "unchanged"
    assert lake.frame().height == 100
    rows += kept
    monkeypatch.setattr(shop, "PAID", [101])
    lake.sync()
    assert lake.frame().height == (101 if table == "payments" else 100)

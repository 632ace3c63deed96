"""What a person does in Dagster's pages, done by a real browser against the real webserver and daemon."""

from __future__ import annotations

import time

import polars as pl
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_never_synced_table_is_backfilled_and_then_synced_from_its_page(page, project):
    page.goto("/assets/shop/orders?view=partitions", wait_until="domcontentloaded")
    page.get_by_text("Missing (4)").wait_for()

    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_placeholder("Select a partition or create one").click()
    for key in ("2025-01", "2025-03"):
        page.get_by_role("menuitem").get_by_text(key, exact=True).click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch backfill").click()
    wait_for_rows(project, 200)
    page.goto("/assets/shop/orders?view=partitions", wait_until="domcontentloaded")
    page.get_by_text("Materialized (2)").wait_for()
    page.get_by_text("Missing (2)").wait_for()

    page.goto("/assets/shop/orders", wait_until="domcontentloaded")
    page.get_by_text("Sync this table now").click()
    page.get_by_role("button", name="Launch Run").click()
    wait_for_rows(project, 400)
    page.goto("/assets/shop/orders?view=partitions", wait_until="domcontentloaded")
    page.get_by_text("Materialized (4)").wait_for()
    page.goto("/assets/shop/orders", wait_until="domcontentloaded")
    page.get_by_text("Row count").wait_for()
    assert page.get_by_text("400", exact=True).first.is_visible()


def wait_for_rows(project, count: int, *, seconds: float = 240) -> None:
    """The lake is asked, not the page: what the page says is checked afterwards."""
    deadline = time.monotonic() + seconds
    found = -1
    while time.monotonic() < deadline:
        if (project.root / "lake" / "shop" / "orders" / "_delta_log").exists():
            found = pl.scan_delta(str(project.root / "lake" / "shop" / "orders")).select(pl.len()).collect().item()
            if found == count:
                return
        time.sleep(1)
    raise AssertionError(f"the lake holds {found} rows instead of {count}")

"""What a person does in Dagster's pages, done by a real browser against the real webserver and daemon."""

from __future__ import annotations

import polars as pl
import pytest

from tests.browser.conftest import shot

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_never_synced_table_is_backfilled_and_then_synced_from_its_page(page, project):
    page.goto("/assets/shop/orders?view=partitions", wait_until="domcontentloaded")
    page.get_by_text("Missing (4)").wait_for()
    materialize(page, "2025-01", "2025-03")
    page.get_by_text("Materialized (2)").wait_for()
    assert page.get_by_text("Missing (2)").is_visible()
    assert months(project) == {"2025-01": 100, "2025-03": 100}
    with project.instance() as instance:
        [backfill] = instance.get_backfills()
    page.goto(f"/runs/b/{backfill.backfill_id}", wait_until="domcontentloaded")
    done = page.get_by_text("100% completed")
    done.wait_for()
    assert page.get_by_text("2025-03").is_visible()
    shot(page, "backfill", upto=done)

    page.goto("/assets/shop/orders", wait_until="domcontentloaded")
    page.get_by_text("Sync this table now").click()
    page.get_by_text('"orders"').wait_for()  # the Launchpad is filled in a moment after it is shown
    page.get_by_role("button", name="Launch Run").click()
    page.get_by_text("RUN_SUCCESS").wait_for()
    assert months(project) == {"2025-01": 100, "2025-02": 100, "2025-03": 100, "2025-04": 100}
    assert not lake_folder(project, "customers").exists(), "the link of one table synced another one"

    page.goto("/assets/shop/orders?view=partitions", wait_until="domcontentloaded")
    page.get_by_text("Materialized (4)").wait_for()
    page.get_by_role("tab", name="Overview").click()
    page.get_by_text("Row count").wait_for()
    page.get_by_text("400", exact=True).first.wait_for()
    page.get_by_text("Latest check results").wait_for()

    page.goto("/assets/shop/orders?view=events", wait_until="domcontentloaded")
    page.get_by_text("Materialized in run").first.wait_for()
    page.locator("tr", has_text="leaf_sizes").get_by_text("Show Markdown").click()
    picture = page.locator("img[src^='data:image/svg+xml']")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 400, "the leaves against their limit, drawn"


def materialize(page, *keys: str) -> None:
    """The dialog behind the button of an asset's page; returns when its backfill was accepted."""
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Select a partition or create one").click()
    for key in keys:
        page.get_by_role("menuitem").filter(has_text=key).click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch backfill").click()
    page.get_by_text("Created backfill").wait_for()


def months(project) -> dict[str, int]:
    """Rows in the lake by month, as any reader would count them."""
    table = pl.scan_delta(str(lake_folder(project, "orders")))
    month = pl.col("created_at").dt.strftime("%Y-%m").alias("month")
    return dict(table.group_by(month).agg(pl.len()).sort("month").collect().iter_rows())


def lake_folder(project, table: str):
    return project.root / "lake" / "shop" / table

"""What a person sees of a project at work: the graph, a table's page, a failed run, the sensors."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.browser.conftest import PAGE_SECONDS, START_SECONDS, chromium, command, serving, shot
from tests.dagster_project import empty_home, make_project

__all__ = ["empty_home"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def shop(empty_home):
    """A shop that was synced twice, one table of which is gone at the source since, and its pages' address."""
    if chromium() is None:
        pytest.skip("NO BROWSER TEST: no Chromium is installed (Debian: apt-get install chromium)")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="shop-") as folder:
        made = make_project(Path(folder))
        for name, value in made.environment.items():
            patch.setenv(name, value)
        run("tables", "shop")
        run("sync", "shop")
        made.sql("update orders set note = 'changed', updated_at = '2025-06-01 00:00:00' where id < 40")
        run("sync", "shop/orders")
        made.sql("drop table customers")
        run("sync", "shop/customers", exit_code=1)
        with serving(made) as address:
            yield address


def run(*words, exit_code=0):
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=START_SECONDS)
    assert done.returncode == exit_code, done.stderr


@pytest.fixture
def pages(shop, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 800}, base_url=shop)
    page.set_default_timeout(PAGE_SECONDS * 1000)
    return page


def in_sight(page, locator):
    """True where the element lies on the first screen, whole."""
    box, size = locator.bounding_box(), page.viewport_size
    return box is not None and box["y"] >= 0 and box["y"] + box["height"] <= size["height"]


def test_the_graph_shows_every_table_and_which_of_them_failed(pages):
    pages.goto("/asset-groups", wait_until="domcontentloaded")
    for table in ("orders", "customers"):
        pages.get_by_text(table, exact=True).first.wait_for()
    pages.get_by_text("4 partitions").wait_for()
    pages.get_by_text(re.compile(r"\d+ / \d+ Passed")).first.wait_for()
    assert pages.get_by_text(re.compile(r"^0 / \d+ Passed")).is_visible(), "the checks of the table that is gone"
    shot(pages, "graph")


def test_the_page_of_a_table_says_what_it_holds(pages):
    pages.goto("/assets/shop/orders?view=overview", wait_until="domcontentloaded")
    pages.get_by_text("Row count").wait_for()
    pages.get_by_text("400", exact=True).first.wait_for()
    for words in ("partitioned by month", "primary key", "cursor", "defs.yaml"):
        pages.get_by_text(words, exact=True).first.wait_for()
    shot(pages, "asset")


def test_numbers_of_syncs_are_plotted_over_time(pages):
    pages.goto("/assets/shop/orders?view=overview", wait_until="domcontentloaded")
    pages.get_by_text("Plots", exact=True).click()
    pages.get_by_role("button", name="Events").click()  # of all events; those of partitions are the other choice
    for number in ("peak_memory_bytes", "budget_bytes", "rows_updated", "seconds", "dagster/row_count"):
        pages.get_by_text(number, exact=True).first.wait_for()
    assert pages.locator("canvas").count() >= 6
    pages.get_by_text("peak_memory_bytes", exact=True).first.scroll_into_view_if_needed()
    shot(pages, "plots")


def test_the_error_of_a_failed_run_is_readable_in_one_screen(pages):
    pages.goto("/runs?q[]=status:FAILURE", wait_until="domcontentloaded")
    failed = pages.locator("a[href*='/runs/']").first
    failed.wait_for()
    pages.goto(failed.get_attribute("href"), wait_until="domcontentloaded")
    sentence = pages.get_by_text("the source has no such table")
    sentence.first.wait_for()
    pages.wait_for_timeout(1000)  # the log scrolls to its end
    assert any(in_sight(pages, each) for each in sentence.all())
    shot(pages, "failed_run", upto=sentence.last)  # below it is a stack trace, which names folders of this machine


def test_the_page_of_the_sensor_that_splits_says_what_it_does_and_did(pages):
    location = "/locations/import_platform.definitions"
    pages.goto(f"{location}/sensors/repartition_oversized", wait_until="domcontentloaded")
    pages.get_by_text("Starts a repartition of each table").wait_for()
    pages.get_by_text("0 runs requested").first.wait_for()
    assert pages.get_by_text("Running", exact=True).first.is_visible()
    shot(pages, "sensor")

"""The platform's own `ui` command with its daemon, and a headless Chromium looking at it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.dagster_project import SHOP, Project, empty_home, project
from tests.ports import held_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

__all__ = ["empty_home", "project"]

START_SECONDS = 180
STOP_SECONDS = 90
PAGE_SECONDS = 240
"""How long the pages may take to say something; generous, as a run's process alone needs half a minute on a busy
machine.
"""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox",  # root and containers have none; only our own pages are opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

SHOTS = os.environ.get("IMPORT_PLATFORM_SCREENSHOTS")
"""The folder that pictures of the pages go to (`make screenshots`); without it none are made."""


@pytest.fixture
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="NO BROWSER TEST: playwright is not installed")
    with playwright.sync_playwright() as running:
        own = running.chromium.executable_path
        path = chromium() or (own if Path(own).exists() else None)
        if path is None:
            pytest.skip("NO BROWSER TEST: no Chromium is installed (Debian: apt-get install chromium)")
        launched = running.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def ui(project, browser) -> Iterator[str]:
    """The address of Dagster's pages over a shop whose tables were discovered and never synced.

    Without a schedule, because its first tick would sync them before a person could. Asks for the browser only so that
    nothing is started where there is none.
    """
    project.declare("".join(line for line in SHOP.splitlines(keepends=True) if "schedule" not in line))
    subprocess.run(command("tables", "shop"), check=True, capture_output=True, timeout=START_SECONDS)
    with serving(project) as address:
        yield address


@contextmanager
def serving(project: Project) -> Iterator[str]:
    """The address of the pages of a project, whose variables are those of this process."""
    with held_port() as port:
        with (project.root / "ui.log").open("wb") as log:
            words = command("ui", "--port", str(port))
            server = subprocess.Popen(words, stdout=log, stderr=log, env=dict(os.environ), start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            _await(address, server, log=project.root / "ui.log")
            yield address
        finally:
            _end(server)


@pytest.fixture
def page(browser, ui, tmp_path) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 900}, base_url=ui)
    page.set_default_timeout(PAGE_SECONDS * 1000)
    # Dagster greets a new browser with a dialog about its community whenever it gets round to it.
    greeting = page.get_by_text("Join the Dagster community")
    page.add_locator_handler(greeting, lambda: page.get_by_text("Skip", exact=True).click())
    yield page
    page.screenshot(path=tmp_path / "last_seen.png")  # what a failed test was looking at


def shot(page: Page, name: str, upto: Locator | None = None) -> None:
    """A picture of the page for docs/images, when they are asked for; down to the end of the element `upto`."""
    if SHOTS:
        page.wait_for_timeout(2000)  # fonts and drawings settle
        box, size = upto.bounding_box() if upto else None, page.viewport_size
        height = box["y"] + box["height"] + 8 if box else size["height"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height}
        page.screenshot(path=Path(SHOTS) / f"{name}.png", scale="css", clip=clip)


def chromium() -> str | None:
    """A browser that the machine has."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "import_platform.cli", *words]


def _await(address: str, server: subprocess.Popen[bytes], *, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the ui command ended: {log.read_text()}"
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the ui command did not answer in time: {log.read_text()}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """As a service manager does; the command takes Dagster's processes with it."""
    server.send_signal(signal.SIGTERM)
    try:
        assert server.wait(STOP_SECONDS) == 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)

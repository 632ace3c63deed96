"""The platform's own `ui` command with its daemon, and a headless Chromium looking at it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dagster_project import SHOP, empty_home, project

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

__all__ = ["empty_home", "project"]

START_SECONDS = 180
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def run_cli(*words: str) -> str:
    command = [sys.executable, "-m", "import_platform.cli", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.fixture
def ui(project) -> Iterator[str]:
    """The address of Dagster's pages over a shop whose tables were discovered and never synced, without a schedule."""
    project.declare("".join(line for line in SHOP.splitlines(keepends=True) if "schedule" not in line))
    run_cli("tables", "shop")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "import_platform.cli", "ui", "--port", str(port)]
    with Path(project.root / "ui.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ), start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(90)
            finally:
                if server.poll() is None:
                    os.killpg(server.pid, signal.SIGKILL)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, "the ui command ended"
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError("the ui command did not answer in time")


@pytest.fixture
def page(ui) -> Iterator[sync_api.Page]:
    browser_path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if browser_path is None:
        pytest.skip("NO BROWSER: install Chromium (Debian: apt-get install chromium) to run this test")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900}, base_url=ui)
        page.set_default_timeout(90_000)
        # Dagster greets a new browser with a dialog about its community whenever it gets round to it.
        page.add_locator_handler(
            page.get_by_text("Join the Dagster community"), lambda: page.get_by_text("Skip", exact=True).click()
        )
        yield page
        browser.close()

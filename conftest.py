"""Marks whole folders of tests, so that `make check` stays under a minute; single tests are marked where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "tests"
SLOW_FOLDERS = (TESTS / "demo", TESTS / "jobs")
"""Every test of these starts a Dagster run or a whole demo, which takes seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in SLOW_FOLDERS):
            item.add_marker(pytest.mark.slow)

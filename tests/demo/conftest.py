"""A place for one demo, and its database loaded with the flights of January."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from import_platform.demo import source
from import_platform.demo.place import DemoPlace
from import_platform.demo.server import running_source


@pytest.fixture(scope="session")
def january(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DemoPlace, str]]:
    """The place and the DSN; tests must leave the rows as they are."""
    place = DemoPlace(tmp_path_factory.mktemp("january") / ".import_platform")
    with running_source(place) as dsn:
        source.load(dsn, months=1, loaded=lambda name, rows: None)
        yield place, dsn


@pytest.fixture
def place(tmp_path: Path) -> DemoPlace:
    return DemoPlace(tmp_path / ".import_platform")

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sources.rest.api_server import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of the platform is one answer of the API, so that every answer's token is seen."""
    monkeypatch.setattr("import_platform.sources.rest.read.GROUP_ROWS", 1)

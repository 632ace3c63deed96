"""Rate limits of a test are its own: they are kept by address, and the port of an earlier test comes round again."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every test of a folder whose conftest imports this; other processes still share the machine's."""

    def folder(name: str) -> Path:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        return path

    monkeypatch.setattr("import_platform.sources.http.waiting.own_folder", folder)

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from import_platform.io.lake import Lake
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import SyncedTable


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def synced(lake: Lake) -> Callable[..., SyncedTable]:
    """Makes a SyncedTable of the given rows in a fresh lake; keywords of ListSource and SyncedTable alike (`primary_key` is the
    declared one)."""

    def make(rows: pa.Table, **options: Any) -> SyncedTable:
        names = set(ListSource.__dataclass_fields__)
        of_source = {name: options.pop(name) for name in list(options) if name in names - {"primary_key"}}
        return SyncedTable(lake, ListSource(rows, **of_source), **options)

    return make


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage after every sync takes longer than the small syncs here."""
    monkeypatch.setattr("import_platform.pipeline.sync.release_unused", lambda: None)

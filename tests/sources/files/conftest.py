"""A folder of files, a lake, and syncs of one into the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from import_platform.core.budget import GIB, MIB, MemoryBudget
from import_platform.core.report import SyncReport
from import_platform.core.table import DeclaredTable
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files.connector import FilesSource

BUDGET = MemoryBudget(2 * GIB, 2 * GIB - 312 * MIB)


@dataclass
class Feed:
    """Table `t` of the files in a folder."""

    folder: Path
    lake: Lake
    words: dict[str, Any]

    def put(self, name: str, data: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def sync(self, **options: Any) -> SyncReport:
        source = FilesSource({"kind": "files", "files": [{"name": "t", **self.words}]})
        return sync_table(TableContext("s", DeclaredTable("t"), source, self.lake, BUDGET), **options)

    def rows(self, *columns: str) -> list[Any]:
        frame = pl.read_delta(self.lake.table_uri("s", "t")).select(columns)
        return sorted(frame.rows(), key=repr)

    def rejected(self) -> pl.DataFrame:
        return pl.read_delta(self.lake.store.uri + "/_ops/rejected_rows")


@pytest.fixture
def feed(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()

    def made(pattern: str = "*.csv", **words: Any) -> Feed:
        return Feed(folder, Lake(str(tmp_path / "lake")), {"pattern": str(folder / pattern), **words})

    return made

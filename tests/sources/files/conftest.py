"""A folder of files, a lake, and syncs of one into the other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
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

ROOT = Path(__file__).parents[3]
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

    def context(self) -> TableContext:
        source = FilesSource({"kind": "files", "files": [{"name": "t", **self.words}]})
        return TableContext("s", DeclaredTable("t"), source, self.lake, BUDGET)

    def sync(self, **options: Any) -> SyncReport:
        return sync_table(self.context(), **options)

    def rows(self, *columns: str) -> list[Any]:
        frame = pl.read_delta(self.lake.table_uri("s", "t")).select(columns)
        return sorted(frame.rows(), key=repr)

    def rejected(self) -> pl.DataFrame:
        return pl.read_delta(self.lake.store.uri + "/_ops/rejected_rows")


@dataclass
class Court:
    """Tables `cases` and `parties` of records in XML; a child process may be killed at its n-th durable step."""

    folder: Path
    lake: Lake
    tables: list[dict[str, Any]]

    def put(self, name: str, *records: str) -> Path:
        path = self.folder / name
        path.write_text(f"<r>{''.join(records)}</r>")
        return path

    def context(self, table: str, **options: Any) -> TableContext:
        source = FilesSource({"kind": "files", "files": self.tables})
        return TableContext("s", DeclaredTable(table, **options), source, self.lake, BUDGET)

    def sync(self, table: str, **options: Any) -> SyncReport:
        return sync_table(self.context(table), **options)

    def sync_all(self) -> None:
        for table in self.tables:
            self.sync(table["name"])

    def killed(self, table: str, step: int, *, again: bool = False) -> bool:
        """Syncs, or reads all files again, in a process that kills itself behind durable step `step` (from 1); False
        when it had fewer."""
        command = [sys.executable, "-m", "tests.sources.files.killed_child", self.lake.store.uri, table, str(step)]
        command += [json.dumps(self.tables), "again" if again else "sync"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
        return done.returncode != 0

    def rows(self, table: str, *columns: str, version: int | None = None) -> list[Any]:
        return sorted(pl.read_delta(self.lake.table_uri("s", table), version=version).select(columns).rows())

    @property
    def cases(self) -> list[Any]:
        return self.rows("cases", "id", "title")

    @property
    def parties(self) -> list[Any]:
        return self.rows("parties", "case_id", "name")


def case(number: int, title: str, *parties: str, **attributes: str) -> str:
    said = "".join(f' {name}="{value}"' for name, value in attributes.items())
    inside = "".join(f'<party name="{party}"></party>' for party in parties)
    return f'<case id="{number}"{said}><title>{title}</title>{inside}</case>'


@pytest.fixture
def court(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()

    def made(**words: Any) -> Court:
        of_files = {"pattern": str(folder / "*.xml"), "record": "case"}
        of_files |= {name: words.pop(name) for name in ("order",) if name in words}
        columns = {"id": {"path": "@id", "type": "bigint"}, "title": {"path": "title"}, **words.pop("columns", {})}
        cases = {"name": "cases", **of_files, "primary_key": ["id"], "columns": columns, **words}
        of_case = {"case_id": {"path": "/@id", "type": "bigint"}, "name": {"path": "@name"}}
        parties = {"name": "parties", **of_files, "rows": "party", "parent": "cases", "columns": of_case}
        return Court(folder, Lake(str(tmp_path / "lake")), [cases, parties])

    return made


@pytest.fixture
def feed(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()

    def made(pattern: str = "*.csv", **words: Any) -> Feed:
        return Feed(folder, Lake(str(tmp_path / "lake")), {"pattern": str(folder / pattern), **words})

    return made

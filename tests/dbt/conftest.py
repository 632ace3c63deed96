"""The demo's lake, a copy of the dbt project that knows its tables, and dbt itself as a person runs it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from import_platform.demo.place import DemoPlace
from import_platform.demo.run import run_demo
from import_platform.io.duckdb_lake import load_extensions
from import_platform.io.lake import Lake

ROOT = Path(__file__).parents[2]
MISSING = "NOT RUN: dbt is not installed (pip install 'import_platform[dbt]'; `make setup` installs it)"


@dataclass(frozen=True)
class Project:
    """A dbt project on the lake of one demo. `environment` is what its commands run in."""

    folder: Path
    place: DemoPlace

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.place.environment,
            "IMPORT_PLATFORM_DBT": str(self.folder),
            "IMPORT_PLATFORM_DBT_DATABASE": str(self.database),
            "IMPORT_PLATFORM_MEMORY": "1GB",
            # Nothing may be downloaded: whoever tries ends at a port where nobody listens.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
        }

    @property
    def lake(self) -> Lake:
        return self.place.lake

    @property
    def database(self) -> Path:
        return self.place.base / "dbt.duckdb"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m ...` in the project's environment."""
        return subprocess.run(
            [sys.executable, "-m", *arguments], env=self.environment, capture_output=True, text=True, timeout=170
        )

    def dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        folders = ["--project-dir", str(self.folder), "--profiles-dir", str(self.folder)]
        return self.run("dbt.cli.main", "--no-use-colors", *arguments, *folders)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """What was built, and the lake's tables by `delta_scan`. A copy: a build in this process keeps the file open."""
        copy = Path(tempfile.mkdtemp(dir=self.place.base)) / self.database.name
        shutil.copy(self.database, copy)
        connection = duckdb.connect(str(copy), read_only=True)
        load_extensions(connection, self.lake.store)
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def scan(self, table: str) -> str:
        return f"delta_scan('{self.lake.table_uri('nyc', table)}')"


def copied(folder: Path) -> Path:
    """The shipped project in a new folder, without what a build leaves."""
    ignored = shutil.ignore_patterns("target", "logs", "lake_sources.yml", "lake_has.sql", ".user.yml")
    return Path(shutil.copytree(ROOT / "dbt", folder, ignore=ignored))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Nothing is built in it yet. One demo with two months for all tests of the process."""
    if find_spec("dbt") is None or find_spec("dagster_dbt") is None:
        pytest.skip(MISSING)
    base = tmp_path_factory.mktemp("dbt")
    place = DemoPlace(base / ".import_platform")
    console = Console(file=io.StringIO(), width=100)
    assert run_demo(console=console, folder=place.base, months=2) == 0, console.file.getvalue()  # type: ignore[attr-defined]
    return Project(copied(base / "dbt"), place)


@pytest.fixture(scope="session")
def built(project: Project) -> Project:
    """The same after `dbt-sources` and `dbt build`."""
    build(project)
    return project


def build(project: Project) -> list[str]:
    """What the two commands printed."""
    sources = project.run("import_platform.cli", "dbt-sources")
    assert sources.returncode == 0, sources.stderr
    models = project.dbt("build")
    assert models.returncode == 0, models.stdout[-4000:]
    return [sources.stdout, sources.stderr, models.stdout, models.stderr]

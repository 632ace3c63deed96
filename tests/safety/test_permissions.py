"""Whatever holds rows between source and lake is readable by its owner only."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.io.scratch import scratch_folder
from import_platform.io.staging import Staging
from import_platform.sources.duckdb import session as duckdb_session
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, SyncedTable, rows


def reachable(root: Path) -> list[Path]:
    """Files below a folder that somebody else could open: readable, in folders that all let him through."""
    found = []
    for folder, names, files in os.walk(root):
        here = Path(folder)
        names[:] = [name for name in names if (here / name).stat().st_mode & stat.S_IXOTH]
        found += [here / name for name in files if (here / name).stat().st_mode & (stat.S_IROTH | stat.S_IRGRP)]
    return found


@pytest.fixture(autouse=True)
def everybody_may_read():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def interrupted(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    table = SyncedTable(lake, ListSource(rows(range(1000)), fail_after=3), budget=PAGE_BY_PAGE)
    with pytest.raises(ConnectionError):
        table.sync()
    return tmp_path / "lake"


def test_nobody_else_gets_at_staged_rows(interrupted):
    staged = list((interrupted / "_staging").rglob("*.arrow"))
    assert staged, "rows are staged, waiting for the next run"
    assert (interrupted / "_staging").stat().st_mode & 0o777 == 0o700
    assert [path for path in reachable(interrupted) if "_staging" in path.parts] == []


def test_a_staging_folder_that_was_open_is_closed(interrupted):
    (interrupted / "_staging").chmod(0o755)
    assert reachable(interrupted), "a control: the walk sees what is open"
    Staging(Lake(str(interrupted)).store, "_staging/s/t")
    assert [path for path in reachable(interrupted) if "_staging" in path.parts] == []


def test_scratch_folders_are_for_their_owner_only(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = scratch_folder("import_platform")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o777)
    assert scratch_folder("import_platform") == made
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_scratch_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"import_platform-{os.getuid()}").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        scratch_folder("import_platform")


def test_the_folder_that_a_duckdb_source_spills_to_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []
    real = tempfile.TemporaryDirectory

    class Watched(real):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            seen.append(Path(self.name).stat().st_mode & 0o777)

    monkeypatch.setattr(duckdb_session.tempfile, "TemporaryDirectory", Watched)
    import duckdb

    with duckdb.connect(str(tmp_path / "source.db")) as connection:
        connection.execute("create table t as select 1 as id")
    from import_platform.sources.registry import open_source

    source = open_source("shop", {"kind": "duckdb", "path": str(tmp_path / "source.db")})
    source.discover()
    source.close()
    assert set(seen) == {0o700}

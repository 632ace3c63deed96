"""Whatever holds rows between source and lake is readable by its owner only."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.io.staging import Staging
from import_platform.own_folder import own_folder
from import_platform.sources.duckdb import session as duckdb_session
from import_platform.sources.http.waiting import Patience, TokenBucket
from import_platform.sources.http.words import RateLimit
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
    made = own_folder("import_platform")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o777)
    assert own_folder("import_platform") == made
    assert made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("somebody_elses", ["a link", "a dangling link", "a file"])
def test_a_scratch_folder_of_somebody_else_is_refused(somebody_elses, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name = tmp_path / f"import_platform-{os.getuid()}"
    if somebody_elses == "a file":
        name.touch()
    else:
        name.symlink_to(tmp_path / "elsewhere")
    if somebody_elses == "a link":
        (tmp_path / "elsewhere").mkdir()
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        own_folder("import_platform")


def test_a_rate_limit_writes_into_no_folder_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limit = RateLimit(requests=5, per_seconds=1)
    TokenBucket("https://api.example.com", limit).take(Patience())
    (folder,) = tmp_path.iterdir()
    (counted,) = folder.iterdir()
    victim = tmp_path / "victim"
    victim.write_text("of worth")
    counted.unlink()
    counted.symlink_to(victim)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        TokenBucket("https://api.example.com", limit).take(Patience())
    assert victim.read_text() == "of worth"


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

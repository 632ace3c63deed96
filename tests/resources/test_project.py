"""CLI, UI and daemon must find the same lake and history, whatever folder they were started in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from import_platform.errors import ConfigError
from import_platform.resources.project import BUILT_IN_DEFS, PACKAGE_FOLDER, defs_folders, project_root, read_settings


def _project(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text('[tool.dg]\ndirectory_type = "project"\n')
    return folder


def test_defaults_stand_under_the_project_root_from_any_folder_below_it(tmp_path):
    root = _project(tmp_path / "project")
    below = root / "a" / "b"
    below.mkdir(parents=True)
    settings = read_settings({}, below)
    assert settings.lake_uri == str(root / ".import_platform/lake")
    assert settings.home == root / ".import_platform/dagster"
    assert settings == read_settings({}, root)


def test_a_pyproject_without_tool_dg_is_no_project(tmp_path):
    root = _project(tmp_path)
    inner = tmp_path / "library"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert project_root(inner) == root


def test_an_unreadable_pyproject_is_no_project(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.dg\n")
    (tmp_path / ".import_platform").mkdir()
    assert project_root(tmp_path) == tmp_path


def test_a_state_folder_marks_the_root_where_no_pyproject_does(tmp_path):
    (tmp_path / ".import_platform").mkdir()
    inner = tmp_path / "deeper"
    inner.mkdir()
    assert project_root(inner) == tmp_path


def test_a_pyproject_further_up_wins_over_a_nearer_state_folder(tmp_path):
    root = _project(tmp_path)
    inner = tmp_path / "inner"
    (inner / ".import_platform").mkdir(parents=True)
    assert project_root(inner) == root


def test_elsewhere_the_project_the_package_is_installed_from_is_used(tmp_path):
    if not (PACKAGE_FOLDER.parent / "pyproject.toml").exists():
        pytest.skip("the package is not installed from a checkout")
    assert project_root(tmp_path) == PACKAGE_FOLDER.parent


def test_another_folder_gives_the_same_lake(tmp_path):
    code = "from import_platform.resources.project import read_settings as s; print(s({}).lake_uri, s({}).home)"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(PACKAGE_FOLDER.parent)},
        ).stdout
        for folder in (PACKAGE_FOLDER.parent, PACKAGE_FOLDER / "core", tmp_path)
    }
    assert len(seen) == 1


def test_no_project_anywhere_is_a_sentence_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "import_platform.resources.project.PACKAGE_FOLDER", tmp_path / "site-packages" / "import_platform"
    )
    with pytest.raises(ConfigError, match="no project was found") as raised:
        read_settings({}, tmp_path)
    assert ".import_platform" in raised.value.remedy


def test_absolute_settings_need_no_project(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "import_platform.resources.project.PACKAGE_FOLDER", tmp_path / "site-packages" / "import_platform"
    )
    settings = read_settings(
        {"IMPORT_PLATFORM_LAKE": "s3://bucket/lake", "DAGSTER_HOME": str(tmp_path / "home")}, tmp_path
    )
    assert (settings.lake_uri, settings.home) == ("s3://bucket/lake", tmp_path / "home")


def test_relative_settings_count_from_the_root_so_that_every_process_agrees(tmp_path):
    root = _project(tmp_path)
    inner = tmp_path / "inner"
    inner.mkdir()
    environ = {"IMPORT_PLATFORM_LAKE": "data/lake", "DAGSTER_HOME": "data/home", "IMPORT_PLATFORM_DEFS": "one:two"}
    settings = read_settings(environ, inner)
    assert settings.lake_uri == str(root / "data/lake")
    assert settings.home == root / "data/home"
    assert settings.defs_folders == (root / "one", root / "two")


def test_without_declared_folders_the_built_in_one_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(_project(tmp_path))  # this checkout may have had its demo
    assert defs_folders({}) == (BUILT_IN_DEFS,)


@pytest.mark.parametrize(("text", "bytes_"), [("1.5GB", 1_500_000_000), ("64MiB", 64 << 20), ("", 1_500_000_000)])
def test_the_partition_limit_is_a_size(tmp_path, text, bytes_):
    assert read_settings({"IMPORT_PLATFORM_PARTITION_MAX": text}, _project(tmp_path)).partition_max_bytes == bytes_


def test_a_partition_limit_that_is_no_size_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="IMPORT_PLATFORM_PARTITION_MAX is not a size"):
        read_settings({"IMPORT_PLATFORM_PARTITION_MAX": "big"}, _project(tmp_path))

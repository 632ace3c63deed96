"""What the make targets install: the lock is complete, hashed and names no index; the wheel holds the package."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
BLOCKS = [block for block in re.split(r"\n(?=[a-z0-9])", LOCK) if not block.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def pins() -> dict[str, set[str]]:
    """Versions of each locked package; more than one where they differ by Python."""
    found: dict[str, set[str]] = {}
    for block in BLOCKS:
        requirement = Requirement(block.split("\\")[0].strip())
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier).removeprefix("=="))
    return found


def test_the_lock_names_no_index_and_no_folder() -> None:
    assert "://" not in LOCK
    assert re.search(r"^\s*(-i|-f|--index|--extra|--find|--trusted)", LOCK, re.MULTILINE) is None
    assert re.search(r"(^|\s)[./~]\S*/", LOCK) is None


def test_every_locked_package_has_one_version_and_hashes() -> None:
    assert len(BLOCKS) > 100
    assert [block.split("\n")[0] for block in BLOCKS if not re.match(r"[^=]+==\S+( .*)? \\\n", block)] == []
    assert [block.split("\n")[0] for block in BLOCKS if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(
    "text", [*PROJECT["dependencies"], *(t for e in PROJECT["optional-dependencies"].values() for t in e)]
)
def test_the_lock_holds_what_the_project_asks_for(text: str) -> None:
    wanted = Requirement(text)
    versions = pins().get(canonicalize_name(wanted.name), set())
    assert versions
    assert all(wanted.specifier.contains(version) for version in versions)


def test_what_builds_and_installs_the_rest_is_locked_too() -> None:
    setup = (ROOT / ".ci" / "setup").read_text("utf-8")
    tools = re.search(r"keep = /\^\(([a-z|-]+)\)==/", setup)
    assert tools is not None
    assert set(tools[1].split("|")) <= set(pins())
    assert {"hatchling", "setuptools", "uv"} <= set(tools[1].split("|"))


def test_a_python_that_is_too_old_is_named_with_a_way_out(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "env"):
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "bash", ROOT / ".ci" / "setup", "python3", tmp_path / "venv"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Python 3.11 to 3.14 is needed, and python3 is Python 3.9.2" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_wheel_holds_every_module_and_the_console_script(tmp_path: Path) -> None:
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        scripts = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "import_platform").rglob("*.py")}
    assert modules <= names
    assert "import-platform = import_platform.cli:main" in scripts
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"import_platform"}


def imported(folder: Path) -> set[str]:
    """First names of everything that the modules below a folder import, the standard library and ourselves left out."""
    names = set()
    for module in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"import_platform", "tests", "release", "docs"}


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("import_platform", ["demo", "dbt", "dask", "cluster"]),
        ("tests", ["demo", "dev", "cluster"]),
        ("release", ["dev"]),
    ],
)
def test_every_package_that_is_imported_is_declared(folder: str, extras: list[str]) -> None:
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]
    declared = {canonicalize_name(Requirement(text).name) for text in texts}
    owners = packages_distributions()
    undeclared = {
        name
        for name in imported(ROOT / folder)
        if not declared & {canonicalize_name(owner) for owner in owners.get(name, [name])}
    }
    assert undeclared == set()

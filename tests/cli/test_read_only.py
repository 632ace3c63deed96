"""A root file system that is read-only, as the chart has it: what is written goes to the volumes, or a sentence says why not."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from import_platform.demo.place import DemoPlace, held
from import_platform.errors import ConfigError
from import_platform.own_folder import own_folder
from tests.cli.test_check_store import check
from tests.dagster_project import empty_home, project
from tests.s3_server import ROOT, environment

__all__ = ["empty_home", "project"]

NOWHERE = "/proc/none"
"""A folder that nobody can make, root neither."""


@pytest.mark.slow
@pytest.mark.parametrize("home", [{"HOME": NOWHERE}, {}], ids=["home that is not there", "no home"])
def test_commands_write_neither_where_they_are_run_nor_into_the_home_folder(project, home):
    scratch = project.root / "scratch"
    scratch.mkdir()
    own = {
        **project.environment,
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        **home,
    }
    environ = {name: value for name, value in environment(own).items() if name != "HOME" or name in home}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "import_platform.cli", "--json", *command],
            cwd="/proc",
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    checked = [json.loads(line) for line in run("check", "shop").splitlines()]
    (place,) = [line["result"] for line in checked if line["subject"] == "scratch"]
    assert place.startswith(str(scratch))
    run("sync", "shop")
    assert json.loads(run("query", "select count(*) as n from shop.orders")) == {"n": 400}


@pytest.fixture
def nothing_temporary(monkeypatch):
    """Every folder that Python would take for temporary files is out of reach."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [NOWHERE])


def test_no_temporary_folder_is_a_sentence(nothing_temporary):
    with pytest.raises(ConfigError, match=r"no temporary folder that can be written to.*Point TMPDIR at"):
        own_folder("import_platform")


def test_check_tells_it_beside_all_else(nothing_temporary, project, monkeypatch):
    code, lines = check(project, monkeypatch, str(project.root / "lake"), {})
    assert code == 2
    assert lines["writable"]["ok"], "the lake's"


def test_a_demo_that_has_no_folder_says_where_to_run_it():
    with pytest.raises(ConfigError, match=r"the demo's folder cannot be made.*Run the demo in a folder"):
        held(DemoPlace(Path(NOWHERE))).__enter__()

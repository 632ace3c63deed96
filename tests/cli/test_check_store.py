"""A store that loses commits is refused before it holds one: by `check`, and by a table's first sync."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.cli.check import LOST_ON_POLARS
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from tests.dagster_project import empty_home, project
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import SyncedTable, rows
from tests.s3_server import new_bucket, s3_server, server_that_ignores_conditions, server_that_loses_races

__all__ = ["empty_home", "project"]
BROKEN = [server_that_ignores_conditions, server_that_loses_races]


@pytest.fixture
def clean(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def check(project, monkeypatch, lake, environ):
    for name, value in {**environ, "IMPORT_PLATFORM_LAKE": lake}.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["check", "--json"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.exit_code, {line["check"]: line for line in lines if line["subject"] == "lake"}


@pytest.mark.parametrize("broken", BROKEN)
def test_check_refuses_a_store_that_lets_two_creates_win(project, clean, monkeypatch, broken):
    with broken() as environ:
        code, lines = check(project, monkeypatch, "s3://bucket/lake", environ)
    assert code == 2
    assert lines["writable"]["ok"]
    assert not lines["conditional put"]["ok"]
    assert "does not honour conditional put" in lines["conditional put"]["result"]


def test_check_passes_a_sound_one(project, clean, monkeypatch):
    with s3_server() as environ:
        code, lines = check(project, monkeypatch, new_bucket(environ), environ)
    assert (code, lines["conditional put"]["result"]) == (0, "honoured")


def test_check_warns_of_a_path_where_polars_finds_nothing(project, monkeypatch, tmp_path):
    code, lines = check(project, monkeypatch, str(tmp_path / "My Projects"), {})
    assert (code, lines["readers"]["ok"], lines["readers"]["is_warning"]) == (0, True, True)
    assert lines["readers"]["result"].startswith("Polars finds no rows at a path with ' '")
    assert "readers" not in check(project, monkeypatch, str(tmp_path / "plain"), {})[1]


def test_the_paths_warned_of_are_those_where_polars_finds_nothing(tmp_path):
    table = SyncedTable(Lake(str(tmp_path / "a")), ListSource(rows(range(3))))
    table.sync()
    for sign in """ "#<>?`{}=üŁ!$&'()*+,-.:;@_~""":
        copy = shutil.copytree(tmp_path / "a", tmp_path / f"a{sign}b")
        try:
            is_found = pl.read_delta(str(copy / "s" / "t")).height == 3
        except (OSError, pl.exceptions.PolarsError):
            is_found = False
        assert is_found == (LOST_ON_POLARS.search(f"a{sign}b") is None), sign


def test_a_table_s_first_sync_is_refused_before_anything_is_read(clean):
    with server_that_loses_races() as environ:
        source = ListSource(rows(range(10)))
        table = SyncedTable(Lake("s3://bucket/lake", env=environ), source)
        with pytest.raises(ConfigError, match="conditional put"):
            table.sync()
    assert source.reads == []

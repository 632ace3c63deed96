"""What Dagster loads: nothing but files are read, and one broken source never takes the others down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from import_platform.components.loading import load_sources
from import_platform.definitions import build_definitions
from tests.dagster_project import SHOP

ROOT = Path(__file__).parents[1]
BROKEN = """\
type: import_platform.components.ExternalSource
attributes:
  name: broken
  connection: {kind: postgres, dsn: postgres://reader:hunter2@127.0.0.1:1/db}
  tables:
    - name: orders
      sync: sometimes
"""
POSTGRES = SHOP.replace('{kind: sqlite, path: "{{ env.SHOP_DB }}"}', '{kind: postgres, dsn: "{{ env.NOT_SET }}"}')

NO_SOCKETS = """
import socket, sys
def refuse(*args, **kwargs): raise AssertionError("loading opened a connection")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from import_platform.definitions import defs
repository = defs().get_repository_def()
repository.get_all_jobs()
print(sorted(key.to_user_string() for key in repository.assets_defs_by_key))
"""

# A process of its own: the processor's clock counts every thread, and a test process has many.
TIMED = """
import time
from import_platform.definitions import defs
started = time.process_time()
repository = defs().get_repository_def()
print(len(repository.assets_defs_by_key), time.process_time() - started)
"""


@pytest.fixture
def folder(tmp_path):
    for name, text in (("shop", SHOP), ("broken", BROKEN)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "defs.yaml").write_text(text)
    return tmp_path


def _command(*words, tmp_path, **environ):
    """A command as on a fresh machine: nothing of this process's environment but the way to the programs."""
    python = Path(sys.executable).parent
    clean = {
        "PATH": f"{python}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    return subprocess.run(
        [str(python / words[0]), *words[1:]],
        cwd=ROOT,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("dg", "list", "defs", "--json"), ("dg", "check", "defs"), ("dagster", "definitions", "validate")],
    ids=" ".join,
)
def test_an_empty_environment_is_enough(words, tmp_path):
    ended = _command(*words, tmp_path=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_the_validating_commands_answer_a_mistake_with_its_place_and_no_traceback(folder, tmp_path):
    ended = _command("dg", "check", "defs", tmp_path=tmp_path, IMPORT_PLATFORM_DEFS=str(folder))
    told = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert f"{folder}/broken/defs.yaml:7: attributes.tables[0].sync is 'sometimes'; allowed: full_refresh" in told
    assert "Traceback" not in told
    assert "hunter2" not in told


@pytest.mark.slow
def test_listing_shows_the_other_sources_beside_a_broken_one(folder, tmp_path):
    ended = _command("dg", "list", "defs", "--json", tmp_path=tmp_path, IMPORT_PLATFORM_DEFS=str(folder))
    assert ended.returncode == 0, ended.stderr
    assert "shop/orders" in ended.stdout
    assert "hunter2" not in ended.stdout + ended.stderr


def test_loading_opens_no_connection_and_needs_no_variable(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "defs.yaml").write_text(POSTGRES)
    environ = {**os.environ, "IMPORT_PLATFORM_DEFS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environ.pop("NOT_SET", None)
    ended = subprocess.run(
        [sys.executable, "-c", NO_SOCKETS], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() == "['shop/customers', 'shop/orders']", ended.stderr


def test_a_broken_source_is_told_and_the_others_load(folder, caplog):
    definitions = build_definitions(load_sources([folder]), strict=False)
    keys = {key.to_user_string() for key in definitions.get_repository_def().assets_defs_by_key}
    assert keys == {"shop/orders", "shop/customers", "broken_sources/broken"}
    [entry] = definitions.metadata["broken_sources"].value
    assert entry["source"] == "broken"
    assert "sync is 'sometimes'" in entry["error"]
    assert "sync is 'sometimes'" in caplog.text
    assert "hunter2" not in caplog.text + str(entry)


def test_the_catalog_shows_what_is_wrong_with_a_broken_source(folder):
    repository = build_definitions(load_sources([folder]), strict=False).get_repository_def()
    shown = repository.asset_graph.get(dg.AssetKey(["broken_sources", "broken"]))
    assert "attributes.tables[0].sync is 'sometimes'" in shown.description
    assert not shown.is_materializable


def test_validation_ends_where_a_source_is_broken(folder):
    with pytest.raises(SystemExit):
        build_definitions(load_sources([folder]), strict=True)


def test_every_definition_of_two_sources_is_valid_together(folder):
    (folder / "broken" / "defs.yaml").write_text(SHOP.replace("name: shop", "name: crm"))
    definitions = build_definitions(load_sources([folder]), strict=True)
    dg.Definitions.validate_loadable(definitions)
    jobs = {job.name for job in definitions.get_repository_def().get_all_jobs()}
    assert jobs >= {f"{job}_{source}" for job in ("discover", "sync") for source in ("crm", "shop")}
    assert jobs >= {"sync_crm_now", "sync_shop_now"}


def test_runs_stay_in_one_process_unless_told_otherwise(folder):
    repository = build_definitions(load_sources([folder]), strict=False).get_repository_def()
    executors = {job.executor_def.name for job in repository.get_all_jobs()}
    assert executors == {"in_process"}


def test_three_hundred_tables_load_in_seconds(tmp_path):
    (tmp_path / "wide").mkdir()
    head = POSTGRES.partition("  tables:")[0].replace("name: shop", "name: wide")
    tables = "".join(
        f"    - {{name: t{n}, cursor: u, primary_key: [id], partition: {{hash: 16}}}}\n" for n in range(300)
    )
    (tmp_path / "wide" / "defs.yaml").write_text(f"{head}  tables:\n{tables}")
    environ = {**os.environ, "IMPORT_PLATFORM_DEFS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", TIMED], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    tables, seconds = ended.stdout.split()
    assert int(tables) == 300, ended.stderr
    assert float(seconds) < 15  # 2.5 s on an idle machine, of which the processor's clock counts no waiting

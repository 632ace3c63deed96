"""An API declared in YAML, from check to sync, failure, pause, incident and repair, through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.sources.rest.api_server import ApiServer, status
from tests.sources.rest.test_children import Shop

pytestmark = pytest.mark.slow

SECRET = "t0ps3cr3t-value"
DECLARED = """\
type: import_platform.components.ExternalSource
attributes:
  name: shop
  schedule: "*/15 * * * *"
  connection:
    kind: rest
    client:
      base_url: "{{ env.SHOP_URL }}"
      auth: {type: bearer, token: "{{ env.SHOP_TOKEN }}"}
    resource_defaults:
      primary_key: id
      endpoint: {data_selector: data}
    resources:
      - name: a_lines
        endpoint:
          path: invoices/{resources.invoices.id}/lines
          paginator: {type: cursor, cursor_path: next, cursor_param: cursor}
      - name: invoices
        endpoint: {path: invoices, paginator: {type: page_number, base_page: 1}}
"""


class Place:
    def __init__(self, root: Path, url: str) -> None:
        self.defs = root / "defs"
        (self.defs / "shop").mkdir(parents=True)
        (self.defs / "shop" / "defs.yaml").write_text(DECLARED)
        self.env = {
            **os.environ,
            "SHOP_URL": url,
            "SHOP_TOKEN": SECRET,
            "IMPORT_PLATFORM_DEFS": str(self.defs),
            "IMPORT_PLATFORM_LAKE": str(root / "lake"),
            "DAGSTER_HOME": str(root / "home"),
            "IMPORT_PLATFORM_MEMORY": "1GiB",
        }
        self.root = root

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "import_platform.cli", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert SECRET not in done.stdout + done.stderr
        return done

    def lines(self, *arguments: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.run(*arguments).stdout.splitlines()]


@pytest.fixture
def place(server: ApiServer, tmp_path: Path) -> Place:
    return Place(tmp_path, server.url)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


def test_a_parent_and_its_children_come_in_one_run_and_check_shows_a_page_of_each(
    server: ApiServer, place: Place
) -> None:
    Shop(server, 12)
    found = {line["table"]: line for line in place.lines("sync", "shop", "--json")}
    assert {name: line["status"] for name, line in found.items()} == {"shop/a_lines": "done", "shop/invoices": "done"}
    assert found["shop/a_lines"]["rows_inserted"] == 36
    pages = [line for line in place.lines("check", "shop", "--json") if line["check"] == "page"]
    assert [(line["subject"], line["ok"]) for line in pages] == [("shop/a_lines", True), ("shop/invoices", True)]


def test_an_empty_list_is_no_failure_of_a_check_nor_of_tables(server: ApiServer, place: Place) -> None:
    Shop(server, 0)
    checked = place.run("check", "shop", "--json")
    assert checked.returncode == 0, checked.stdout
    lines = [json.loads(line) for line in checked.stdout.splitlines()]
    told = {(line["subject"], line["check"]): line["result"] for line in lines}
    assert told["shop/invoices", "table"] == "0 rows: its first row makes the table"
    assert told["shop/invoices", "page"] == told["shop/a_lines", "page"] == "0 rows"
    tables = place.run("tables", "shop")
    assert tables.returncode == 0
    assert "no rows yet" in tables.stdout
    assert "cannot be synced" not in tables.stdout

    Shop(server, 3)
    place.run("sync", "shop")
    Shop(server, 0)  # the API has lost its rows, the lake has not
    pages = [line for line in place.lines("check", "shop", "--json") if line["check"] == "page"]
    assert [line["ok"] for line in pages] == [True, True]


def test_a_fault_is_an_incident_then_a_pause_and_a_program_may_propose_a_repair(
    server: ApiServer, place: Place
) -> None:
    Shop(server, 3)
    place.run("sync", "shop")
    server.refuse = lambda asked: (
        None if asked.path != "/invoices" else status(404, {}, json.dumps({"error": f"no {SECRET}"}))
    )
    for _ in range(5):
        assert place.run("sync", "shop/invoices").returncode == 1
    (incident,) = place.lines("incidents", "list", "--json")
    assert (incident["count"], incident["paused"], incident["is_fault"]) == (5, True, True)
    (state,) = [line for line in place.lines("status", "--json") if line["table"] == "shop/invoices"]
    assert state["state"] == "paused"

    (bundle,) = place.lines("incidents", "show", "1", "--json")
    assert bundle["fixture"]["answer"]["status"] == 404  # type: ignore[index]
    assert "{{ env.SHOP_TOKEN }}" in str(bundle["declaration"])
    assert bundle["failing_test"] == "the_recorded_answer_is_read"
    told = {each["check"]: each["passed"] for each in bundle["contract"]}  # type: ignore[attr-defined]
    assert told.pop("the_recorded_answer_is_read") is False
    assert len(told) >= 10
    assert False not in told.values()

    server.lists["/bills"] = server.lists["/invoices"]
    program = place.root / "repair.py"
    program.write_text(
        "import os, pathlib\n"
        "assert 'SHOP_TOKEN' not in os.environ and pathlib.Path(os.environ['SUMMARY']).read_text()\n"
        "path = pathlib.Path('defs.yaml')\n"
        "path.write_text(path.read_text().replace('{path: invoices,', '{path: bills,'))\n"
    )
    healed = place.run("heal", "1", "--command", f"{sys.executable} {program}")
    assert healed.returncode == 0, healed.stderr
    assert "+        endpoint: {path: bills," in healed.stdout
    assert "not tried: the_recorded_answer_is_read: the declaration now asks GET /bills" in healed.stdout
    assert "live: shop/invoices: 3 rows" in healed.stdout
    assert "nothing was applied" in healed.stdout
    assert (place.defs / "shop" / "defs.yaml").read_text() == DECLARED

    server.refuse = None
    assert place.run("sync", "shop/invoices").returncode == 0
    (incident,) = place.lines("incidents", "list", "--json")
    assert incident["paused"] is False
    assert incident["resolved_at"] is not None


def test_an_answer_of_another_shape_is_played_again_to_what_a_program_proposes(server: ApiServer, place: Place) -> None:
    """The API moved its rows: the declaration as it is fails on the recorded answer, the repaired one reads it."""
    Shop(server, 3)
    place.run("sync", "shop/invoices")
    rows = json.dumps({"items": [{"id": n, "number": f"I{n}", "touched": 0} for n in range(3)]})
    server.refuse = lambda asked: (
        status(200, {}, rows) if asked.params.get("page") == "1" else status(200, {}, '{"items": []}')
    )
    assert place.run("sync", "shop/invoices").returncode == 1
    (bundle,) = place.lines("incidents", "show", "1", "--json")
    assert "no rows where expected" in str(bundle["error"])
    assert bundle["columns_seen"] == {"id": "integer", "number": "text", "touched": "integer"}
    assert set(bundle["columns_in_lake"]) >= {"id", "number"}  # type: ignore[arg-type]
    assert bundle["failing_test"] == "the_recorded_answer_is_read"
    unchanged = place.run("heal", "1", "--command", "true")
    assert unchanged.returncode == 1
    assert "failed: the_recorded_answer_is_read: the answer has no rows where expected" in unchanged.stdout
    assert "the copy does not pass the checks" in unchanged.stdout

    program = place.root / "repair.py"
    program.write_text(
        "import json, os, pathlib\n"
        "assert json.load(open(os.environ['INCIDENT']))['fixture']['answer']['status'] == 200\n"
        "path = pathlib.Path('defs.yaml')\n"
        "path.write_text(path.read_text().replace('{path: invoices,', '{path: invoices, data_selector: items,'))\n"
    )
    healed = place.run("heal", "1", "--command", f"{sys.executable} {program}")
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert "contract: 13 of 13 checks pass" in healed.stdout
    assert "live: shop/invoices: 3 rows" in healed.stdout


def test_a_schedule_leaves_a_paused_table_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from import_platform.io.incidents import FAULTS_MAX, Incidents
    from import_platform.io.lake import Lake
    from import_platform.jobs.schedules import paused_tables

    lake = str(place.root / "lake")
    monkeypatch.setenv("IMPORT_PLATFORM_LAKE", lake)
    incidents = Incidents(Lake(lake))
    told = {"error_class": "SourceRejected", "error": "the API denies access", "is_fault": True}

    def paused() -> set[str]:
        return set(paused_tables("shop", ["invoices", "other"], now=datetime.now(UTC)))

    for count in range(1, FAULTS_MAX + 1):
        assert paused() == set()
        assert incidents.record("shop", "invoices", **told).count == count
    assert paused() == {"invoices"}
    incidents.resolve("shop", "invoices")
    assert paused() == set()


def test_a_new_source_is_written_once_and_loads(place: Place) -> None:
    from tests.sources.rest.test_openapi import DOCUMENT

    document = place.root / "openapi.json"
    document.write_text(json.dumps(DOCUMENT))
    done = place.run("new-source", "other", "--openapi", str(document), "--folder", str(place.defs))
    assert done.returncode == 0, done.stderr
    assert "to decide: " in done.stderr
    from import_platform.components.loading import load_sources

    catalog = load_sources([place.defs])
    assert {source.name for source in catalog.sources} == {"shop", "other"}
    again = place.run("new-source", "other", "--openapi", str(document), "--folder", str(place.defs))
    assert again.returncode == 2

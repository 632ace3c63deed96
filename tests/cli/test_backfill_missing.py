"""`backfill --only-missing` on a real project: an endpoint that fails first, with its token in the environment."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.report import Status
from import_platform.jobs.launch import launch_sync
from import_platform.sources.rest.contract.server import Answer, Asked, LocalServer, ok
from tests.dagster_project import SHOP, empty_home, project

__all__ = ["empty_home", "project"]

ENRICHED = """\
      enrich:
        - name: noted
          url: "{{ env.NOTES_URL }}/notes"
          headers: {Authorization: "Bearer {{ env.NOTES_TOKEN }}"}
          input: [id]
          output: {double: bigint}
          retries: 0
          in_flight: 1
    - name: customers
"""


class Notes(LocalServer):
    def page(self, asked: Asked) -> Answer:
        return ok([{"double": row["id"] * 2} for row in asked.body])


@pytest.fixture
def notes(project, monkeypatch):
    with Notes() as server:
        monkeypatch.setenv("NOTES_URL", server.url)
        monkeypatch.setenv("NOTES_TOKEN", "t0ken-of-notes")
        project.declare(SHOP.replace("    - name: customers\n", ENRICHED))
        yield server


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def test_what_failed_is_asked_for_again_by_the_command(project, notes, capfd):
    notes.refuse = lambda _: (403, {}, b"{}")
    [report] = launch_sync(["shop/orders"], sources=project.sources())
    assert report.status is Status.DONE
    assert len(notes.asked) == 1
    assert notes.asked[0].headers["Authorization"] == "Bearer t0ken-of-notes"
    notes.refuse = None
    ended = invoke("backfill", "shop/orders", "--only-missing", "--json")
    assert ended.exit_code == 0, ended.output
    report = json.loads(ended.stdout.splitlines()[-1])
    assert (report["status"], report["rows_updated"], report["rows_inserted"]) == ("done", report["rows_read"], 0)
    told = invoke(
        "query", "SELECT count(*) n FROM shop.orders WHERE \"double\" = id * 2 AND noted_status = 'ok'", "--json"
    )
    assert json.loads(told.stdout.splitlines()[0])["n"] == report["rows_read"] > 0
    out, err = capfd.readouterr()
    assert "t0ken" not in out + err + ended.output


def test_a_backfill_needs_to_know_of_what(project):
    assert invoke("backfill", "shop/orders").exit_code == 2
    assert invoke("backfill", "shop/orders", "--only-missing", "--partition", "2025-01").exit_code == 2

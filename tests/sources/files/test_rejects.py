"""A file with rows that cannot be stored: the others are, and the sync says how it ended."""

import json

import pytest
from dagster import AssetKey
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.report import Status
from tests.dagster_project import empty_home, project

__all__ = ["empty_home", "project"]

GOOD = "<cases><case id='1'></case><case id='2'></case></cases>"
BAD = "<cases><case id='3'></case><case id='4'>a & b</case><case id='5'></case></cases>"
FEED = """\
type: import_platform.components.ExternalSource
attributes:
  name: court
  connection:
    kind: files
    files: [{{name: cases, pattern: "{folder}/*.xml", record: case}}]
  tables: [{{name: cases}}]
"""


def test_a_record_that_does_not_parse_is_named_and_the_sync_ends_with_rejects(feed):
    table = feed("*.xml", record="case")
    table.put("1.xml", BAD)
    assert table.sync().status is Status.DONE_WITH_REJECTS
    assert table.rows("id") == [(3,), (5,)]
    [(key, reason)] = table.rejected().select("key", "reason").rows()
    assert json.loads(key) == {"_file": str(table.folder / "1.xml"), "_row": "2"}
    assert reason.startswith("row 2: the record does not parse (line 1 of it, sign ")


def test_a_sync_that_only_rejects_ends_so_too_and_the_next_one_finds_nothing(feed):
    table = feed("*.xml", record="case")
    table.put("1.xml", GOOD)
    assert table.sync().status is Status.DONE
    table.put("2.xml", "<cases><case id='4'>a & b</case></cases>")
    report = table.sync()
    assert (report.status, report.rows_rejected, report.files_added) == (Status.DONE_WITH_REJECTS, 1, 0)
    again = table.sync()
    assert (again.status, again.rows_read) == (Status.UNCHANGED, 0)


def test_a_full_refresh_that_rejects_other_rows_than_before_records_them(feed):
    table = feed("*.csv", columns={"id": "bigint"})
    table.put("1.csv", "id\n1\n")
    table.sync(full_refresh=True)
    table.put("2.csv", "id\nx\n")
    assert table.sync(full_refresh=True).status is Status.DONE_WITH_REJECTS
    assert table.rejected().height == 1


@pytest.fixture
def court(project):
    folder = project.root / "in"
    folder.mkdir()
    project.declare(FEED.format(folder=folder), "court")
    (folder / "1.xml").write_text(BAD)
    return project


def test_table_json_dagster_and_status_say_it(court):
    ended = CliRunner().invoke(app, ["sync", "court", "--json"])
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["status"] == "done with rejects"
    with court.instance() as instance:
        [event] = instance.fetch_materializations(AssetKey(["court", "cases"]), limit=1).records
        assert event.asset_materialization.metadata["status"].value == "done with rejects"
    [row] = map(json.loads, CliRunner().invoke(app, ["status", "court", "--json"]).stdout.splitlines())
    assert row["state"] == "done with rejects"
    (court.root / "in" / "2.xml").write_text(BAD.replace("3", "7"))
    told = CliRunner().invoke(app, ["sync", "court"], env={"COLUMNS": "160"})
    assert "done with rejects" in told.stdout
    assert "import-platform rejected list court/cases says why" in told.stdout

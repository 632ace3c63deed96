"""Tables of the same files are published together: a release never joins tables that have read different files."""

import json
from datetime import timedelta

import polars as pl
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.io.releases import feeds_of, released_versions
from import_platform.pipeline.context import open_lake_table
from import_platform.pipeline.drop import drop_table
from import_platform.pipeline.maintain import maintain
from tests.dagster_project import empty_home, project
from tests.sources.files.conftest import BUDGET, case

__all__ = ["empty_home", "project"]


def released(records):
    """Titles of cases and names of parties as the newest release has them."""
    versions = released_versions(records.lake.store, "s")
    if not versions:
        return None
    return (
        [title for _, title in records.rows("cases", "id", "title", version=versions["cases"])],
        [name for _, name in records.rows("parties", "case_id", "name", version=versions["parties"])],
    )


def test_there_is_a_release_once_all_tables_have_read_the_same_files(court):
    records = court()
    records.put("1.xml", case(1, "one", "p"))
    records.sync("cases")
    assert released(records) is None
    records.sync("parties")
    assert released(records) == (["one"], ["p"])


def test_half_a_file_is_in_no_release_and_a_file_that_comes_between_waits_for_the_next(court):
    records = court()
    records.put("1.xml", case(1, "one", "p"))
    records.sync_all()
    records.put("2.xml", case(2, "two", "q"))
    records.sync("cases")
    assert released(records) == (["one"], ["p"]), "the lake has more already"
    records.put("3.xml", case(3, "three", "r"))
    records.sync("parties")
    assert released(records) == (["one", "two"], ["p", "q"])
    records.sync_all()
    assert released(records) == (["one", "two", "three"], ["p", "q", "r"])


def test_a_file_that_changes_before_every_table_has_read_it_is_read_anew_by_all(court):
    records = court()
    records.put("1.xml", case(1, "one", "p"))
    records.sync("cases")
    records.put("1.xml", case(1, "ONE", "P", "Q"))
    records.sync("parties")
    assert released(records) is None
    records.sync("cases")
    assert released(records) == (["ONE"], ["P", "Q"])


def test_a_sync_that_finds_nothing_makes_the_release_that_a_killed_one_left_out(court):
    records = court()
    records.put("1.xml", case(1, "one", "p"))
    records.sync_all()
    records.lake.store.remove_folder("_ops/release_documents")
    records.sync_all()
    assert released(records) == (["one"], ["p"])


def test_releases_are_shown_to_sql_in_one_commit_each(court):
    records = court()
    for number in range(3):
        records.put(f"{number}.xml", case(number, str(number)))
        records.sync_all()
        records.sync_all()
    shown = pl.read_delta(records.lake.uri + "/_ops/releases")
    assert sorted(shown["release"]) == [1, 1, 2, 2, 3, 3]
    newest = shown.filter(release=3)
    assert dict(newest.select("table", "delta_version").rows()) == released_versions(records.lake.store, "s")


def test_tables_that_are_not_imported_are_not_waited_for(court):
    records = court()
    alone = records.tables.pop()
    records.tables.append(
        {**alone, "name": "others", "pattern": str(records.folder / "*.xm*l"), "parent": None, "format": "xml"}
    )
    del records.tables[1]["parent"]
    records.put("1.xml", case(1, "one"))
    records.sync("cases")
    assert feeds_of(records.lake.store, "s") == [], "a table that is fed alone needs no release"


def test_vacuum_spares_what_a_release_names(court):
    records = court(version="file")
    records.put("1.xml", case(1, "one", "p"))
    records.sync_all()
    records.put("2.xml", case(1, "two", "q"))
    records.sync("cases")
    maintain(open_lake_table(records.lake, "s", "cases"), budget=BUDGET, vacuum_age=timedelta(0))
    assert records.cases == [(1, "two")]
    assert released(records) == (["one"], ["p"])


def test_a_table_that_begins_anew_is_in_no_older_release_and_remembers_no_deletion(court):
    records = court(delete_when={"path": "@op", "value": "delete"})
    records.put("1.xml", case(1, "one", "p"), case(2, "two", op="delete"))
    records.sync_all()
    drop_table(records.lake, "s", "cases")
    assert released(records) is None
    (records.folder / "1.xml").unlink()
    records.put("0.xml", case(2, "back", "q"))
    records.sync_all()
    assert released(records) == (["back"], ["p"]), "parties keep the rows of a file that is gone, and what it deleted"
    records.sync("parties", full_refresh=True)
    assert records.parties == [(2, "q")]


@pytest.mark.slow
def test_killed_at_any_durable_step_no_release_is_half_and_the_next_syncs_make_one(court):
    records = court(delete_when={"path": "@op", "value": "delete"})
    records.put("00.xml", case(0, "t0", "p0"))
    records.sync_all()
    last = 0
    for step in (1, 4, 6, 8, 10):
        records.put(f"{step:02}.xml", case(step, f"t{step}", f"p{step}"), case(last, "", op="delete"))
        last = step
        records.killed("cases", step)
        records.killed("parties", step + 2)
        titles, names = released(records)
        assert [title.replace("t", "p") for title in titles] == names
        records.sync_all()
        assert released(records) == ([f"t{step}"], [f"p{step}"])


FEED = """\
type: import_platform.components.ExternalSource
attributes:
  name: court
  connection:
    kind: files
    files:
      - {{name: cases, pattern: "{folder}/*.xml", record: case, primary_key: [id], columns: {{id: {{path: "@id", type: bigint}}}}}}
      - {{name: parties, pattern: "{folder}/*.xml", record: case, rows: party, parent: cases,
          columns: {{case_id: {{path: "/@id", type: bigint}}, name: {{path: "@name"}}}}}}
      - {{name: unused, pattern: "{folder}/*.xml", record: case}}
  tables: [{{name: cases}}, {{name: parties}}]
"""


def test_query_reads_tables_as_a_release_has_them(project):
    folder = project.root / "in"
    folder.mkdir()
    project.declare(FEED.format(folder=folder), "court")
    (folder / "1.xml").write_text(f"<r>{case(1, 'one', 'p')}</r>")
    run = CliRunner().invoke
    assert run(app, ["sync", "court"]).exit_code == 0
    (folder / "2.xml").write_text(f"<r>{case(2, 'two', 'q')}</r>")
    assert run(app, ["sync", "court/cases"]).exit_code == 0
    sql = "select count(*) as n from court.cases join court.parties on id = case_id where id = 2 union all select count(*) from court.cases"

    def counts(*words):
        done = run(app, ["query", sql, "--json", *words])
        assert done.exit_code == 0, done.output
        return sorted(json.loads(line)["n"] for line in done.stdout.splitlines())

    assert counts() == [0, 2], "half of the second file"
    assert counts("--release", "court") == [0, 1]
    assert run(app, ["sync", "court/parties"]).exit_code == 0
    assert counts("--release", "court") == [1, 2]
    assert counts("--release", "court@1") == [0, 1]
    assert run(app, ["query", sql, "--release", "court@99"]).exit_code == 2
    told = run(app, ["query", 'select "table", release from _ops.releases order by all', "--json"]).stdout
    assert [tuple(json.loads(line).values()) for line in told.splitlines()] == [
        ("cases", 1),
        ("cases", 2),
        ("parties", 1),
        ("parties", 2),
    ]

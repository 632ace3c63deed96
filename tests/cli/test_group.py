"""`group NAME` on a real project, from the terminal and as an asset in Dagster's history."""

from __future__ import annotations

import json

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.definitions import build_definitions
from import_platform.jobs.launch import launch_sync
from tests.dagster_project import NO_ROOM, empty_home, project

__all__ = ["empty_home", "project"]

DECLARED = """\
type: import_platform.components.Grouping
attributes: {{name: {name}, {rows}, by: [{by}], order_by: [id], output: {output}}}
"""


@pytest.fixture
def network(project):
    """Files of rows in order by name, and a grouping of them."""
    (project.root / "in").mkdir()
    write(project, [{"name": f"n{i // 10:03d}", "id": i % 10} for i in range(500)])
    declare(project, "by_name", f'files: "{project.root}/in/*.parquet"', "name")
    return project


def write(project, found):
    pq.write_table(pa.Table.from_pylist(found), project.root / "in" / "0.parquet")


def declare(project, name, rows, by):
    project.declare(DECLARED.format(name=name, rows=rows, by=by, output=project.root / "out" / name), name)


def invoke(*words):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def told(ended):
    return json.loads(ended.stdout)


def test_a_name_is_grouped_by_dagster_once_and_again_when_its_rows_change(network):
    first = invoke("group", "by_name", "--json")
    assert first.exit_code == 0, first.output
    report = told(first)
    assert {name: report[name] for name in ("grouping", "status", "rows", "groups", "violations")} == {
        "grouping": "by_name", "status": "done", "rows": 500, "groups": 50, "violations": 0,
    }  # fmt: skip
    assert report["peak_memory_bytes"] > 0
    with network.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["by_name"]))
        shown = event.asset_materialization.metadata
        assert {name: shown[name].value for name in report if report[name] is not None} == {
            name: value for name, value in report.items() if value is not None
        }
    again = invoke("group", "by_name")
    assert again.exit_code == 0
    assert "by_name is up to date: 50 groups of 500 rows" in again.stdout


def test_dagsters_own_lines_stay_out_of_the_terminal(network, capfd):
    ended = invoke("group", "by_name")
    assert ended.exit_code == 0
    assert "STEP_START" not in ended.output
    assert capfd.readouterr() == ("", "")


def test_a_row_out_of_order_fails_the_asset_with_its_place(network):
    write(network, [{"name": "b", "id": 1}, {"name": "b", "id": 2}, {"name": "a", "id": 1}])
    ended = invoke("group", "by_name", "--json")
    assert ended.exit_code == 1
    report = told(ended)
    assert (report["status"], report["violations"]) == ("failed", 1)
    assert "a row is lower than the row before it" in report["error"]
    assert "0.parquet', row 2" in report["error"]
    with network.instance() as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey(["by_name"])) is None
        [run] = instance.get_runs(limit=1)
        [failed] = [e for e in instance.all_logs(run.run_id) if e.dagster_event and e.dagster_event.is_step_failure]
        facts = failed.dagster_event.step_failure_data.user_failure_data.metadata
        assert (facts["row"].value, facts["error_class"].value) == (2, "OutOfOrder")
    assert "row 2" in invoke("group", "by_name").output


def test_groups_that_were_made_but_not_recorded_are_a_failure_and_the_next_run_finds_them(network):
    network.history(NO_ROOM)
    ended = invoke("group", "by_name", "--json")
    network.history("drop trigger no_room")
    assert ended.exit_code == 1
    assert told(ended)["error"] == "grouped, but the run failed behind it; see its log"
    assert told(invoke("group", "by_name", "--json"))["status"] == "unchanged"


def test_check_looks_for_the_rows_of_every_grouping(network):
    declare(network, "by_day", "table: shop/orders", "created_at")
    declare(network, "by_town", f'files: "{network.root}/in/*.parquet"', "town")
    lines = {line["subject"]: line for line in map(json.loads, invoke("check", "--json").stdout.splitlines())}
    assert (lines["by_name"]["ok"], lines["by_name"]["result"]) == (True, "1 file, by name")
    assert (lines["by_day"]["ok"], lines["by_day"]["result"]) == (True, "waits for the first sync of shop/orders")
    assert lines["by_town"]["exit_code"] == 2
    assert "a file has no such column" in lines["by_town"]["result"]


def test_a_table_of_the_lake_is_grouped_behind_its_sync(project):
    declare(project, "by_day", "table: shop/orders", "created_at")
    early = invoke("group", "by_day", "--json")
    assert early.exit_code == 1
    assert "not in the lake yet" in told(early)["error"]
    launch_sync(["shop/orders"], sources=project.sources())
    report = told(invoke("group", "by_day", "--json"))
    assert (report["rows"], report["groups"]) == (400, 4)
    definitions = build_definitions(project.sources(), strict=True)
    with project.instance() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["by_day"])]).success, "as the UI"
        event = instance.get_latest_materialization_event(dg.AssetKey(["by_day"]))
        assert event.asset_materialization.metadata["status"].value == "unchanged"


def test_a_table_of_an_undeclared_source_is_told_as_one(network):
    declare(network, "by_day", "table: cx/a", "created_at")
    ended = invoke("group", "by_day", "--json")
    assert ended.exit_code == 2
    assert "there is no source 'cx'" in told(ended)["error"]
    [line] = [
        each for each in map(json.loads, invoke("check", "--json").stdout.splitlines()) if each["subject"] == "by_day"
    ]
    assert (line["ok"], "there is no source 'cx'" in line["result"]) == (False, True)


def test_a_declaration_is_not_told_of_options_and_shells(network):
    declare(network, "of_none", f'files: "{network.root}/none/*.parquet"', "name")
    error = told(invoke("group", "of_none", "--json"))["error"]
    assert "Correct files: of the grouping" in error
    assert "shell" not in error
    network.declare(
        DECLARED.format(name="far", rows=f'files: "{network.root}/in/*"', by="name", output="/proc/nope"), "far"
    )
    error = told(invoke("group", "far", "--json"))["error"]
    assert "(path '/proc/nope'" in error
    assert "Point output at a folder" in error


def test_groups_that_no_share_takes_are_counted(network):
    pattern, out = str(network.root / "in" / "*.parquet"), network.root / "groups"
    words = ("group", pattern, "--by", "name", "--order-by", "id", "--split", "train=0.5", "--out")
    report = told(invoke(*words, str(out), "--json"))
    held = pq.read_table(out / "train").num_rows
    assert 0 < held < 50
    assert (report["groups"], report["groups_written"], report["groups_left_out"]) == (50, held, 50 - held)
    shown = " ".join(invoke(*words, str(network.root / "other")).stdout.split())
    assert f"500 rows in 50 groups ({held} written, {50 - held} left out by shares of less than 1)" in shown


def test_files_that_cannot_be_grouped_give_an_object_too(network):
    pattern, out = str(network.root / "in" / "*.parquet"), str(network.root / "groups")
    write(network, [{"name": "b", "id": 1}, {"name": "a", "id": 1}])
    ended = invoke("group", pattern, "--by", "name", "--out", out, "--json")
    assert ended.exit_code == 1
    report = told(ended)
    assert (report["grouping"], report["status"], report["violations"]) == (pattern, "failed", 1)
    assert "a row is lower than the row before it" in report["error"]
    assert "sort: true" in report["error"]
    ended = invoke("group", "none/*.parquet", "--by", "name", "--out", out, "--json")
    assert (ended.exit_code, told(ended)["status"]) == (2, "failed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("by_nam",), "did you mean by_name?"),
        (("*.parquet", "--by", "name"), "files are grouped by --by into --out"),
        (("by_name", "--sort"), "takes no options"),
        (("*.parquet", "--by", "name", "--out", "x"), "no file matches"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(network, words, said):
    ended = invoke("group", *words)
    assert ended.exit_code == 2
    assert said in ended.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--order-by", "name"), "each once"),
        (("--columns", "name"), "cannot become a list too"),
        (("--split", "train=2"), "above 0"),
        (("--split", "train"), "not a name and a share"),
        (("--split", "a=0.9", "--split", "b=0.9"), "more than everything"),
    ],
)
def test_columns_and_shares_that_cannot_be_meant_are_refused(network, words, said):
    pattern, out = str(network.root / "in" / "*.parquet"), str(network.root / "groups")
    ended = invoke("group", pattern, "--by", "name", "--out", out, *words)
    assert ended.exit_code == 2
    assert said in ended.output

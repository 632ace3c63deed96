"""`diagnose` of a table and of anybody's files, as a person and as a script call it."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from import_platform.cli.app import app
from import_platform.core.budget import format_bytes
from import_platform.jobs.launch import launch_sync
from tests.dagster_project import empty_home, project

__all__ = ["empty_home", "project"]


def invoke(*words):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


@pytest.fixture
def files(tmp_path):
    pq.write_table(pa.table({"a": [1, 1, 2], "b": [1, 2, 1], "t": ["secret"] * 3}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": [2, 3], "b": [0, 1], "t": ["secret"] * 2}), tmp_path / "1.parquet")
    return tmp_path


def test_a_synced_table_is_diagnosed_for_a_person_and_for_a_script(project):
    launch_sync(["shop"], sources=project.sources())
    told = invoke("diagnose", "shop/orders")
    assert told.exit_code == 0, told.output
    budget = f"of {format_bytes(project.memory_bytes)}"
    for words in ("400 rows", "2025-01", "row groups", "keys ", "next flush", "delta-rs ", "source ", budget):
        assert words in told.stdout
    found = json.loads(invoke("diagnose", "shop/orders", "--json").stdout)
    assert (found["rows"], found["files"], len(found["leaves"])) == (400, 4, 4)
    assert found["prunable_share"] == 0.0, "each month has ids from the whole range"
    assert found["files_in_key_order_share"] == 1.0
    assert found["budget_bytes"] == project.memory_bytes
    assert 0 < found["predicted_memory_bytes"] < found["budget_bytes"]
    assert found["delta_rs"]["leaf_bytes"] < found["delta_rs"]["table_bytes"]
    assert [said["effect"] for said in found["recommendations"]] == ["reads"]
    assert "stable: true" in found["recommendations"][0]["text"]


def test_sorted_files_end_with_0_and_others_with_1(files):
    told = invoke("diagnose", "--parquet", f"{files}/0.parquet", "--order-by", "a,b", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["sorted"] is True
    told = invoke("diagnose", "--parquet", f"{files}/*.parquet", "--order-by", "a, b", "--json")
    found = json.loads(told.stdout)
    assert told.exit_code == 1
    assert (found["sorted"], found["violations"], found["violations_between_files"]) == (False, 0, 1)
    assert found["first_violation"] == {"file": f"{files}/1.parquet", "row": 0}
    assert (found["changes"], found["grouping"]) == (2, "stream")
    assert found["largest_group"]["rows"] == 2
    assert found["safe_memory_bytes"] > 16 << 20


def test_a_person_reads_places_and_sizes_but_no_values(files):
    told = invoke("diagnose", "--parquet", str(files), "--order-by", "b")
    assert told.exit_code == 1
    assert f"the first at row 2 (from 0) of {files}/0.parquet" in told.stdout
    assert "equal values are not neighbours" in told.stdout
    assert "secret" not in told.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "diagnose looks at one table or at files"),
        (("shop/orders", "--parquet", "x"), "diagnose looks at one table or at files"),
        (("shop",), "diagnose looks at one table"),
        (("--parquet", "/nowhere/*.parquet", "--order-by", "a"), "no file matches the pattern"),
        (("--parquet", "{files}", "--order-by", "z"), "a file has no such column"),
        (("--parquet", "{files}"), "--parquet needs the columns"),
        (("--parquet", "{files}", "--order-by", "a,a"), "--parquet needs the columns"),
        (("--parquet", "{files}/broken", "--order-by", "a"), "a file cannot be read as Parquet"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(files, words, sentence):
    (files / "broken").write_bytes(b"PAR1")
    told = invoke("diagnose", *(word.format(files=files) for word in words))
    assert told.exit_code == 2, told.output
    assert sentence in told.stderr
    assert told.stdout == ""

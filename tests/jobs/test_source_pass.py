"""Whole sources: tables side by side, each failure alone, and after it only what is missing."""

import subprocess
import sys
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from import_platform.core.report import Status
from import_platform.jobs.launch import launch_sync
from import_platform.jobs.source_pass import next_pass, shares
from import_platform.resources.naming import sync_job
from tests.dagster_project import WHOLE_SHOP


class Notes:
    def __init__(self):
        self.read, self.notes = set(), []

    def progress(self, table, stage, *, rows, bytes_, total_rows):
        self.read.add(table)

    def note(self, table, message):
        self.notes.append(message)


@pytest.fixture
def whole(project):
    """A source that imports all it has: 8 small tables more, one of which cannot be imported."""
    for number in range(8):
        project.sql(f"create table extra_{number} (id integer primary key, note text)")
        project.sql(f"insert into extra_{number} values (1, 'one'), (2, 'two')")
    project.sql("create table broken (_partition int)", "create table tmp_load (id int)")
    project.declare(WHOLE_SHOP + "  exclude: [tmp_*]\n")
    return project


def sync(project, *words, **options):
    notes = Notes()
    reports = launch_sync(words, sources=project.sources(), observer=notes, **options)
    return {report.table.partition("/")[2]: report.status for report in reports}, notes


def rows(project, table):
    return pl.read_delta(str(project.root / "lake" / "shop" / table)).height


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(1, [["a", "b", "c", "d"]]), (2, [["b"], ["a", "c", "d"]]), (9, [["b"], ["c"], ["a"], ["d"]])],
)
def test_tables_are_shared_out_by_size(parts, expected):
    assert shares(["a", "b", "c", "d"], {"a": 5, "b": 100, "c": 50}, parts=parts) == expected


@pytest.mark.parametrize("parallel", [1, 3])
def test_every_table_found_is_imported_and_a_broken_one_leaves_the_others_alone(whole, parallel):
    found, _ = sync(whole, "shop", parallel=parallel)
    assert found.pop("broken") is Status.FAILED
    assert set(found) == {"orders", "customers", *(f"extra_{n}" for n in range(8))}
    assert set(found.values()) == {Status.DONE}
    assert (rows(whole, "orders"), rows(whole, "extra_3")) == (400, 2)
    with whole.instance() as instance:
        runs = instance.get_runs(dg.RunsFilter(job_name=sync_job("shop")))
        assert len(runs) == parallel
        assert sorted(run.status.value for run in runs).count("FAILURE") == 1


def test_a_small_table_has_no_partitions_and_one_file(whole):
    sync(whole, "shop")
    for table in ("orders", "extra_1"):
        frame = pl.read_delta(str(whole.root / "lake" / "shop" / table))
        assert set(frame["_partition"]) == {"all"}
        assert len(list((whole.root / "lake" / "shop" / table).rglob("*.parquet"))) == 1


def test_after_a_failure_only_what_is_missing_is_synced_and_after_another_everything(whole):
    sync(whole, "shop", parallel=2)
    whole.sql("insert into extra_1 values (3, 'three')")
    found, notes = sync(whole, "shop", parallel=2)
    assert any("10 of its 11 tables are done" in note for note in notes.notes)
    assert {name for name, status in found.items() if status is not Status.UNCHANGED} == {"broken"}
    assert rows(whole, "extra_1") == 2
    found, notes = sync(whole, "shop", parallel=2)
    assert not any("going on with" in note for note in notes.notes)
    assert rows(whole, "extra_1") == 3


def test_a_mended_table_is_all_that_is_synced(whole):
    sync(whole, "shop")
    whole.sql("drop table broken", "create table broken (id integer primary key)", "insert into broken values (1)")
    found, notes = sync(whole, "shop")
    assert found["broken"] is Status.DONE
    assert notes.read == {"shop/broken"}
    with whole.instance() as instance:
        assert next_pass(instance, "shop", list(found)).done == frozenset()


def test_tables_that_are_named_are_always_synced(whole):
    sync(whole, "shop")
    whole.sql("insert into extra_1 values (3, 'three')")
    sync(whole, "shop/extra_1")
    assert rows(whole, "extra_1") == 3


DYING = """
import os, sys
from import_platform.components.loading import load_sources
from import_platform.jobs.launch import launch_sync

class Dies:
    read = set()
    def progress(self, table, stage, **figures):
        self.read.add(table)
        if len(self.read) > 3:
            print(*self.read, flush=True)
            os._exit(9)
    def note(self, table, message): pass

launch_sync(["shop"], sources=load_sources(), observer=Dies())
"""


def test_a_pass_that_was_killed_is_gone_on_with_however_often(whole):
    """Nothing ended by itself: what counts is which steps the history shows as done."""
    seen = set()
    for _ in range(2):
        died = subprocess.run([sys.executable, "-c", DYING], capture_output=True, text=True, check=False)
        assert died.returncode == 9, died.stderr
        seen |= set(died.stdout.split())
    left = Notes()
    launch_sync(["shop"], sources=whole.sources(), observer=left)
    assert len(seen) == 7
    assert len(left.read & seen) <= 1
    assert len(left.read | seen) == 10


def test_a_sync_of_the_whole_source_finds_tables_that_are_new(whole, monkeypatch):
    sync(whole, "shop/extra_1")
    whole.sql("drop table broken", "create table newcomer (id integer primary key)", "insert into newcomer values (1)")
    assert "newcomer" not in sync(whole, "shop/extra_1")[0]
    monkeypatch.setattr("import_platform.jobs.launch.LOOKS_AGAIN_AFTER", timedelta(0))
    found, _ = sync(whole, "shop")
    assert found["newcomer"] is Status.DONE
    assert "broken" not in found

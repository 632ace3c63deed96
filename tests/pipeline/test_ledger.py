"""Every run is written down once, whoever pays for it is named, and a lost ledger comes back from the commits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from import_platform.core.run_record import RunOrder
from import_platform.core.table import SyncMode
from import_platform.errors import SourceUnavailable
from import_platform.io import ops_table
from import_platform.io.run_ledger import fold
from import_platform.pipeline.ledger import fold_ledger, rebuild
from tests.pipeline.synced_table import PAGE_BY_PAGE, rows


def ops(lake, name):
    return pl.read_delta(f"{lake.uri}/_ops/{name}")


def test_a_sync_is_one_row_with_what_it_did(lake, synced):
    table = synced(rows(range(300)), extra={"order": RunOrder(dagster_run="d1")})
    report = table.sync()
    fold(lake)
    [run] = ops(lake, "runs").to_dicts()
    assert (run["source"], run["table"], run["kind"], run["status"]) == ("s", "t", "incremental", "done")
    assert (run["rows_read"], run["rows_inserted"], run["rows_updated"], run["rows_deleted"]) == (300, 300, 0, 0)
    assert (run["billable"], run["dagster_run"], run["rebuilt"], run["delta_version"]) == (True, "d1", False, 0)
    assert run["started_at"] <= run["ended_at"]
    assert run["bytes_written"] == report.bytes_written > 0
    assert (run["budget_bytes"], run["peak_memory_bytes"]) == (table.budget.total_bytes, report.peak_memory_bytes)


def test_chunks_say_what_they_held_and_where_they_ended(lake, synced):
    table = synced(rows(range(300)), budget=PAGE_BY_PAGE, page_rows=100)
    table.sync()
    fold(lake)
    found = ops(lake, "chunks").sort("chunk")
    assert found["rows"].to_list() == [100, 100, 100]
    assert found["run"].unique().to_list() == ops(lake, "runs")["run"].to_list()
    assert found["token_before"].to_list() == ["", *found["token_after"].to_list()[:2]]
    assert all(json.loads(token) for token in found["token_after"])


def test_a_run_that_changed_nothing_is_a_row_too(lake, synced):
    table = synced(rows(range(10)), settled=True)
    table.sync()
    table.sync()
    fold(lake)
    assert sorted(ops(lake, "runs")["status"]) == ["done", "unchanged"]


def test_a_failed_run_tells_its_error_and_what_it_read(lake, synced):
    table = synced(rows(range(300)), budget=PAGE_BY_PAGE)

    def leave(page):
        if page == 2:
            raise SourceUnavailable("it went away", remedy="Wait.")

    table.source.on_page = leave
    with pytest.raises(SourceUnavailable):
        table.sync()
    fold(lake)
    [run] = ops(lake, "runs").to_dicts()
    assert (run["status"], run["error_class"], run["rows_read"]) == ("failed", "SourceUnavailable", 200)
    assert run["error"]


def test_an_error_that_nobody_foresaw_is_told_by_its_class_alone(lake, synced):
    with pytest.raises(ConnectionError):
        synced(rows(range(300)), fail_after=1, budget=PAGE_BY_PAGE).sync()
    fold(lake)
    [run] = ops(lake, "runs").to_dicts()
    assert (run["status"], run["error_class"], run["error"]) == ("failed", "ConnectionError", "internal error")


@pytest.mark.parametrize(
    ("order", "full_refresh", "billable"),
    [
        (RunOrder(), False, True),
        (RunOrder(), True, False),
        (RunOrder(billable=False), False, False),
        (RunOrder(billable=True), True, True),
    ],
)
def test_ordinary_syncs_are_paid_for_and_resyncs_are_not(lake, synced, order, full_refresh, billable):
    table = synced(rows(range(10)))
    table.sync()
    fold(lake)
    first = ops(lake, "runs")["run"].item()
    table.sync(rows(range(12), day=1), full_refresh=full_refresh, order=order)
    fold(lake)
    assert ops(lake, "runs").filter(pl.col("run") != first)["billable"].item() is billable


def test_a_backfill_is_not_paid_for(lake, synced):
    table = synced(rows(range(10)))
    table.sync()
    table.backfill("2025-01")
    fold(lake)
    assert dict(ops(lake, "runs").select("kind", "billable").iter_rows()) == {"incremental": True, "backfill": False}


def test_usage_adds_up_the_runs_of_a_day(lake, synced):
    table = synced(rows(range(10)))
    table.sync()
    fold(lake)
    table.sync(rows(range(12), day=1))
    table.sync(full_refresh=True)
    fold(lake)
    used = ops(lake, "usage").sort("billable", descending=True)
    assert used.select("source", "table", "kind", "billable", "runs", "rows_read").rows() == [
        ("s", "t", "incremental", True, 2, 22),
        ("s", "t", "full_refresh", False, 1, 12),
    ]


@pytest.mark.parametrize("mode", [SyncMode.INCREMENTAL, SyncMode.FULL_REFRESH])
def test_a_deleted_ledger_comes_back_from_the_log(lake, synced, mode):
    table = synced(rows(range(300)), mode=mode, budget=PAGE_BY_PAGE, cursor="updated")
    table.sync()
    table.sync(rows(range(310), day=1))
    fold(lake)
    shown = ["run", "source", "table", "kind", "billable", "rows_read", "rows_inserted", "rows_updated", "rows_deleted",
             "bytes_read", "bytes_written", "files_added", "files_removed", "delta_version", "attempt"]  # fmt: skip
    before = ops(lake, "runs").sort("run").select(shown)
    chunks = ops(lake, "chunks").sort("run", "chunk").select("run", "attempt", "chunk", "rows", "decoded_bytes")
    shutil.rmtree(Path(lake.uri) / "_ops")
    assert rebuild(lake, "s", "t") == 2
    after = ops(lake, "runs").sort("run")
    assert after.select(shown).equals(before)
    assert after["rebuilt"].all()
    again = ops(lake, "chunks").sort("run", "chunk").select("run", "attempt", "chunk", "rows", "decoded_bytes")
    assert again.equals(chunks)
    assert rebuild(lake, "s", "t") == 0, "what is there is not added again"


def test_a_run_killed_between_commit_and_ledger_is_found_by_the_one_that_goes_on(lake, synced):
    table = synced(rows(range(2000)), budget=PAGE_BY_PAGE, page_rows=10)
    killed = []

    def die(page):
        if page == 100:
            killed.append(table.version)
            raise KeyboardInterrupt

    table.source.on_page = die
    with pytest.raises(KeyboardInterrupt):
        table.sync()
    assert killed[0] >= 0, "something was committed"
    fold(lake)
    assert not Path(lake.uri, "_ops/runs").exists()
    table.source.on_page = None
    report = table.sync()
    assert (report.resumed, table.matches()) == (True, True)
    fold(lake)
    runs = ops(lake, "runs").sort("started_at")
    assert runs["status"].to_list() == ["killed", "done"]
    assert runs["rows_inserted"].sum() == 2000


def test_a_ledger_that_cannot_be_written_fails_no_sync(lake, synced):
    Path(lake.uri).mkdir(parents=True, exist_ok=True)
    Path(lake.uri, "_ops").write_text("in the way")
    said = []

    class Notes:
        def note(self, table, text):
            said.append(text)

        def progress(self, *args, **kwargs): ...

    table = synced(rows(range(10)), extra={"observer": Notes()})
    table.sync()
    assert table.matches()
    assert [text for text in said if "the ledger could not be written" in text]
    said.clear()
    fold_ledger(lake, Notes())
    assert len(said) <= 1


def test_a_fold_killed_half_way_is_done_again_without_doubling(lake, synced, monkeypatch):
    table = synced(rows(range(10)))
    table.sync()
    real = ops_table.OpsTable.replace

    def killed(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ops_table.OpsTable, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        fold(lake)
    assert ops(lake, "runs").height == 1
    monkeypatch.setattr(ops_table.OpsTable, "replace", real)
    fold(lake)
    assert (ops(lake, "runs").height, ops(lake, "chunks").height, ops(lake, "usage")["runs"].to_list()) == (1, 1, [1])
    assert not list(lake.store.entries("_ops/run_documents"))

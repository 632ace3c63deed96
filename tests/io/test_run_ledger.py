from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import polars as pl
import pytest

from import_platform.core.run_record import ChunkRecord, RunRecord, record_from_json
from import_platform.io import ops_table, run_ledger
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.io.ops_table import FILES_MAX
from import_platform.io.query import LakeSql
from import_platform.io.run_ledger import fold, put_run, runs_table, tend
from tests.s3_server import new_bucket

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def a_run(number: int = 1, *, at: datetime = NOW, **changed) -> RunRecord:
    chunks = (ChunkRecord("attempt", 1, 5, 100, token_after='{"id": 5}'),)
    record = RunRecord(f"run{number}", "shop", "orders", "incremental", "done", True, at - timedelta(seconds=5), at)
    return replace(record, rows_read=number, chunks=chunks, cursor_value="x", **changed)


def ops(lake: Lake, name: str) -> pl.DataFrame:
    return pl.read_delta(f"{lake.uri}/_ops/{name}", storage_options=lake.store.storage_options)


def files(lake: Lake) -> int:
    return len(runs_table(lake)._open().file_uris())


def test_a_document_holds_all_of_a_run():
    record = a_run(delta_version=3, error="sad", error_class="ConfigError", billable=False)
    assert record_from_json(record.to_json()) == record


def test_a_run_recorded_twice_and_folded_twice_is_one_row(tmp_path):
    lake = Lake(str(tmp_path))
    for _ in range(3):
        put_run(lake, a_run())
        fold(lake)
    assert (ops(lake, "runs").height, ops(lake, "chunks").height, ops(lake, "usage")["runs"].to_list()) == (1, 1, [1])


def test_the_runs_of_one_batch_are_one_commit(tmp_path):
    lake = Lake(str(tmp_path))
    put_run(lake, a_run(1))
    fold(lake)
    before = runs_table(lake).versions()
    for number in range(2, 42):
        put_run(lake, a_run(number, at=NOW + timedelta(seconds=number)))
    assert fold(lake) == 40
    assert (runs_table(lake).versions(), ops(lake, "runs").height) == (before + 1, 41)


def test_processes_that_fold_the_same_runs_at_once_leave_each_once(tmp_path):
    lake = Lake(str(tmp_path))
    for number in range(40):
        put_run(lake, a_run(number))
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        list(pool.map(_record_and_fold, [str(tmp_path)] * 6, range(6)))
    fold(lake)
    runs = ops(lake, "runs")
    assert runs["run"].n_unique() == runs.height == 46
    assert ops(lake, "chunks").height == 46
    assert ops(lake, "usage")["runs"].to_list() == [46]


def _record_and_fold(folder: str, number: int) -> None:
    lake = Lake(folder)
    put_run(lake, a_run(100 + number))
    fold(lake)


def test_a_ledger_of_many_batches_has_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr(run_ledger, "KEPT_RUNS", timedelta(days=40000))
    monkeypatch.setattr(run_ledger, "KEPT_CHUNKS", timedelta(days=40000))
    lake = Lake(str(tmp_path))
    for number in range(FILES_MAX + 3):
        put_run(lake, a_run(number, at=NOW + timedelta(minutes=number)))
        fold(lake)
    assert files(lake) <= 3
    assert ops(lake, "runs")["run"].n_unique() == ops(lake, "runs").height == FILES_MAX + 3
    put_run(lake, a_run(0))
    fold(lake)
    assert ops(lake, "runs").height == FILES_MAX + 3, "runs in merged files are known"


def test_two_compactions_at_once_double_nothing(tmp_path):
    lake = Lake(str(tmp_path))
    for number in range(5):
        put_run(lake, a_run(number))
        fold(lake)
    one, other = runs_table(lake), runs_table(lake)
    stale = other._open()
    assert one._compact(one._open()) == 5
    with pytest.raises(ops_table.CommitFailedError):
        other._compact(stale)
    assert ops(lake, "runs").height == 5
    written = {path.name for path in (tmp_path / "_ops/runs").glob("*.parquet")}
    assert len(written) == 6, "the loser leaves no file behind"


def test_old_runs_are_forgotten_and_young_ones_kept(tmp_path):
    lake = Lake(str(tmp_path))
    now = datetime.now(UTC)
    for number, days in enumerate((900, 500, 100, 1)):
        put_run(lake, a_run(number, at=now - timedelta(days=days)))
        fold(lake)
    tend(lake)
    assert sorted(ops(lake, "runs")["run"]) == ["run2", "run3"]
    assert ops(lake, "chunks")["run"].to_list() == ["run3"]
    assert ops(lake, "usage").height == 4, "what was paid for is kept for ever"


def test_dead_files_of_the_ledger_are_deleted_after_a_day(tmp_path):
    lake = Lake(str(tmp_path))
    now = datetime.now(UTC)
    for number in range(4):
        put_run(lake, a_run(number, at=now))
        fold(lake)
    tend(lake)
    folder = tmp_path / "_ops/runs"
    assert len(list(folder.glob("*.parquet"))) == 5, "yesterday's readers may still need them"
    old = time.time() - 3 * 86400
    for path in folder.rglob("*"):
        os.utime(path, (old, old))
    _age_tombstones(folder)
    tend(lake)
    assert len(list(folder.glob("*.parquet"))) == 1
    assert ops(lake, "runs").height == 4


def _age_tombstones(folder: Path) -> None:
    """Rewrites the log as if its last commit were three days old."""
    entry = max((folder / "_delta_log").glob("*.json"))
    text = entry.read_text()
    stamp = int(text.split('"deletionTimestamp":')[1].split(",")[0].rstrip("}"))
    entry.write_text(text.replace(str(stamp), str(stamp - 3 * 86_400_000)))


def test_incidents_are_shown_as_their_documents_are_now(tmp_path):
    lake = Lake(str(tmp_path))
    incidents = Incidents(lake)
    told = {"error_class": "SourceRejected", "error": "gone", "is_fault": True, "facts": {"status": 404}}
    incidents.record("shop", "orders", **told)
    fold(lake)
    assert ops(lake, "incidents").select("number", "source", "table", "count", "facts").rows() == [
        (1, "shop", "orders", 1, '{"status": 404}')
    ]
    incidents.record("shop", "orders", **told)
    incidents.record("shop", "customers", **told)
    fold(lake)
    assert ops(lake, "incidents").sort("number").select("table", "count").rows() == [("orders", 2), ("customers", 1)]
    incidents.resolve("shop", "orders")
    fold(lake)
    found = ops(lake, "incidents").sort("number")
    assert found["resolved_at"].is_null().to_list() == [False, True]
    version = run_ledger.runs_table(lake).versions()
    fold(lake)
    assert run_ledger.runs_table(lake).versions() == version


def test_the_ledger_is_asked_in_sql(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    put_run(lake, a_run(7))
    fold(lake)
    with LakeSql(lake.store, memory_bytes=200 << 20, threads=1, scratch=tmp_path / "scratch") as sql:
        answer = sql.run(
            "SELECT r.run, r.billable, c.token_after, u.runs FROM _ops.runs r JOIN _ops.chunks c USING (run) "
            'JOIN _ops.usage u ON u."table" = r."table"'
        )
        assert list(answer.rows) == [("run7", True, '{"id": 5}', 1)]


def test_an_object_store_keeps_the_ledger_too(s3_environment):
    lake = Lake(new_bucket(s3_environment), env=s3_environment)
    for number in (1, 2, 1):
        put_run(lake, a_run(number))
        fold(lake)
    runs_table(lake).tend()
    assert (ops(lake, "runs").height, files(lake), ops(lake, "usage")["runs"].to_list()) == (2, 1, [2])

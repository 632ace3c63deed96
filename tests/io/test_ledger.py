from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import polars as pl

from import_platform.core.rejected import RejectedRow
from import_platform.io.lake import Lake
from import_platform.io.ledger import RejectedId, count_rejected, forget_rejected, latest_rejected, record_rejected
from tests.s3_server import new_bucket

ROWS = [
    RejectedRow({"id": "1"}, "n", "does not fit", '{"n": 1}'),
    RejectedRow({"a": "x", "b": None}, "t", "wide", None),
]


def ledger(lake):
    return pl.read_delta(f"{lake.uri}/_ops/rejected_rows", storage_options=lake.store.storage_options)


def test_rejected_rows_can_be_read_back(tmp_path):
    lake = Lake(str(tmp_path))
    record_rejected(lake, "shop", "orders", "attempt", [(1, ROWS)])
    found = ledger(lake).sort("row_number")
    assert found.select("source", "table", "attempt", "chunk", "key", "column", "reason", "row").rows() == [
        ("shop", "orders", "attempt", 1, '{"id": "1"}', "n", "does not fit", '{"n": 1}'),
        ("shop", "orders", "attempt", 1, '{"a": "x", "b": null}', "t", "wide", None),
    ]
    assert found["recorded_at"].null_count() == 0


def test_a_retried_flush_records_its_chunks_once(tmp_path):
    lake = Lake(str(tmp_path))
    for chunks in ([(1, ROWS)], [(1, ROWS), (2, ROWS[:1])], [(2, ROWS[:1])]):
        record_rejected(lake, "shop", "orders", "attempt", chunks)
    assert ledger(lake).group_by("chunk").len().sort("chunk").rows() == [(1, 2), (2, 1)]
    record_rejected(lake, "shop", "orders", "another", [(1, ROWS)])
    assert ledger(lake).height == 5


def test_nothing_rejected_writes_nothing(tmp_path):
    lake = Lake(str(tmp_path))
    record_rejected(lake, "shop", "orders", "attempt", [])
    record_rejected(lake, "shop", "orders", "attempt", [(1, [])])
    assert lake.store.folders("") == []


def test_an_object_store_keeps_a_ledger_too(s3_environment):
    lake = Lake(new_bucket(s3_environment), env=s3_environment)
    for _ in range(2):
        record_rejected(lake, "shop", "orders", "attempt", [(1, ROWS)])
    assert ledger(lake).height == 2


def test_processes_that_create_the_ledger_at_once_all_get_their_rows_in(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(_record, [str(tmp_path)] * 8, [f"attempt{n}" for n in range(8)]))
    assert ledger(Lake(str(tmp_path))).group_by("attempt").len()["len"].to_list() == [2] * 8


def _record(folder, attempt):
    record_rejected(Lake(folder), "shop", "orders", attempt, [(1, ROWS)])


def test_only_the_named_rows_are_forgotten(tmp_path):
    lake = Lake(str(tmp_path))
    record_rejected(lake, "shop", "it's", "attempt", [(1, ROWS), (2, ROWS)])
    record_rejected(lake, "shop", "orders", "attempt", [(1, ROWS)])
    forget_rejected(lake, "shop", "it's", [RejectedId("attempt", 1, 0), RejectedId("attempt", 2, 1)])
    left = ledger(lake).select("table", "chunk", "row_number").sort("table", "chunk", "row_number").rows()
    assert left == [("it's", 1, 1), ("it's", 2, 0), ("orders", 1, 0), ("orders", 1, 1)]
    assert count_rejected(lake, "shop", None) == 4
    assert latest_rejected(lake, "shop", "orders", limit=1).height == 1

"""Every kind of commit on a network that fails: what was written is recognised as ours, never doubled, never lost."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest

from import_platform.core.rejected import RejectedRow
from import_platform.core.table import Granularity, SyncMode, TimePartition
from import_platform.errors import StoreUnavailable
from import_platform.io.lake import Lake
from import_platform.io.ledger import count_rejected, record_rejected
from import_platform.io.run_ledger import fold, runs_table
from import_platform.pipeline.convert import convert
from import_platform.pipeline.maintain import maintain
from tests.fault_proxy import Fault, fault_proxy
from tests.pipeline.lake_table import in_lake, split
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import PAGE_BY_PAGE, ROOMY, SyncedTable, replaced, rows
from tests.s3_server import new_bucket

LOG_ENTRY = r"/_delta_log/\d{20}\.json"
LOST = [Fault.LOST_ANSWER, Fault.LOST_AS_500]


@pytest.fixture
def proxied(s3_environment):
    """A lake behind a proxy, and the proxy."""
    uri = new_bucket(s3_environment)
    with fault_proxy(s3_environment) as (proxy, environ):
        yield Lake(uri, env=environ), proxy


def table_of(lake, data=None, **options):
    of_source = {name: options.pop(name) for name in ("page_rows",) if name in options}
    return SyncedTable(lake, ListSource(rows(range(300)) if data is None else data, **of_source), **options)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("mode", list(SyncMode))
def test_every_commit_of_every_mode_counts_once(proxied, mode, fault):
    lake, proxy = proxied
    table = table_of(lake, mode=mode)
    first = proxy.add(fault, "PUT", LOG_ENTRY)
    report = table.sync()
    assert (report.rows_inserted, table.version, first.met) == (300, 0, 1)
    assert table.matches()
    more = rows(range(300, 340), day=1)
    second = proxy.add(fault, "PUT", LOG_ENTRY)
    table.sync(pa.concat_tables([table.source.rows, more]))
    assert (table.version, second.met) == (1, 1)
    assert table.matches()
    assert table.sync().rows_inserted == 0
    assert table.version == 1
    assert table.staging.attempts() == []


@pytest.mark.parametrize("fault", LOST)
def test_a_long_load_whose_every_answer_is_lost_once(proxied, fault):
    """States, checkpoints, data files, key filters and commits, of five flushes."""
    lake, proxy = proxied
    table = table_of(lake, page_rows=50, budget=PAGE_BY_PAGE)
    rule = proxy.add(fault, "PUT", "/(s/t|_staging/s)/", each=True)
    table.sync()
    assert rule.met > 15
    assert table.matches()
    table.sync(replaced(table.source.rows, rows(range(0, 300, 7), day=2, text="new")))
    assert table.matches()


@pytest.mark.parametrize("fault", LOST)
def test_new_and_wider_columns_are_added_once(proxied, fault):
    lake, proxy = proxied
    data = pa.table({
        "id": pa.array(range(20), pa.int64()),
        "updated": rows(range(20))["updated"],
        "n": pa.array(range(20), pa.int32()),
    })  # fmt: skip
    table = table_of(lake, data, partition=None)
    table.sync()
    grown = data.set_column(2, "n", pa.array([2**40 + i for i in range(20)], pa.int64()))
    grown = grown.append_column("more", pa.array(range(20), pa.int64()))
    grown = grown.set_column(1, "updated", rows(range(20), day=1)["updated"])
    rule = proxy.add(fault, "PUT", LOG_ENTRY, each=True)
    table.sync(grown)
    assert (rule.met, table.version) == (3, 3), "the new column, the wider one, the rows"
    assert table.matches()
    assert table.lake_frame().columns == ["id", "updated", "n", "more"]


@pytest.mark.parametrize("fault", LOST)
def test_rewrites_land_once_and_keep_every_row(proxied, fault):
    lake, proxy = proxied
    table = table_of(lake, rows(range(600, 900)))
    table.sync()

    def lost(work):
        before = table.version
        rule = proxy.add(fault, "PUT", LOG_ENTRY)
        work()
        assert (rule.met, table.version) == (1, before + 1)
        assert table.matches()

    lost(lambda: split(table, "2025-02", limit_bytes=3000))
    lost(lambda: table.backfill("2025-01"))
    lost(lambda: convert(in_lake(table), TimePartition("created", Granularity.DAY), limit_bytes=10**9, budget=ROOMY))
    table.partition = TimePartition("created", Granularity.DAY)
    maintain(in_lake(table), budget=ROOMY, vacuum_age=timedelta(0))
    assert table.matches()


@pytest.mark.parametrize("fault", Fault)
def test_a_sync_goes_on_where_any_one_request_fails(proxied, fault):
    """Not only commits: the first listing, reading, writing and deleting of each kind meets the fault."""
    lake, proxy = proxied
    table = table_of(lake, page_rows=100)
    table.sync()
    for method in ("GET", "HEAD", "PUT", "POST"):
        for after in (0, 2, 4):
            proxy.add(fault, method, after=after)
    table.sync(replaced(table.source.rows, rows(range(0, 300, 9), day=3, text="y")))
    assert sum(proxy.told()["met"]) >= 8
    assert table.matches()


@pytest.mark.parametrize("fault", LOST)
def test_the_ledger_has_a_run_and_a_rejected_row_once(proxied, fault):
    lake, proxy = proxied
    for name in ("rejected_rows", "runs", "usage"):
        proxy.add(fault, "PUT", f"_ops/{name}/{LOG_ENTRY[1:]}")
    table = table_of(lake)
    table.sync()
    row = RejectedRow({"id": "1"}, "n", "does not fit", '{"id": 1}')
    for _ in range(2):
        record_rejected(lake, "s", "t", "attempt", [(1, [row])])
    assert count_rejected(lake, "s", "t") == 1
    fold(lake)
    assert runs_table(lake).read(["run"]).num_rows == 1
    assert proxy.all_met()


@pytest.mark.parametrize("fault", LOST)
def test_the_lease_of_a_rewrite_is_ours_though_the_answer_was_lost(proxied, fault):
    lake, proxy = proxied
    table = table_of(lake)
    proxy.add(fault, "PUT", "/lease/")
    assert table.staging.take_lease("a")
    table.staging.release_lease("a")
    assert not table.staging.lease_held()


def test_an_outage_stops_a_sync_with_a_sentence_and_the_next_one_goes_on(proxied, monkeypatch):
    """Data files cannot be written: nothing is committed by half, and what was staged is not read again."""
    lake, proxy = proxied
    table = table_of(lake, page_rows=100, budget=PAGE_BY_PAGE)
    table.sync(rows(range(100)))
    monkeypatch.setattr("import_platform.io.store.PATIENCE_SECONDS", 0)
    proxy.add(Fault.CUT_ANSWER, "GET", "list-type=2", times=1000, after=6)
    with pytest.raises(StoreUnavailable):
        table.sync(rows(range(400)))
    proxy.heal()
    assert table.version == 0
    table.sync()
    assert table.matches()

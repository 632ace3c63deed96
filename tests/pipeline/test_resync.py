"""A table read again: with its old rows readable until the swap, or deleted first."""

from __future__ import annotations

import pyarrow as pa
import pytest

from import_platform.core.table import Granularity, TimePartition
from import_platform.errors import ConfigError
from import_platform.io.store import Store
from import_platform.pipeline.drop import drop_table, finish_drop
from tests.pipeline.synced_table import PAGE_BY_PAGE, STREAMED, rows


@pytest.mark.parametrize("budget", [PAGE_BY_PAGE, STREAMED])
def test_a_reader_sees_the_old_rows_until_the_new_ones_are_swapped_in(synced, budget):
    table = synced(rows(range(500)), page_rows=50, budget=budget)
    table.sync()
    old = table.lake_frame()
    seen = []
    table.source.on_page = lambda page: seen.append(table.lake_frame().equals(old))
    version = table.version
    table.sync(rows(range(100, 600), day=3, text="new"), full_refresh=True)
    assert (len(seen), all(seen)) == (10, True)
    assert (table.matches(), table.version) == (True, version + 1)


def test_a_killed_resync_leaves_the_old_rows(synced):
    table = synced(rows(range(500)), page_rows=50, budget=PAGE_BY_PAGE)
    table.sync()
    old = table.lake_frame()
    table.source.fail_after = table.source.pages + 5
    with pytest.raises(ConnectionError):
        table.sync(rows(range(100, 600), day=3), full_refresh=True)
    assert table.lake_frame().equals(old)
    table.source.fail_after = None
    assert table.sync(full_refresh=True).resumed
    assert table.matches()


def test_a_dropped_table_may_come_back_in_another_shape(synced):
    table = synced(rows(range(500)))
    table.sync()
    other = rows(range(50), day=1).set_column(0, "id", pa.array([f"k{i}" for i in range(50)]))
    with pytest.raises(ConfigError):
        table.sync(other)
    drop_table(table.lake, "s", "t")
    assert (table.version, table.staging.attempts(), table.staging.last_claimed()) == (-1, [], 0)
    table.partition = TimePartition("created", Granularity.DAY)
    table.sync(other)
    assert table.matches()
    assert sorted(table.leaves()) == ["2025-01-01", "2025-01-02", "2025-01-03"]


def test_a_killed_drop_is_finished(synced, monkeypatch):
    table = synced(rows(range(500)))
    table.sync()
    removed = []
    real = Store.remove_folder

    def killed(self, prefix):
        removed.append(prefix)
        if len(removed) == 2:
            raise KeyboardInterrupt
        real(self, prefix)

    monkeypatch.setattr(Store, "remove_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        drop_table(table.lake, "s", "t")
    monkeypatch.undo()
    assert finish_drop(table.lake, "s", "t")
    assert not finish_drop(table.lake, "s", "t")
    assert not list(table.lake.store.entries("s/t"))
    assert not list(table.lake.store.entries("_staging/s/t"))
    table.sync()
    assert table.matches()


def test_dropping_one_table_leaves_its_neighbours_and_the_ledger(synced):
    one, other = synced(rows(range(50)), name="t"), synced(rows(range(60)), name="t2")
    one.sync()
    other.sync()
    documents = len(list(one.lake.store.entries("_ops")))
    drop_table(one.lake, "s", "t")
    assert (other.matches(), len(list(one.lake.store.entries("_ops")))) == (True, documents)
    assert other.raw_frame().height == 60

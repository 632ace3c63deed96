import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.layout import base_of, bits_of, covers
from import_platform.core.table import (
    UNPARTITIONED,
    Granularity,
    HashPartition,
    NumberPartition,
    SyncMode,
    TimePartition,
)
from import_platform.errors import ConfigError
from import_platform.io.memory import MemoryWatch, held_bytes
from import_platform.pipeline import scatter
from import_platform.pipeline.relayout import Relayouted
from import_platform.pipeline.split import coarsen, plan_split, split_leaf
from tests.pipeline.lake_table import JANUARY, files_in_log, in_lake, split, timed, version_rows
from tests.pipeline.synced_table import MONTHLY, ROOMY, replaced, rows

FEBRUARY = [f"2025-02-{day:02}" for day in range(1, 29)]


def test_a_month_becomes_days_in_one_commit_and_every_version_shows_the_same_rows(synced):
    table = synced(rows(range(3000)))
    table.sync()
    others = {path for path in files_in_log(table) if "2025-02" not in path}
    done = split(table, "2025-02", limit_bytes=2000)
    assert sorted(leaf for leaf in table.leaves() if leaf.startswith("2025-02")) == FEBRUARY
    assert (done.rows, done.rounds, table.version) == (28 * 24, 1, 1)
    assert version_rows(table, 0).equals(version_rows(table, 1))
    assert table.matches()
    assert others < files_in_log(table), "no other file is touched"


def test_the_children_lie_in_hive_folders_of_their_names(synced):
    table = synced(rows(range(3000)))
    table.sync()
    split(table, "2025-02", limit_bytes=10**6)
    folders = {path.name for path in Path(table.uri).iterdir() if any(path.glob("*.parquet"))}
    assert {f"_partition={day}" for day in FEBRUARY} < folders
    hive = pl.read_parquet(f"{table.uri}/_partition=2025-02-03/*.parquet", hive_partitioning=True)
    assert hive["_partition"].unique().to_list() == [date(2025, 2, 3)], "Polars reads the folder's name"
    assert hive.height == 24


def test_one_huge_day_becomes_hours_and_its_huge_hour_hash_bits(synced):
    small = [JANUARY + timedelta(days=day) for day in range(31)]
    huge_day = [JANUARY + timedelta(days=12, hours=hour) for hour in range(24) for _ in range(4)]
    huge_hour = [JANUARY + timedelta(days=12, hours=5, seconds=second) for second in range(400)]
    table = synced(timed([*small, *huge_day, *huge_hour]))
    table.sync()
    size = in_lake(table).snapshot.size_bytes
    split(table, "2025-01", limit_bytes=size * 2 // 3)
    leaves = table.leaves()
    assert {bits_of(leaf) for leaf in leaves if base_of(leaf) == "2025-01-13T05"} == {"00", "01", "10", "11"}
    assert leaves["2025-01-13T06"] == 4
    assert leaves["2025-01-12"] == 1, "days that are small enough stay days"
    assert table.matches()


def test_a_table_of_uuids_only_is_split_by_hash_bits(synced):
    ids = [str(uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128)) for n in range(1000)]
    table = synced(pa.table({"id": pa.array(ids)}), mode=SyncMode.FULL_REFRESH, partition=UNPARTITIONED)
    table.sync()
    size = in_lake(table).snapshot.size_bytes
    split(table, "all", limit_bytes=size * 3 // 5)
    leaves = table.leaves()
    assert set(leaves) == {"all.h00", "all.h01", "all.h10", "all.h11"}
    assert max(leaves.values()) < 2 * min(leaves.values())
    assert table.matches()


@pytest.mark.parametrize("partition", [UNPARTITIONED, MONTHLY], ids=["none", "month"])
def test_a_keyless_table_is_split_by_its_rows_content(synced, partition):
    instants = [JANUARY + timedelta(minutes=minute) for minute in range(30)] * 20
    table = synced(timed(instants), mode=SyncMode.FULL_REFRESH, partition=partition, primary_key=())
    table.sync()
    [leaf] = table.leaves()
    split(table, leaf, limit_bytes=in_lake(table).snapshot.size_bytes // 3)
    assert len(table.leaves()) >= 4
    assert table.matches()
    table.sync(timed(instants[:-5]))
    assert table.matches(), "the next full refresh places rows among the new leaves"


def test_a_number_leaf_is_split_into_ten_and_further_down_to_single_numbers(synced):
    table = synced(rows(range(1000)), partition=NumberPartition("id", 1000))
    table.sync()
    size = in_lake(table).snapshot.size_bytes
    split(table, "n1000_0", limit_bytes=size // 2)
    assert table.leaves() == {f"n100_{index}": 100 for index in range(10)}
    split(table, "n100_3", limit_bytes=1)
    assert table.leaves()["n1_355"] == 1
    assert table.matches()


def test_negative_numbers_are_split_downwards(synced):
    table = synced(rows(range(-150, 50)), partition=NumberPartition("id", 1000))
    table.sync()
    split(table, "n1000_-1", limit_bytes=in_lake(table).snapshot.size_bytes)
    assert table.leaves() == {"n100_-1": 100, "n100_-2": 50, "n1000_0": 50}
    assert table.matches()


def test_the_null_leaf_is_split_by_hash_bits(synced):
    table = synced(timed([None] * 300 + [JANUARY]))
    table.sync()
    split(table, "null", limit_bytes=in_lake(table).snapshot.size_bytes // 2)
    assert {base_of(leaf) for leaf in table.leaves()} == {"2025-01", "null"}
    assert all(bits_of(leaf) for leaf in table.leaves() if base_of(leaf) == "null")
    assert table.matches()


def test_days_of_a_date_column_are_split_by_hash_bits_not_by_hours(synced):
    days = pa.array([date(2025, 1, 13)] * 300 + [date(2025, 1, 14)], pa.date32())
    table = synced(timed([None] * 301, day=days), partition=TimePartition("day", Granularity.MONTH))
    table.sync()
    split(table, "2025-01", limit_bytes=in_lake(table).snapshot.size_bytes // 2)
    leaves = table.leaves()
    assert leaves["2025-01-14"] == 1
    assert {base_of(leaf) for leaf in leaves} == {"2025-01-13", "2025-01-14"}
    assert table.matches()


def test_hash_leaves_of_a_declared_number_are_split_bit_by_bit(synced):
    table = synced(rows(range(1000)), partition=HashPartition(2))
    table.sync()
    split(table, "all.h01", limit_bytes=in_lake(table).snapshot.size_bytes // 4)
    below = {leaf for leaf in table.leaves() if covers("all.h01", leaf, HashPartition(2))}
    assert len(below) >= 2
    assert set(table.leaves()) - below == {"all.h00", "all.h10", "all.h11"}
    assert table.matches()


def test_a_leaf_of_one_key_is_unsplittable_and_stays_as_it_is(synced):
    table = synced(rows([7]))
    table.sync()
    plan = plan_split(in_lake(table), "2025-01", limit_bytes=1)
    assert plan.unsplittable
    assert split(table, "2025-01", limit_bytes=1) == Relayouted()
    assert table.version == 0


def test_whoever_reads_during_splits_and_merges_back_sees_every_row_once(synced):
    """Others delete the table and copy it back, and whoever asks in between finds none, or half of it."""
    table = synced(rows(range(1000)))
    table.sync()
    ended, read_once_more, seen = threading.Event(), threading.Event(), []

    def read():
        while not ended.is_set():
            frame = table.raw_frame()
            seen.append((frame.height, frame["id"].n_unique()))
            read_once_more.set()

    def go_on_when_read():
        """Two reads, as the first may have begun before the last commit."""
        for _ in range(2):
            read_once_more.clear()
            while not read_once_more.wait(0.1):
                assert not reading.done(), reading.exception()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for _ in range(4):
                split(table, "2025-01", limit_bytes=2000)
                go_on_when_read()
                coarsen(in_lake(table), "2025-01", budget=ROOMY)
                go_on_when_read()
        finally:
            ended.set()
        reading.result()
    assert set(seen) == {(1000, 1000)}


def test_a_leaf_within_the_limit_is_left_alone(synced):
    table = synced(rows(range(10)))
    table.sync()
    plan = plan_split(in_lake(table), "2025-01", limit_bytes=10**9)
    assert not plan.open
    assert len(plan.targets) == 1, "all rows of one day: one level down is as far as it goes"


def test_a_leaf_that_does_not_exist_is_refused(synced):
    table = synced(rows(range(10)))
    table.sync()
    with pytest.raises(ConfigError, match="no such leaf"):
        plan_split(in_lake(table), "2026-01", limit_bytes=1)


def test_split_then_merged_back_is_the_same_table(synced):
    table = synced(rows(range(3000)))
    table.sync()
    before = table.leaves()
    split(table, "2025-02", limit_bytes=2000)
    done = coarsen(in_lake(table), "2025-02", budget=ROOMY)
    assert table.leaves() == before
    assert table.matches()
    assert done.leaves == ("2025-02",)


def test_leaves_merged_back_come_out_in_key_order(synced):
    table = synced(rows(range(3000)), partition=HashPartition(3))
    table.sync()
    coarsen(in_lake(table), "all", budget=ROOMY)
    assert table.leaves() == {"all": 3000}
    assert table.raw_frame()["id"].is_sorted()


def test_leaves_can_be_merged_above_the_declared_granularity_and_split_again(synced):
    table = synced(rows(range(3000)))
    table.sync()
    coarsen(in_lake(table), "2025", budget=ROOMY)
    assert table.leaves() == {"2025": 3000}
    table.sync(replaced(table.source.rows, rows([5, 3000], day=1)))
    assert table.leaves() == {"2025": 3001}
    split(table, "2025", limit_bytes=10**9)
    assert set(table.leaves()) == {f"2025-0{month}" for month in range(1, 6)}
    assert table.matches()


def test_syncs_go_on_into_the_leaves_of_a_split(synced):
    table = synced(rows(range(1000)))
    table.sync()
    split(table, "2025-02", limit_bytes=2000)
    table.sync(replaced(table.source.rows, rows([800, 1000, 1001], day=1, text="y")))
    assert table.matches()
    assert sum(table.leaves()[f"2025-02-{day:02}"] for day in range(1, 12)) == 1002 - 31 * 24


def test_a_row_of_a_day_that_was_empty_when_the_plan_was_made_gets_its_own_leaf(synced):
    table = synced(rows(range(31 * 24, 31 * 24 + 48)))
    table.sync()
    opened = in_lake(table)
    plan = plan_split(opened, "2025-02", limit_bytes=10**6)
    assert plan.targets == ["2025-02-01", "2025-02-02"]
    table.sync(replaced(table.source.rows, rows([31 * 24 + 500], day=1)))
    split_leaf(opened, plan, budget=ROOMY)
    assert table.leaves()["2025-02-21"] == 1
    assert table.matches()


def test_more_children_than_files_may_be_open_are_written_in_passes_with_one_file_each(synced):
    table = synced(rows(range(31 * 24, 59 * 24), text="x" * 50))
    table.sync()
    tight = MemoryBudget(320 * MIB, 300 * MIB)
    assert scatter.open_leaves_max(tight, is_local=True) < 28
    done = split(table, "2025-02", limit_bytes=2000, budget=tight)
    assert done.files_added == len(table.leaves()) == 28
    assert table.matches()


def test_a_split_of_many_files_leaves_one_file_in_every_child(synced):
    table = synced(rows(range(600)))
    table.sync()
    for day in range(1, 4):
        table.sync(replaced(table.source.rows, rows(range(600 + 40 * day, 640 + 40 * day), day=day)))
    before = in_lake(table).snapshot.files.filter(pl.col("leaf") == "2025-01").height
    done = split(table, "2025-01", limit_bytes=5000)
    assert before > 1
    assert done.files_added == len(done.leaves)


@pytest.mark.slow
def test_splitting_a_leaf_stays_inside_a_small_budget_and_writes_no_more_than_it_reads(synced):
    count = 120_000
    text = pa.array([uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128).hex * 20 for n in range(count)])
    instants = [JANUARY + timedelta(minutes=n * 7919 % (31 * 24 * 60)) for n in range(count)]
    table = synced(timed(instants, text=text), page_rows=20_000)
    table.sync()
    del text, instants
    opened = in_lake(table)
    budget = MemoryBudget(held_bytes() + 200 * MIB, held_bytes())
    with MemoryWatch(budget.total_bytes) as watch:
        done = split(opened, "2025-01", limit_bytes=opened.snapshot.size_bytes // 4, budget=budget, watch=watch)
    assert watch.peak_bytes < budget.total_bytes
    assert done.bytes_written <= 1.1 * done.bytes_read
    assert table.lake_frame().height == count

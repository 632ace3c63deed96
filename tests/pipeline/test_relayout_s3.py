"""Splits, merges back and conversions on an object store, where a listing is not a folder and a rename does not exist."""

import pytest

from import_platform.core.table import Granularity, TimePartition
from import_platform.io.lake import Lake
from import_platform.pipeline.convert import convert
from import_platform.pipeline.split import coarsen
from tests.pipeline.lake_table import commits_after, in_lake, split
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import ROOMY, SyncedTable, replaced, rows
from tests.s3_server import new_bucket, s3_server


@pytest.fixture(scope="module")
def s3():
    with s3_server() as environ:
        yield environ


@pytest.fixture
def table(s3):
    lake = Lake(new_bucket(s3), env=s3)
    made = SyncedTable(lake, ListSource(rows(range(2000))))
    made.sync()
    return made


def test_a_split_against_a_sync_and_a_merge_back_keep_every_row(table):
    opened = commits_after(in_lake(table), [lambda: table.sync(replaced(table.source.rows, rows([800], day=1)))])
    done = split(opened, "2025-02", limit_bytes=5000)
    assert done.rounds == 2
    assert "2025-02" not in table.leaves()
    assert table.matches()
    coarsen(in_lake(table), "2025-02", budget=ROOMY)
    assert "2025-02" in table.leaves()
    assert table.matches()


def test_another_partition_is_one_put_if_absent(table):
    daily = TimePartition("created", Granularity.DAY)
    convert(in_lake(table), daily, limit_bytes=10**9, budget=ROOMY)
    assert table.version == 1
    assert len(table.leaves()) == 84
    assert in_lake(table).identity.partition == daily
    table.partition = daily
    table.sync(replaced(table.source.rows, rows([5, 2000], day=1)))
    assert table.matches()


def test_the_lease_works_by_listing(table):
    assert table.staging.take_lease("a")
    assert table.staging.lease_held()
    assert not table.staging.take_lease("b")
    table.staging.release_lease("a")
    assert not table.staging.lease_held()

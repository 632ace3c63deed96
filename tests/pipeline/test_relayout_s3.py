"""Splits, merges back and conversions on an object store, where a listing is not a folder and a rename does not exist."""

import hashlib
import random
from datetime import timedelta

import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.core.table import Granularity, NumberPartition, SyncMode, TimePartition
from import_platform.io.lake import Lake
from import_platform.pipeline.convert import convert
from import_platform.pipeline.repartition import repartition
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


def noisy(ids):
    """Rows that no encoding makes small, so that a leaf's bytes follow its rows and not its footer."""
    text = [hashlib.sha256(str(id_).encode()).hexdigest() for id_ in ids]
    return rows(ids).set_column(3, "text", pa.array(text))


@pytest.mark.slow
def test_random_syncs_with_a_repartition_after_each_keep_every_row_and_come_to_rest(s3, monkeypatch):
    """Quiet counts as at once, so leaves are merged back as readily as they are split."""
    monkeypatch.setattr("import_platform.core.repartition.QUIET", timedelta(0))
    dice = random.Random(5)
    lake = Lake(new_bucket(s3), env=s3)
    table = SyncedTable(lake, ListSource(noisy(range(700))), mode=SyncMode.FULL_REFRESH)
    table.sync()
    limit_bytes = max(in_lake(table).snapshot.files["size_bytes"].to_list()) // 2
    done = []
    for count in (700, dice.randrange(50, 300), dice.randrange(600, 1000), 10):
        table.sync(noisy(range(count)))
        done.append(repartition(in_lake(table), limit_bytes=limit_bytes, budget=ROOMY).status)
        assert table.matches()
    assert Status.DONE in done
    assert set(done) <= {Status.DONE, Status.UNCHANGED}
    assert repartition(in_lake(table), limit_bytes=limit_bytes, budget=ROOMY).status is Status.UNCHANGED


@pytest.mark.slow
def test_a_leaf_becomes_70_beside_a_sync_and_is_one_again(s3):
    lake = Lake(new_bucket(s3), env=s3)
    table = SyncedTable(lake, ListSource(noisy(range(700))), partition=NumberPartition("id", 1000))
    table.sync()
    beside = replaced(table.source.rows, rows([5, 700], day=1))
    split(commits_after(in_lake(table), [lambda: table.sync(beside)]), "n1000_0", limit_bytes=6000)
    assert {f"n10_{index}" for index in range(70)} <= set(table.leaves())
    assert table.matches()
    coarsen(in_lake(table), "n1000_0", budget=ROOMY)
    assert list(table.leaves()) == ["n1000_0"]
    assert table.matches()

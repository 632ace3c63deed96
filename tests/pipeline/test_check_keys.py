"""Duplicates are found wherever they are, in memory that does not follow the table, and nothing is read twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from import_platform.core import check_state
from import_platform.core.budget import GIB, MIB, MemoryBudget
from import_platform.core.check_state import CheckState
from import_platform.core.table import HashPartition
from import_platform.io.delta import Commit
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import LeafWriter
from import_platform.pipeline import check_keys
from import_platform.pipeline.check_keys import KeyCheck
from import_platform.pipeline.context import open_lake_table
from tests.pipeline.synced_table import ROOMY, replaced, rows

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Small(MemoryBudget):
    """Hashes of 65,536 rows at once."""

    merge_bytes = 1  # type: ignore[assignment]


SMALL = Small(8 * GIB, 8 * GIB - 312 * MIB)


def plant(table, duplicate: pa.Table, leaf: str) -> None:
    """Adds rows as a file of their own behind the merge's back."""
    log = table.log
    snapshot = log.snapshot()
    writer = LeafWriter(
        table.lake.store, table.lake.table_path("s", "t"), leaf, snapshot.schema, statistics_first=("id",)
    )
    for batch in duplicate.cast(snapshot.schema).to_batches():
        writer.write(batch)
    log.commit(snapshot, Commit(writer.close(), [], facts={}))


UNKNOWN = CheckState()


def look(table, state=UNKNOWN, *, budget=ROOMY, seconds=60.0, now=NOW, stop=lambda: False):
    opened = open_lake_table(table.lake, "s", "t")
    with MemoryWatch() as watch:
        return KeyCheck(opened, budget, watch, stop, seconds).run(state, now=now)


def test_a_sound_table_passes_and_is_not_read_again(synced):
    table = synced(rows(range(3000)))
    table.sync()
    found, state = look(table)
    assert (found.duplicates, found.nulls, found.rows, found.rows_left) == (0, 0, 3000, 0)
    again, _ = look(table, state)
    assert again.rows == 0


def test_only_files_that_changed_are_read(synced):
    table = synced(rows(range(3000)))
    table.sync()
    _, state = look(table)
    table.sync(replaced(table.source.rows, rows([5], day=9)))
    found, state = look(table, state)
    assert 0 < found.rows < 1000, "one month of five"
    assert look(table, state)[0].rows == 0


@pytest.mark.parametrize("budget", [ROOMY, SMALL])
def test_a_row_added_twice_is_found_in_its_leaf(synced, budget):
    table = synced(rows(range(3000)))
    table.sync()
    _, state = look(table)
    plant(table, rows([7]), "2025-01")
    found, state = look(table, state, budget=budget)
    assert (found.duplicates, found.leaves) == (1, ("2025-01",))
    assert look(table, state)[0].duplicates == 1, "until it is mended every sync says so"


def test_a_stale_copy_in_another_leaf_is_found(synced):
    table = synced(rows(range(3000)))
    table.sync()
    _, state = look(table)
    plant(table, rows([7]), "2025-04")
    found, _ = look(table, state)
    assert (found.duplicates, found.leaves) == (1, ("2025-04",))


def test_a_resync_mends_it(synced):
    table = synced(rows(range(300)))
    table.sync()
    plant(table, rows([7]), "2025-01")
    found, state = look(table)
    assert found.duplicates == 1
    table.sync(full_refresh=True)
    assert look(table, state)[0].duplicates == 0


def test_nulls_in_a_key_are_counted(synced):
    table = synced(rows(range(300)))
    table.sync()
    bad = rows([1000, 1001]).set_column(0, "id", pa.array([None, None], pa.int64()))
    plant(table, bad, "2025-01")
    found, _ = look(table)
    assert (found.nulls, found.leaves) == (2, ("2025-01",))
    assert found.duplicates == 1, "two rows without a key are also the same row"


def test_keys_beyond_the_memory_are_looked_at_in_passes(synced):
    every = rows(range(200_000))
    table = synced(every, page_rows=50_000, partition=HashPartition(0))
    table.sync()
    assert look(table, budget=SMALL)[0].duplicates == 0
    plant(table, rows(range(0, 200_000, 40_000)), "all")
    found, _ = look(table, budget=SMALL)
    assert found.duplicates == 5


def test_two_keys_of_one_hash_are_told_apart(synced, monkeypatch):
    table = synced(rows(range(300)))
    table.sync()
    monkeypatch.setattr(check_keys, "_repeated", lambda parts: np.unique(np.concatenate(parts)))
    assert look(table)[0].duplicates == 0, "every hash is suspect, no value is there twice"
    plant(table, rows([7]), "2025-01")
    assert look(table)[0].duplicates == 1


def test_a_key_of_two_columns_is_unique_as_a_pair(synced):
    pairs = rows(range(300)).append_column("part", pa.array([i % 2 for i in range(300)]))
    table = synced(pairs, primary_key=("id", "part"))
    table.sync()
    other = rows([7]).append_column("part", pa.array([0]))
    plant(table, other, "2025-01")
    assert look(table)[0].duplicates == 0
    plant(table, other, "2025-01")
    assert look(table)[0].duplicates == 1


def test_a_time_limit_leaves_the_rest_to_the_next_sync(synced, monkeypatch):
    table = synced(rows(range(3000)), budget=ROOMY)
    table.sync()
    monkeypatch.setattr(KeyCheck, "_rows_at_once", 1)
    none, state = look(table, seconds=-1)
    assert (none.rows, none.rows_left) == (0, 3000)
    asked = iter([False, True])
    some, state = look(table, state, stop=lambda: next(asked))
    assert 0 < some.rows < 3000
    assert some.rows + some.rows_left == 3000
    rest, _ = look(table, state)
    assert (rest.rows, rest.rows_left) == (some.rows_left, 0)


def test_big_groups_rest_for_a_day(synced, monkeypatch):
    monkeypatch.setattr(check_keys, "BIG_ROWS", 100)
    table = synced(rows(range(300)), partition=HashPartition(0))
    table.sync()
    _, state = look(table)
    table.sync(replaced(table.source.rows, rows([5], day=9)))
    plant(table, rows([7]), "all")
    rested, state = look(table, state)
    assert (rested.rows, rested.duplicates, rested.rows_left) == (0, 0, 301)
    found, _ = look(table, state, now=NOW + timedelta(days=1))
    assert found.duplicates == 1
    assert timedelta(days=1) == check_state.BIG_EVERY


def test_a_narrower_old_file_is_compared_by_value(synced):
    first = rows(range(300)).set_column(0, "id", pa.array(range(300), pa.int32()))
    table = synced(first)
    table.sync()
    table.sync(rows(range(301), day=400))
    assert table.log.snapshot().schema.field("id").type == pa.int64()
    plant(table, rows([7]), "2025-01")
    assert look(table)[0].duplicates == 1

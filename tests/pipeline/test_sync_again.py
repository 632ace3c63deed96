"""What a sync takes for known: rows without a key as often as they are there, a swap only while nobody wrote the lake."""

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.core.table import HashPartition, SyncMode
from tests.pipeline.synced_table import PAGE_BY_PAGE, rows


def alike(count, *, day=0):
    """So many rows that are the same in every column."""
    return pa.concat_tables([rows([7], day=day)] * count)


@pytest.fixture
def keyless(synced):
    def make(source_rows, **options):
        table = synced(source_rows, mode=SyncMode.APPEND, primary_key=(), partition=HashPartition(0), **options)
        table.source.primary_key = ()
        return table

    return make


def test_a_row_that_comes_once_more_at_the_last_value_is_added_once_more(keyless):
    table = keyless(pa.concat_tables([rows(range(5)), alike(2, day=1)]))
    table.sync()
    for count in (3, 3, 6, 6):
        table.sync(pa.concat_tables([rows(range(5)), alike(count, day=1)]))
        assert table.raw_frame().height == 5 + count
    table.sync(pa.concat_tables([rows(range(5)), alike(6, day=1), rows([9], day=2)]))
    assert table.matches()


@pytest.mark.parametrize("pages", range(1, 5))
def test_a_killed_pass_counts_what_it_met(keyless, pages):
    table = keyless(alike(3), page_rows=2, budget=PAGE_BY_PAGE)
    table.sync()
    table.source.fail_after = table.source.pages + pages
    with pytest.raises(ConnectionError):
        table.sync(pa.concat_tables([alike(7), rows([9, 10, 11], day=2)]))
    table.source.fail_after = None
    table.sync()
    assert table.matches()


def test_a_full_refresh_notices_that_somebody_else_took_rows_from_the_lake(synced):
    table = synced(rows(range(20)), mode=SyncMode.FULL_REFRESH, partition=HashPartition(0))
    table.sync()
    assert table.sync().status is Status.UNCHANGED
    left = table.raw_frame().filter(pl.col("id") != 5)
    left.write_delta(table.uri, mode="overwrite", storage_options=table.lake.store.storage_options)
    assert table.raw_frame().height == 19
    table.sync()
    assert table.matches()
    assert table.sync().status is Status.UNCHANGED

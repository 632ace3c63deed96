import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.core.table import HashPartition, NumberPartition, SyncMode
from import_platform.errors import ConfigError, RetryableError
from import_platform.pipeline.split import coarsen
from tests.pipeline.lake_table import in_lake, split
from tests.pipeline.synced_table import PAGE_BY_PAGE, ROOMY, STREAMED, replaced, rows, without

# One hour of `created` per id: 2025-01 holds ids 0..743, 2025-02 holds 744..1415, 2025-03 the rest.


@pytest.fixture(params=["held", "streamed"])
def table(synced, request):
    table = synced(rows(range(1600)), budget=STREAMED if request.param == "streamed" else PAGE_BY_PAGE)
    table.sync()
    return table


def test_a_backfill_reads_its_range_and_replaces_exactly_that(table):
    quiet = table.source.rows  # changed at the source without touching the cursor column
    table.source.rows = replaced(without(quiet, range(800, 900)), rows([744, 1000, 0, 1500], text="y"))
    report = table.backfill("2025-02")
    assert report.rows_read == 572
    assert (report.status, report.partitions_touched) == (Status.DONE, 1)
    expected = replaced(without(quiet, range(800, 900)), rows([744, 1000], text="y"))
    table.source.rows = expected
    assert table.matches(), "rows of other months stay as they are, though the source has newer ones"


def test_a_backfill_does_not_move_the_cursor(table):
    before = table.sync().cursor_value
    table.source.rows = replaced(table.source.rows, rows([744], day=50, text="y"))
    assert table.backfill("2025-02").cursor_value == before
    table.source.rows = replaced(table.source.rows, rows([1, 1599], day=51, text="z"))
    assert table.sync().rows_updated == 3
    assert table.matches()


def test_a_row_that_moved_into_the_range_leaves_no_copy_in_its_old_leaf(table):
    moved = rows([5]).set_column(1, "created", rows([800]).column("created"))
    table.source.rows = replaced(table.source.rows, moved)
    table.backfill("2025-02")
    assert table.matches()


def test_a_row_that_moved_out_of_the_range_is_gone_until_a_sync_brings_it(table):
    moved = rows([800], day=9).set_column(1, "created", rows([5]).column("created"))
    table.source.rows = replaced(table.source.rows, moved)
    table.backfill("2025-02")
    assert 800 not in table.lake_frame()["id"]
    table.sync()
    assert table.matches()


def test_a_range_that_is_empty_at_the_source_becomes_empty(table):
    table.source.rows = without(table.source.rows, range(744, 1416))
    table.backfill("2025-02")
    assert table.matches()
    assert list(table.leaves()) == ["2025-01", "2025-03"]


def test_a_range_that_the_lake_lacks_is_loaded(table):
    table.source.rows = rows(range(3000))
    table.backfill("2025-04")
    assert table.leaves()["2025-04"] == 720


def test_a_table_can_begin_with_backfills(synced):
    table = synced(rows(range(1600)))
    table.backfill("2025-02")
    assert table.leaves() == {"2025-02": 672}
    table.sync()
    assert table.matches()


def test_a_coarser_key_replaces_every_leaf_below(table):
    table.source.rows = without(table.source.rows, range(0, 1600, 7))
    table.backfill("2025")
    assert table.matches()


@pytest.mark.parametrize("files", ["one", "several"])
def test_a_key_inside_a_larger_leaf_replaces_exactly_its_own_rows(table, files):
    """A day of the leaf 2025-02: rows of that day are replaced and deleted, those of other days are not looked at."""
    if files == "several":
        table.sync(replaced(table.source.rows, rows(range(700, 900), day=1)))
    stays = table.source.rows
    february_first = range(31 * 24, 32 * 24)
    changed = replaced(without(stays, [745, 746]), rows([747, 800], day=5, text="y"))
    table.source.rows = changed
    report = table.backfill("2025-02-01")
    assert report.rows_read == 22
    lake = table.lake_frame()
    assert set(february_first) - set(lake["id"]) == {745, 746}
    assert lake.filter(pl.col("id") == 747)["text"].item() == "y747"
    assert lake.filter(pl.col("id") == 800)["text"].item() == "x800", "another day is not of this backfill"
    assert lake.height == stays.num_rows - 2
    table.sync()
    assert table.matches()


def test_a_key_of_leaves_that_were_merged_back_since_replaces_exactly_its_range(table):
    coarsen(in_lake(table), "2025", budget=ROOMY)
    table.source.rows = without(replaced(table.source.rows, rows([800], day=5, text="y")), [801, 10])
    table.backfill("2025-02")
    ids = set(table.lake_frame()["id"])
    assert 801 not in ids
    assert 10 in ids, "January is not of this backfill"
    assert list(table.leaves()) == ["2025"]
    assert table.lake_frame().filter(pl.col("id") == 800)["text"].item() == "y800"


@pytest.mark.parametrize("when", [2, 5])
def test_a_split_under_a_backfill_changes_where_rows_lie_and_nothing_else(table, when):
    table.source.rows = replaced(without(table.source.rows, [801]), rows([800], day=5, text="y"))
    during(table, when, lambda: split(table, "2025-02", limit_bytes=2000))
    table.backfill("2025-02")
    assert table.matches()
    assert "2025-02" not in table.leaves()


@pytest.mark.parametrize("when", [2, 5])
def test_a_merge_back_under_a_backfill_changes_where_rows_lie_and_nothing_else(table, when):
    table.source.rows = replaced(without(table.source.rows, [801]), rows([800], day=5, text="y"))
    during(table, when, lambda: coarsen(in_lake(table), "2025", budget=ROOMY))
    table.backfill("2025-02")
    assert table.matches()
    assert list(table.leaves()) == ["2025"]


def test_null_and_absurd_values_are_a_range_too(synced):
    table = synced(rows(range(10)))
    frame = pl.DataFrame(pl.from_arrow(rows([20, 21]))).with_columns(created=pl.lit(None, pl.Datetime("us", "UTC")))
    table.source.rows = replaced(rows(range(10)), frame.to_arrow().cast(rows([]).schema))
    table.sync()
    table.source.rows = without(table.source.rows, [21])
    report = table.backfill("null")
    assert report.rows_read == 1
    assert table.matches()


@pytest.mark.parametrize(("partition", "key"), [(NumberPartition("id", 100), "n100_3"), (HashPartition(2), "all"),
                                                (HashPartition(0), "all"), (NumberPartition("id", 100), "null")])  # fmt: skip
def test_every_kind_of_partition_can_be_backfilled(synced, partition, key):
    table = synced(rows(range(1000)), partition=partition)
    table.sync()
    gone = range(310, 320) if key != "null" else []
    table.source.rows = replaced(without(table.source.rows, gone), rows([301, 399] if key != "null" else [], text="y"))
    table.backfill(key)
    assert table.matches()


@pytest.mark.parametrize("mode", [SyncMode.FULL_REFRESH, SyncMode.APPEND])
def test_tables_of_the_other_modes_can_be_backfilled(synced, mode):
    table = synced(rows(range(1600)), mode=mode)
    table.sync()
    table.source.rows = without(replaced(table.source.rows, rows([800], text="y")), [801])
    table.backfill("2025-02")
    assert table.matches()
    table.sync()
    assert table.matches()


def test_a_keyless_append_table_can_be_backfilled(synced):
    table = synced(rows(range(1600)), mode=SyncMode.APPEND, primary_key=())
    table.source.primary_key = ()
    table.sync()
    table.source.rows = without(table.source.rows, [801])
    table.backfill("2025-02")
    assert table.matches()


def test_a_key_of_another_kind_is_refused_and_reads_nothing(table):
    reads = len(table.source.reads)
    with pytest.raises(ConfigError):
        table.backfill("n100_3")
    assert len(table.source.reads) == reads


def test_a_killed_backfill_goes_on(table):
    table.source.rows = without(table.source.rows, [801])
    table.source.fail_after = table.source.pages + 4
    with pytest.raises(ConnectionError):
        table.backfill("2025-02")
    table.source.fail_after = None
    report = table.backfill("2025-02")
    assert (report.resumed, report.rows_read) == (True, 271)
    assert table.matches()


def test_a_sync_and_a_backfill_may_be_unfinished_side_by_side(table):
    table.source.rows = replaced(without(table.source.rows, [801]), rows(range(0, 1600, 3), day=5, text="y"))
    table.source.rows = without(table.source.rows, [801])
    for start in (lambda: table.backfill("2025-02"), table.sync):
        table.source.fail_after = table.source.pages + 2
        with pytest.raises(ConnectionError):
            start()
    table.source.fail_after = None
    assert table.sync().resumed
    assert table.backfill("2025-02").status is Status.DONE
    assert table.matches()


def during(table, page, work):
    """Runs `work` once, just before the page of that number of the read that is under way."""
    start, done = table.source.pages, []

    def interfere(given):
        if given == start + page and not done:
            done.append(1)
            work()

    table.source.on_page = interfere


def test_a_sync_that_commits_into_the_range_meanwhile_is_not_undone(table):
    old = table.source.rows
    new = replaced(old, rows([800, 1700], day=5, text="new"))

    def sync():
        table.sync(new)
        table.source.rows = new

    during(table, 3, sync)
    table.backfill("2025-02")
    assert table.matches()


def test_a_sync_beside_a_backfill_that_inserts_a_key_elsewhere_is_not_undone(table):
    """The backfill has read a new row in February; then it moves to January at the source, and a sync brings it there."""
    february = rows([5000], day=2).set_column(1, "created", rows([800]).column("created"))
    january = rows([5000], day=3, text="moved").set_column(1, "created", rows([5]).column("created"))
    table.source.rows = replaced(table.source.rows, february)
    stale = table.source.rows
    fresh = replaced(stale, january)

    def sync():
        table.sync(fresh)
        table.source.rows = fresh

    during(table, 5, sync)
    frame = pl.DataFrame(pl.from_arrow(stale))
    assert frame.height == 1601
    for _ in range(3):
        try:
            table.backfill("2025-02")
            break
        except RetryableError:
            continue
    table.source.rows = fresh
    table.sync()
    assert table.matches()


def test_a_backfill_that_commits_under_a_sync_does_not_stop_it(table):
    table.source.rows = replaced(without(table.source.rows, [801]), rows(range(0, 1600, 2), day=5, text="y"))
    during(table, 3, lambda: table.backfill("2025-02"))
    table.sync()
    assert table.matches()


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("settled", [True, False])
def test_a_backfill_of_an_append_table_does_not_bring_what_the_next_sync_will(synced, settled, keyed):
    """Rows past the cursor, and at a cursor value that is not settled rows that no sync has seen."""
    key = ("id",) if keyed else ()
    table = synced(rows(range(1000)), mode=SyncMode.APPEND, settled=settled, primary_key=key)
    table.source.primary_key = key
    table.sync()
    same = rows([1100]).set_column(2, "updated", rows([999]).column("updated"))
    grown = pa.concat_tables([table.source.rows, rows(range(1001, 1050)), *([] if settled else [same])])
    table.source.rows = without(grown, [800])
    table.backfill("2025-02")
    assert table.lake_frame()["id"].to_list() == [i for i in range(1000) if i != 800]
    table.sync()
    assert table.matches()
    table.backfill("2025-02")
    table.sync()
    assert table.matches()


def test_an_append_table_may_begin_with_a_backfill(synced):
    table = synced(rows(range(1600)), mode=SyncMode.APPEND)
    table.backfill("2025-02")
    assert table.leaves() == {"2025-02": 672}
    table.sync()
    assert table.matches()
    table.sync()
    assert table.matches()

"""A backfill whose range changes under it: it is read once, and every row ends as the newest that either has seen."""

import functools
import itertools
import random

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.core.table import NumberPartition, SyncMode
from import_platform.pipeline.maintain import compact_leaf
from import_platform.pipeline.split import coarsen
from tests.pipeline.lake_table import in_lake, split
from tests.pipeline.synced_table import PAGE_BY_PAGE, ROOMY, STREAMED, SyncedTable, replaced, rows, without

# One hour of `created` per id: 2025-01 holds ids 0..743, 2025-02 holds 744..1415, 2025-03 the rest.
FEBRUARY = range(744, 1416)


@pytest.fixture(params=["held", "streamed"])
def table(synced, request):
    table = synced(rows(range(1600)), budget=STREAMED if request.param == "streamed" else PAGE_BY_PAGE)
    table.sync()
    return table


def beside(table: SyncedTable, work, *, key: str = "2025-02", page: int = 3):
    """Backfills the key, `work` done once while it is read; returns its report and how often the range was read."""
    start, done, reads = table.source.pages, [], len(table.source.reads)

    def interfere(given):
        if given == start + page and not done:
            done.append(len(table.source.reads))
            work()
            done.append(len(table.source.reads))

    table.source.on_page = interfere
    report = table.backfill(key)
    table.source.on_page = None
    assert len(done) == 2, "nothing happened meanwhile"
    return report, len(table.source.reads) - reads - (done[1] - done[0])


def text_of(table: SyncedTable, id_: int) -> str | None:
    found = table.lake_frame().filter(pl.col("id") == id_)["text"].to_list()
    assert len(found) <= 1
    return found[0] if found else None


def created_at(changed: pa.Table, id_: int) -> pa.Table:
    """The rows as if created when `id_` was."""
    return changed.set_column(1, "created", rows([id_] * changed.num_rows).column("created"))


def test_newer_and_new_rows_of_a_sync_survive_and_the_range_is_read_once(table):
    after = replaced(table.source.rows, rows([744, 1000, 1415], day=5, text="newer"))
    after = pa.concat_tables([after, created_at(rows([9000], day=6), 800)])
    report, reads = beside(table, lambda: table.sync(after))
    assert (reads, report.status) == (1, Status.DONE)
    assert table.matches()


def test_a_row_that_the_source_lost_goes_away_though_a_sync_rewrote_its_file(table):
    table.source.rows = without(table.source.rows, [800, 801])
    after = replaced(table.source.rows, rows([802], day=5, text="newer"))
    _, reads = beside(table, lambda: table.sync(after))
    assert reads == 1
    assert table.matches()


def test_a_row_that_came_back_at_the_source_meanwhile_stays(table):
    table.source.rows = without(table.source.rows, [800, 801])
    after = pa.concat_tables([table.source.rows, rows([800], day=5, text="back")])
    beside(table, lambda: table.sync(after))
    assert (text_of(table, 800), text_of(table, 801)) == ("back800", None)
    assert table.matches()


def test_what_the_pass_has_seen_wins_where_the_cursor_is_the_same(table):
    """It was changed at the source without touching its cursor column: that is what the backfill is for."""
    table.source.rows = replaced(table.source.rows, rows([800], text="quietly"))
    beside(table, lambda: split(table, "2025-02", limit_bytes=2000))
    assert text_of(table, 800) == "quietly800"
    assert table.matches()


def test_a_pass_that_has_seen_the_newer_version_wins_over_an_older_sync(table):
    """The sync's rows were staged long before: it commits last and has the older version."""
    stale = replaced(table.source.rows, rows([800], day=3, text="older"))
    fresh = replaced(table.source.rows, rows([800], day=4, text="newer"))
    table.source.rows = fresh

    def late_sync():
        table.sync(stale)
        table.source.rows = fresh

    _, reads = beside(table, late_sync)
    assert reads == 1
    assert text_of(table, 800) == "newer800"


def test_a_row_that_moved_out_meanwhile_is_in_its_new_leaf_only(table):
    moved = created_at(rows([800], day=5, text="moved"), 5)
    after = replaced(table.source.rows, moved)
    _, reads = beside(table, lambda: table.sync(after))
    assert reads == 1
    assert text_of(table, 800) == "moved800"
    assert table.matches()


def test_a_row_that_moved_in_meanwhile_stays(table):
    after = replaced(table.source.rows, created_at(rows([5], day=5, text="moved"), 800))
    _, reads = beside(table, lambda: table.sync(after))
    assert reads == 1
    assert text_of(table, 5) == "moved5"
    assert table.matches()


def test_a_row_that_moved_in_before_leaves_no_copy_though_its_old_file_is_new(table):
    table.source.rows = replaced(table.source.rows, created_at(rows([5], text="moved"), 800))
    after = replaced(table.source.rows, rows([6], day=5, text="newer"))
    _, reads = beside(table, lambda: table.sync(after))
    assert reads == 1
    assert text_of(table, 5) == "moved5"
    assert table.matches()


def test_the_cursor_is_that_of_the_sync_that_committed_in_between(table):
    after = replaced(table.source.rows, rows([800], day=5, text="newer"))
    synced = []
    report, _ = beside(table, lambda: synced.append(table.sync(after).cursor_value))
    assert [report.cursor_value] == synced
    assert table.sync(replaced(after, rows([1, 900], day=6, text="z"))).rows_read <= 3
    assert table.matches()


def halves(table):
    """A file of the range by itself, so that a compaction has something to do."""
    table.sync(replaced(table.source.rows, rows(range(744, 900), day=1)))


@pytest.mark.parametrize("change", ["split", "merged back", "compacted", "split and synced", "swapped"])
def test_a_layout_that_changes_under_a_pass_costs_no_second_reading(table, change):
    halves(table)
    table.source.rows = without(replaced(table.source.rows, rows([900], text="quietly")), [801, 901])
    after = replaced(table.source.rows, rows([1000], day=5, text="newer"))

    def work():
        if "split" in change:
            split(table, "2025-02", limit_bytes=2000)
        if change == "merged back":
            coarsen(in_lake(table), "2025", budget=ROOMY)
        if change == "compacted":
            compact_leaf(in_lake(table), "2025-02", budget=ROOMY)
        if "synced" in change:
            table.sync(after)
        if change == "swapped":
            table.sync(after, full_refresh=True)

    _, reads = beside(table, work)
    assert reads == 1
    assert table.matches()


def test_a_key_inside_a_larger_leaf_yields_to_newer_rows_too(table):
    table.source.rows = without(table.source.rows, [745])
    after = replaced(table.source.rows, rows([746, 900], day=5, text="newer"))
    after = pa.concat_tables([after, created_at(rows([9000], day=6), 750)])
    report, reads = beside(table, lambda: table.sync(after), key="2025-02-01", page=0)
    assert (reads, report.rows_read) == (1, 23)
    assert table.matches()


def test_a_key_coarser_than_its_leaves_yields_to_newer_rows_too(table):
    table.source.rows = without(table.source.rows, [5, 800, 1500])
    after = replaced(table.source.rows, rows([6, 801, 1501], day=5, text="newer"))
    _, reads = beside(table, lambda: table.sync(after), key="2025")
    assert reads == 1
    assert table.matches()


def test_a_killed_pass_goes_on_though_the_range_changed_since(table):
    table.source.rows = without(table.source.rows, [801])
    table.source.fail_after = table.source.pages + 4
    with pytest.raises(ConnectionError):
        table.backfill("2025-02")
    table.source.fail_after = None
    table.sync(replaced(table.source.rows, rows([744, 1000], day=5, text="newer")))
    split(table, "2025-02", limit_bytes=2000)
    report = table.backfill("2025-02")
    assert (report.resumed, report.rows_read) == (True, 271)
    assert table.matches()


def test_a_table_that_a_sync_makes_meanwhile_keeps_its_rows(synced):
    table = synced(rows(range(1600)))
    after = replaced(table.source.rows, rows([800], day=5, text="newer"))
    beside(table, lambda: table.sync(after))
    assert table.matches()


def test_a_row_without_a_cursor_value_is_the_oldest(table):
    nothing = pa.array([None], pa.timestamp("us", "UTC"))
    table.source.rows = replaced(table.source.rows, rows([800], text="none").set_column(2, "updated", nothing))
    after = replaced(table.source.rows, rows([800], day=5, text="newer"))
    beside(table, lambda: table.sync(after))
    assert text_of(table, 800) == "newer800"


def test_a_row_that_a_full_refresh_took_away_meanwhile_does_not_come_back(table):
    """The pass has seen it, the full refresh has not: nobody can tell which is newer, so the range is read again."""
    after = without(table.source.rows, [800])
    _, reads = beside(table, lambda: table.sync(after, full_refresh=True))
    assert reads == 2
    assert text_of(table, 800) is None
    assert table.matches()


def with_marks(ids, *, day=0, text="x", deleted=False):
    made = rows(ids, day=day, text=text)
    return made.append_column("gone", pa.array([deleted] * made.num_rows))


@pytest.mark.parametrize("budget", [STREAMED, PAGE_BY_PAGE], ids=["streamed", "held"])
def test_a_row_that_a_sync_learned_to_be_deleted_meanwhile_does_not_come_back(synced, budget):
    table = synced(with_marks(range(1600)), budget=budget, declared={"deleted": "gone"})
    table.sync()
    marked = with_marks([800], day=5, deleted=True)
    _, reads = beside(table, lambda: table.sync(replaced(table.source.rows, marked)))
    assert reads == 2
    assert text_of(table, 800) is None
    assert table.lake_frame().height == 1599


@pytest.mark.parametrize("budget", [STREAMED, PAGE_BY_PAGE], ids=["streamed", "held"])
def test_rows_marked_as_deleted_are_not_in_the_lake_though_others_are_newer(synced, budget):
    table = synced(with_marks(range(1600)), budget=budget, declared={"deleted": "gone"})
    table.sync()
    table.source.rows = replaced(table.source.rows, with_marks([801], deleted=True))
    _, reads = beside(table, lambda: table.sync(replaced(table.source.rows, with_marks([802], day=5, text="newer"))))
    assert reads == 1
    assert (text_of(table, 801), text_of(table, 802)) == (None, "newer802")
    assert table.lake_frame().height == 1599


def test_null_keys_meet_null_keys(synced):
    def with_null_key(text, day):
        return rows([0], day=day, text=text).set_column(0, "id", pa.array([None], pa.int64()))

    table = synced(rows(range(1, 10)), primary_key=("id",), partition=NumberPartition("id", 100))
    table.source.rows = pa.concat_tables([rows(range(1, 10)), with_null_key("x", 0)])
    table.sync()
    after = pa.concat_tables([rows(range(1, 10)), with_null_key("newer", 5)])
    beside(table, lambda: table.sync(after), key="null", page=0)
    assert table.lake_frame().filter(pl.col("id").is_null())["text"].to_list() == ["newer0"]


@pytest.mark.parametrize("keyed", [True, False])
def test_rows_appended_meanwhile_stay(synced, keyed):
    key = ("id",) if keyed else ()
    table = synced(rows(range(1200)), mode=SyncMode.APPEND, settled=True, primary_key=key)
    table.source.primary_key = key
    table.sync()
    table.source.rows = without(table.source.rows, [800])
    after = pa.concat_tables([table.source.rows, rows(range(1200, 1300))])
    beside(table, lambda: table.sync(after))
    assert table.matches()


def test_a_table_without_a_cursor_reads_its_range_again(synced):
    table = synced(rows(range(1600)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    after = without(replaced(table.source.rows, rows([800], text="newer")), [801])
    _, reads = beside(table, lambda: table.sync(after))
    assert reads == 2
    assert table.matches()


@pytest.mark.parametrize("seed", range(12))
def test_random_work_beside_random_backfills_ends_where_the_source_is(synced, seed):
    """Rows vanish at the source from the backfilled range only, before it is read; everything else may happen."""
    dice, days = random.Random(seed), itertools.count(1)
    table = synced(rows(range(1600)), budget=dice.choice([STREAMED, PAGE_BY_PAGE]))
    table.sync()
    for _ in range(3):
        gone = dice.sample(FEBRUARY, 20)
        table.source.rows = without(replaced(table.source.rows, rows(dice.sample(FEBRUARY, 5), text="quiet")), gone)
        if dice.random() < 0.5:
            table.sync()
        work = [functools.partial(act, table, dice, next(days)) for _ in range(dice.randrange(1, 5))]
        _, reads = beside(table, lambda work=work: [each() for each in work], page=dice.randrange(4))
        assert reads == 1
        table.sync()
        assert table.matches()


def act(table: SyncedTable, dice: random.Random, day: int) -> None:
    """Something at the source or in the lake; what changes at the source is newer than all before."""
    some = dice.sample(range(1600), 10)
    match dice.choice(["update", "insert", "move", "split", "coarsen", "sync", "sync"]):
        case "update":
            table.source.rows = replaced(table.source.rows, rows(some, day=day, text=f"u{day}-"))
        case "insert":
            new = created_at(rows([2000 + day], day=day), some[0])
            table.source.rows = pa.concat_tables([table.source.rows, new])
        case "move":
            moved = created_at(rows(some[:1], day=day, text=f"m{day}-"), some[1])
            table.source.rows = replaced(table.source.rows, moved)
        case "split":
            split(table, dice.choice(sorted(table.leaves())), limit_bytes=4000)
        case "coarsen":
            coarsen(in_lake(table), dice.choice(["2025-02", "2025"]), budget=ROOMY)
        case "sync":
            table.sync()

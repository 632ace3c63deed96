"""A flush that steps share ends as the flush of one step does: after kills, rivals and splits in between too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.fan_out import FanOut, FanOutPlan
from import_platform.core.report import Status, SyncReport
from import_platform.core.table import SyncMode
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.fan_out import planned_table, write_part
from import_platform.pipeline.merge import Merge
from tests.pipeline.lake_table import files_in_log, files_on_disk, split
from tests.pipeline.synced_table import ROOMY, STREAMED, SyncedTable, replaced, rows, without

SHARED = FanOut(over_bytes=1, steps=3)
FIRST = rows(range(4000))
"""Five months and a half of hourly rows."""

Make = Callable[..., SyncedTable]


def begin(table: SyncedTable, source_rows: pa.Table | None = None, **changed: Any) -> FanOutPlan:
    """A sync that reads everything and leaves its flush to steps."""
    report = table.sync(source_rows, fan_out=SHARED, **changed)
    assert report.status is Status.CHECKPOINTED
    planned = planned_table(table.lake, "s", table.source.name)
    assert planned is not None
    return planned.plan


def work(table: SyncedTable, numbers: list[int] | None = None, budget: Any = ROOMY) -> None:
    planned = planned_table(table.lake, "s", table.source.name)
    assert planned is not None
    for part in planned.plan.parts:
        if numbers is None or part.number in numbers:
            write_part(planned, part, budget)


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The share of every merge that is made from here on; None for the whole flush."""
    made: list[Any] = []
    init = Merge.__init__

    def noted(self: Merge, *args: Any, **kwargs: Any) -> None:
        share = kwargs.get("share")
        made.append(share.share if share is not None else None)
        init(self, *args, **kwargs)

    monkeypatch.setattr(Merge, "__init__", noted)
    return made


def changed_everywhere() -> pa.Table:
    """Updates in every month, new rows in two, and rows that move to another month."""
    new = rows(range(4000, 4200), day=40)
    moved = rows(range(0, 4000, 50), day=41, text="moved")
    elsewhere = rows([(i + 2000) % 4000 for i in range(0, 4000, 50)])["created"]
    moved = moved.set_column(1, "created", elsewhere)
    return replaced(replaced(FIRST, rows(range(0, 4000, 3), day=40, text="y")), pa.concat_tables([new, moved]))


@pytest.mark.parametrize(
    ("mode", "budget"),
    [
        (SyncMode.INCREMENTAL, ROOMY),
        (SyncMode.FULL_REFRESH, ROOMY),
        (SyncMode.FULL_REFRESH, STREAMED),
        (SyncMode.APPEND, ROOMY),
    ],
)
def test_shared_or_not_the_lake_and_the_report_are_the_same(
    lake: Any, synced: Make, mode: SyncMode, budget: Any
) -> None:
    alone = synced(FIRST, mode=mode, budget=budget, page_rows=1000)
    shared = synced(FIRST, mode=mode, budget=budget, page_rows=1000, name="u")
    for table in (alone, shared):
        table.sync()
    after = (
        changed_everywhere()
        if mode is not SyncMode.APPEND
        else pa.concat_tables([FIRST, rows(range(4000, 4500), day=60)])
    )
    whole = alone.sync(after)
    begin(shared, after)
    version = shared.version
    work(shared, budget=budget)
    assert shared.version == version
    gathered = shared.sync()
    assert shared.version == version + 1
    assert alone.matches()
    assert shared.matches()
    for name in ("rows_inserted", "rows_updated", "rows_deleted", "partitions_touched", "cursor_value"):
        assert getattr(gathered, name) == getattr(whole, name), name
    assert gathered.status is Status.DONE
    assert shared.leaves() == alone.leaves()
    assert files_on_disk(shared) >= files_in_log(shared)


def test_a_first_load_is_shared_too(synced: Make, merges: list[Any]) -> None:
    table = synced(FIRST, page_rows=1000)
    plan = begin(table)
    assert (plan.version, len(plan.parts)) == (-1, 3)
    work(table)
    assert None not in merges
    del merges[:]
    table.sync()
    assert merges == []  # nothing was merged again
    assert (table.matches(), table.version) == (True, 0)
    assert files_on_disk(table) == files_in_log(table)


def test_the_parts_are_balanced_and_hold_every_leaf_once(synced: Make) -> None:
    table = synced(FIRST, page_rows=1000)
    plan = begin(table)
    leaves = [leaf for part in plan.parts for leaf in part.leaves]
    assert sorted(leaves) == sorted(plan.counts)
    assert sum(part.rows for part in plan.parts) == 4000
    assert max(part.rows for part in plan.parts) < 2000


@pytest.mark.parametrize("over", [10**12, None])
def test_a_small_flush_or_one_that_nobody_wants_shared_is_done_at_once(synced: Make, over: int | None) -> None:
    table = synced(FIRST, page_rows=1000)
    report = table.sync(fan_out=FanOut(over) if over else None)
    assert (report.status, table.matches()) == (Status.DONE, True)
    assert planned_table(table.lake, "s", "t") is None


def test_one_leaf_is_not_shared(synced: Make) -> None:
    table = synced(rows(range(300)))
    assert table.sync(fan_out=SHARED).status is Status.DONE


def test_a_part_that_nobody_wrote_is_merged_by_the_commit_and_only_that_one(synced: Make, merges: list[Any]) -> None:
    table = synced(FIRST, page_rows=1000)
    table.sync()
    plan = begin(table, changed_everywhere())
    work(table, [1, 3])
    del merges[:]
    table.sync()
    [share] = merges
    assert share.others
    assert share.leaves == set(plan.parts[0].leaves) | set(plan.parts[2].leaves)
    assert table.matches()


def test_without_any_part_the_flush_is_the_ordinary_one(synced: Make, merges: list[Any]) -> None:
    table = synced(FIRST, page_rows=1000)
    table.sync()
    begin(table, changed_everywhere())
    del merges[:]
    table.sync()
    assert merges == [None]
    assert table.matches()


def test_a_part_is_written_once_however_often_its_step_is_tried(synced: Make, merges: list[Any]) -> None:
    table = synced(FIRST, page_rows=1000)
    table.sync()
    begin(table, changed_everywhere())
    work(table, [2])
    before = files_on_disk(table)
    del merges[:]
    work(table, [2])
    assert (merges, files_on_disk(table)) == ([], before)


def edited(table: SyncedTable, changed: pa.Table) -> None:
    """Another writer's commit that is none of a sync."""
    from import_platform.pipeline.context import open_table
    from import_platform.pipeline.edit import Edit

    opened = open_table(table.context())
    assert opened.snapshot is not None
    with Edit(opened, opened.snapshot, kind="test") as edit:
        edit.put(changed.to_batches()[0])
        edit.commit(SyncReport("s/t"))


def test_a_commit_in_between_makes_only_the_parts_anew_whose_leaves_it_touched(synced: Make, merges: list[Any]) -> None:
    table = synced(FIRST, page_rows=1000)
    table.sync()
    after = changed_everywhere()
    plan = begin(table, after)
    work(table)
    edited(table, rows(range(1, 4), day=1, text="older"))  # January: what the flush changes there has to win
    del merges[:]
    table.sync()
    [share] = merges
    [touched] = [part for part in plan.parts if "2025-01" in part.leaves]
    assert share.leaves == {leaf for part in plan.parts if part is not touched for leaf in part.leaves}
    expected = replaced(after, rows([i for i in range(1, 4) if i % 3 and i % 50], day=1, text="older"))
    table.source.rows = expected
    assert table.matches()
    assert files_in_log(table) <= files_on_disk(table)


def test_a_row_that_another_writer_put_into_a_new_leaf_is_found(synced: Make) -> None:
    """Its key is one of the flush, which puts it elsewhere: both must not stay."""
    table = synced(FIRST, page_rows=1000)
    table.sync()
    after = pa.concat_tables([FIRST, rows(range(4000, 4010), day=40)])
    begin(table, pa.concat_tables([after, rows(range(9000, 9010), day=40)]))
    work(table)
    elsewhere = rows(range(20000, 20010), day=1)
    edited(table, elsewhere.set_column(0, "id", pa.array(range(4000, 4010), pa.int64())))
    table.sync()
    assert table.matches()


def test_a_split_in_between_moves_the_rows_of_its_part(synced: Make, merges: list[Any]) -> None:
    table = synced(FIRST, page_rows=1000)
    table.sync()
    begin(table, changed_everywhere())
    work(table)
    split(table, "2025-02")
    assert "2025-02" not in table.leaves()
    del merges[:]
    table.sync()
    assert [share.others for share in merges] == [True]
    assert table.matches()


def test_rows_deleted_by_their_mark_go_away_in_every_part(synced: Make) -> None:
    def marked(table: pa.Table, gone: set[int]) -> pa.Table:
        return table.append_column("gone", pa.array([i in gone for i in table["id"].to_pylist()], pa.bool_()))

    table = synced(marked(FIRST, set()), declared={"deleted": "gone"})
    table.sync()
    dead = set(range(0, 4000, 7))
    changed = replaced(marked(FIRST, set()), marked(rows(range(0, 4000, 7), day=50), dead))
    begin(table, changed)
    work(table)
    report = table.sync()
    assert report.rows_deleted == len(dead)
    table.source.rows = without(changed, sorted(dead))
    assert table.lake_frame()["id"].to_list() == table.source_frame()["id"].to_list()


def test_a_sync_between_plan_and_commit_takes_the_parts_that_are_there(synced: Make, merges: list[Any]) -> None:
    table = synced(FIRST, page_rows=1000)
    begin(table)
    work(table, [1, 2])
    report = table.sync(fan_out=SHARED)  # wanted again: it was left to steps once, which is enough
    assert report.status is Status.DONE
    assert table.matches()


def test_a_column_that_is_new_is_added_before_the_steps_begin(synced: Make) -> None:
    table = synced(FIRST, page_rows=1000)
    table.sync()
    wider = changed_everywhere().append_column("extra", pa.array([1] * 4200, pa.int64()))
    begin(table, wider)
    work(table)
    table.sync()
    frame = table.raw_frame().filter(pl.col("extra").is_not_null())
    assert frame.height == 4000 // 3 + 1 + 200 + len([i for i in range(0, 4000, 50) if i % 3])


def test_the_context_wants_no_sharing_by_itself() -> None:
    assert TableContext.__dataclass_fields__["fan_out"].default is None

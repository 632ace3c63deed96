"""Random histories of a table: after every step the lake equals a model that is one line of Python per step."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from import_platform.core.table import Granularity, HashPartition, NumberPartition, SyncMode, TimePartition
from import_platform.io.lake import Lake
from tests.pipeline.list_source import ListSource
from tests.pipeline.synced_table import EPOCH, PAGE_BY_PAGE, ROOMY, STREAMED, SyncedTable

US = pa.timestamp("us", "UTC")
KEYS = st.one_of(st.none(), st.integers(0, 12))
DAYS = st.one_of(st.none(), st.integers(0, 400))
PARTITIONS = st.sampled_from([
    TimePartition("created", Granularity.MONTH), TimePartition("created", Granularity.DAY),
    NumberPartition("id", 10), HashPartition(0), HashPartition(2),
])  # fmt: skip


@dataclass
class Row:
    day: int | None
    text: str
    updated: int


@dataclass
class World:
    """The source as a dict by key, and what the lake should hold."""

    source: dict[int | None, Row] = field(default_factory=dict)
    lake: dict[int | None, Row] = field(default_factory=dict)
    clock: int = 0
    cursor: int | None = None

    def table(self) -> pa.Table:
        items = list(self.source.items())
        return pa.table({
            "id": pa.array([key for key, _ in items], pa.int64()),
            "created": pa.array([None if r.day is None else EPOCH + timedelta(days=r.day) for _, r in items], US),
            "updated": pa.array([EPOCH + timedelta(seconds=r.updated) for _, r in items], US),
            "text": pa.array([r.text for _, r in items], pa.string()),
        })  # fmt: skip

    def incremental(self) -> None:
        changed = {k: r for k, r in self.source.items() if self.cursor is None or r.updated >= self.cursor}
        self.lake |= changed
        if self.source:
            self.cursor = max(row.updated for row in self.source.values())

    def full_refresh(self) -> None:
        self.lake = dict(self.source)
        if self.source:
            self.cursor = max(row.updated for row in self.source.values())


WRITE = st.tuples(st.just("write"), KEYS, DAYS, st.booleans())
STEPS = st.one_of(
    WRITE, WRITE, WRITE, st.tuples(st.just("delete"), KEYS), st.just(("sync",)), st.just(("sync",)),
    st.just(("full refresh",)), st.tuples(st.just("die"), st.integers(0, 3)), st.just(("short",)),
)  # fmt: skip


def write(world: World, key, day, later: bool) -> None:
    world.clock += later  # several rows may share the last cursor value
    world.source[key] = Row(day, f"v{world.clock}", world.clock)


def apply(world: World, table: SyncedTable, step) -> None:
    table.source.rows = world.table()
    match step:
        case ("write", key, day, later):
            write(world, key, day, later)
        case ("delete", key):
            world.source.pop(key, None)
        case ("full refresh",):
            table.sync(full_refresh=True)
            world.full_refresh()
        case _:
            if step[0] == "die":
                table.source.fail_after = table.source.pages + step[1]
                try:
                    table.sync()
                except ConnectionError:
                    table.source.fail_after = None
            elif step[0] == "short":
                table.sync(max_run_seconds=0)
            table.source.fail_after = None
            while str(table.sync().status) == "checkpointed":
                pass
            world.incremental()


def in_lake(table: SyncedTable) -> dict:
    if table.version < 0:
        return {}
    frame = table.lake_frame()
    found = {row["id"]: row for row in frame.iter_rows(named=True)}
    assert len(found) == frame.height, "a key is there twice"
    return found


def check(world: World, table: SyncedTable) -> None:
    found = in_lake(table)
    assert found.keys() == world.lake.keys()
    for key, row in world.lake.items():
        day = None if row.day is None else EPOCH + timedelta(days=row.day)
        assert (found[key]["text"], found[key]["created"]) == (row.text, day)


def play(steps, partition, budget) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World()
        source = ListSource(world.table(), page_rows=3)
        table = SyncedTable(Lake(folder), source, partition=partition, budget=budget)
        for step in steps:
            apply(world, table, step)
            if step[0] not in ("write", "delete"):
                check(world, table)
        apply(world, table, ("sync",))
        check(world, table)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.parametrize("budget", [ROOMY, PAGE_BY_PAGE, STREAMED], ids=["held", "chunk by chunk", "streamed"])
@settings(max_examples=12, deadline=None, suppress_health_check=QUIET)
@given(steps=st.lists(STEPS, max_size=14), partition=PARTITIONS)
def test_after_every_sync_the_lake_equals_the_model(steps, partition, budget):
    play(steps, partition, budget)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [ROOMY, PAGE_BY_PAGE, STREAMED], ids=["held", "chunk by chunk", "streamed"])
@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
@given(steps=st.lists(STEPS, max_size=40), partition=PARTITIONS)
def test_after_every_sync_of_a_long_history_the_lake_equals_the_model(steps, partition, budget):
    play(steps, partition, budget)


EVENTS = st.lists(st.one_of(st.integers(0, 3), st.none()), max_size=25)


@settings(max_examples=20, deadline=None, suppress_health_check=QUIET)
@given(events=EVENTS, keyed=st.booleans(), budget=st.sampled_from([ROOMY, PAGE_BY_PAGE]))
def test_an_append_table_holds_every_event_once(events, keyed, budget):
    """None is a sync; a number is an event that much later than the one before."""
    with tempfile.TemporaryDirectory() as folder:
        clock, seen = 0, []
        source = ListSource(pa.table({}), page_rows=3, primary_key=("id",) if keyed else ())
        table = SyncedTable(Lake(folder), source, SyncMode.APPEND, "at", partition=HashPartition(1), budget=budget)
        for event in [*events, None, None]:
            if event is not None:
                clock += event
                seen.append(clock)
                continue
            source.rows = pa.table({
                "id": pa.array(range(len(seen)), pa.int64()),
                "at": pa.array([EPOCH + timedelta(seconds=at) for at in seen], US),
            })  # fmt: skip
            table.sync()
            assert table.matches()

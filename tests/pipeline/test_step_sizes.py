"""Steps are measured under their grants, and the table's next run asks for what they held."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.measures import Measures
from import_platform.core.step_memory import Observation, Step, StepHistory
from import_platform.errors import MemoryBudgetExceeded, StoreUnavailable
from import_platform.io import memory as memory_module
from import_platform.io.grants import Grants
from import_platform.io.lake import Lake
from import_platform.io.table_memory import TableMemory, read_memory, write_memory
from import_platform.pipeline.step_sizes import StepSizes
from import_platform.pipeline.turns import Turns

BASE = 100 * MIB


@pytest.fixture
def held(monkeypatch):
    """What this process seems to hold, for a test to set: other tests and other processes move what it really holds."""
    now = {"bytes": BASE}
    monkeypatch.setattr(memory_module, "held_bytes", lambda: now["bytes"])
    monkeypatch.setattr(memory_module, "resident_bytes", lambda: now["bytes"])
    return now


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def run(lake, tmp_path, held):
    """One run on the table s/t: `work` gets its turns. What the lake remembers of it afterwards."""

    def made(work, table="t"):
        budget = MemoryBudget(BASE + 1024 * MIB, BASE)
        grants = Grants(tmp_path / "memory", budget.free_bytes)
        sizes = StepSizes(lake, "s", table, budget, run_id="run-1", memory=read_memory(lake, "s", table))
        with Turns(grants, budget, lambda: False, sizes=sizes) as turns:
            work(turns, grants)
        return read_memory(lake, "s", table)

    return made


def told(grants, held_bytes):
    """The one holder, once its ticket says that it holds so much."""
    until = time.monotonic() + 120
    while (holder := grants.holders()[0]).held_bytes != held_bytes:
        assert time.monotonic() < until, holder
        time.sleep(0.01)
    return holder


def test_what_each_step_held_is_remembered_beside_what_it_planned(run, held):
    def work(turns, grants):
        turns.read()
        held["bytes"] = BASE + 30 * MIB
        told(grants, 30 * MIB)
        held["bytes"] = BASE
        turns.flush()
        held["bytes"] = BASE + 80 * MIB
        told(grants, 80 * MIB)
        held["bytes"] = BASE

    history = run(work).history
    [read], [flush] = history.of(Step.READ), history.of(Step.FLUSH)
    assert flush == Observation(planned_bytes=528 * MIB, granted_bytes=528 * MIB, held_bytes=80 * MIB, hit=False)
    assert read.held_bytes == 30 * MIB, "what a flush holds is not its read's"


def test_the_ticket_says_who_holds_it_and_what_it_grew_to(run, held):
    seen = []

    def work(turns, grants):
        turns.flush()
        held["bytes"] = BASE + 64 * MIB
        seen.append(told(grants, 64 * MIB))

    run(work)
    [holder] = seen
    assert (holder.table, holder.step, holder.run_id) == ("s/t", "flush", "run-1")
    assert holder.seen_at >= holder.began_at > 0


def test_a_table_whose_flushes_hold_little_gets_half_and_its_flush_half_the_budget(lake, run):
    small = Observation(528 * MIB, 528 * MIB, 10 * MIB)
    history = StepHistory({Step.FLUSH: (small,) * 3})
    write_memory(lake, "s", "t", TableMemory(history))
    seen = []

    def work(turns, grants):
        turns.flush(staged_bytes=MIB)
        seen.append((grants.tickets()[0].size_bytes, turns.budget.free_bytes))
        turns.flush(staged_bytes=200 * MIB)
        seen.append((grants.tickets()[0].size_bytes, turns.budget.free_bytes))

    run(work)
    assert seen == [(264 * MIB, 512 * MIB), (528 * MIB, 1024 * MIB)], "many staged rows need the whole share"


def test_a_step_that_met_its_budget_is_a_hit_and_the_next_run_asks_for_more(run):
    def stopped(turns, grants):
        turns.flush()
        raise MemoryBudgetExceeded("enough")

    with pytest.raises(MemoryBudgetExceeded):
        run(stopped)
    asked = []

    def again(turns, grants):
        turns.flush()
        asked.append(grants.tickets()[0].size_bytes)

    run(again)
    assert asked == [528 * MIB * 3 // 2]


def test_steps_side_by_side_in_one_process_prove_nothing(run):
    begun, ended = threading.Event(), threading.Event()

    def neighbour(turns, grants):
        turns.read()
        begun.set()
        assert ended.wait(120)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(run, neighbour, "other")
        assert begun.wait(120)
        memory = run(lambda turns, grants: turns.read())
        ended.set()
        assert other.result().history.of(Step.READ) == ()
    assert memory.history.of(Step.READ) == ()


def test_a_clean_run_counts_for_taking_measures_back_and_a_failed_one_does_not(lake, run):
    write_memory(lake, "s", "t", TableMemory(measures=Measures(2)))
    run(lambda turns, grants: turns.read())
    assert read_memory(lake, "s", "t").measures == Measures(2, 1)

    def failing(turns, grants):
        turns.read()
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        run(failing)
    assert read_memory(lake, "s", "t").measures == Measures(2, 1)


def test_what_a_sensor_wrote_while_the_run_worked_is_kept(lake, run):
    def killed_elsewhere(turns, grants):
        turns.read()
        write_memory(lake, "s", "t", TableMemory(measures=Measures(3)))

    assert run(killed_elsewhere).measures == Measures(3, 1)


def test_a_run_without_a_step_writes_nothing(lake, run):
    run(lambda turns, grants: None)
    assert list(lake.store.entries("_staging")) == []


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"steps": {"read": [1]}}', b'{"measures": {"level": "x"}}'])
def test_a_file_that_nobody_understands_is_a_table_that_nobody_knows(lake, text):
    lake.store.put("_staging/s/t/memory.json", text)
    assert read_memory(lake, "s", "t") == TableMemory()

"""Steps are measured under their grants, and the table's next run asks for what they held."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.measures import Measures
from import_platform.core.step_memory import Observation, Step, StepHistory
from import_platform.errors import MemoryBudgetExceeded, StoreUnavailable
from import_platform.io.grants import Grants
from import_platform.io.lake import Lake
from import_platform.io.memory import held_bytes
from import_platform.io.table_memory import TableMemory, read_memory, write_memory
from import_platform.pipeline.step_sizes import StepSizes
from import_platform.pipeline.turns import Turns


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def _run(lake, folder, work, table="t"):
    """One run on the table s/t: `work` gets its turns. What the lake remembers of it afterwards."""
    base = held_bytes()
    budget = MemoryBudget(base + 1024 * MIB, base)
    grants = Grants(folder / "memory", budget.free_bytes)
    sizes = StepSizes(lake, "s", table, budget, run_id="run-1", memory=read_memory(lake, "s", table))
    with Turns(grants, budget, lambda: False, sizes=sizes) as turns:
        work(turns, grants)
    return read_memory(lake, "s", table)


@pytest.fixture
def run(lake, tmp_path):
    return partial(_run, lake, tmp_path)


def _measured(function, folder):
    """`function(lake, folder)` in a process of its own: here, what other tests left would be used again, or go away."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, Lake(str(folder / "lake")), folder).result(120)


def _hold(size_bytes, looked=lambda: None):
    """Memory that is really there, for longer than the watchdog looks away; what `looked` saw meanwhile."""
    held = bytearray(size_bytes)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(0.25)
    return looked()


def _history_of_a_read_and_a_flush(lake, folder):
    def work(turns, grants):
        turns.read()
        turns.flush()
        _hold(80 * MIB)

    return _run(lake, folder, work).history


def _holders_of_a_flush(lake, folder):
    told = []

    def work(turns, grants):
        turns.flush()
        told.extend(_hold(64 * MIB, grants.holders))

    _run(lake, folder, work)
    return told


def test_what_each_step_held_is_remembered_beside_what_it_planned(tmp_path):
    history = _measured(_history_of_a_read_and_a_flush, tmp_path)
    [read], [flush] = history.of(Step.READ), history.of(Step.FLUSH)
    assert 70 * MIB < flush.held_bytes < 200 * MIB
    assert (flush.planned_bytes, flush.granted_bytes, flush.hit) == (528 * MIB, 528 * MIB, False)
    assert read.held_bytes < flush.held_bytes - 40 * MIB, "what a flush holds is not its read's"


def test_the_ticket_says_who_holds_it_and_what_it_grew_to(tmp_path):
    [holder] = _measured(_holders_of_a_flush, tmp_path)
    assert (holder.table, holder.step, holder.run_id) == ("s/t", "flush", "run-1")
    assert holder.held_bytes > 50 * MIB
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
        ended.wait(20)

    thread = threading.Thread(target=run, args=(neighbour, "other"))
    thread.start()
    begun.wait(20)
    memory = run(lambda turns, grants: turns.read())
    ended.set()
    thread.join(20)
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

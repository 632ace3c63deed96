import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from import_platform.core.budget import MIB
from import_platform.errors import MemoryBudgetExceeded
from import_platform.io import memory
from import_platform.io.memory import MemoryWatch, held_bytes, release_unused, tame_allocators

SHARED = 7


@pytest.fixture
def held(monkeypatch):
    """What this process seems to hold, for a test to set: what it really holds moves with its neighbours' libraries."""
    now = {"bytes": 0}
    monkeypatch.setattr(memory, "held_bytes", lambda: now["bytes"])
    monkeypatch.setattr(memory, "resident_bytes", lambda: now["bytes"] + SHARED)
    return now


def test_what_is_held_grows_with_what_is_touched_and_shrinks_again():
    """Half of what is touched would do: the rest of this process comes and goes as it likes."""
    tame_allocators()
    before = held_bytes()
    ballast = np.ones(256 * MIB, dtype=np.uint8)
    with_ballast = held_bytes()
    assert with_ballast - before > 128 * MIB
    del ballast
    release_unused()
    assert held_bytes() < with_ballast - 128 * MIB


def test_a_peak_inside_the_block_is_seen_after_it(held):
    held["bytes"] = 100
    with MemoryWatch() as watch:
        held["bytes"] = 900
        until = time.monotonic() + 120
        while watch.peak_bytes < 900:
            assert time.monotonic() < until, "nobody looked"
            time.sleep(0.01)
        held["bytes"] = 200
    assert watch.peak_bytes == 900, "without what it shares with others"


def test_without_a_limit_everybody_passes(held):
    held["bytes"] = 1 << 50
    with MemoryWatch() as watch, watch.breathe():
        pass


def test_well_under_the_limit_workers_go_side_by_side(held):
    held["bytes"] = 84
    with MemoryWatch(100) as watch, watch.breathe():
        met = threading.Event()

        def other():
            with watch.breathe():
                met.set()

        threading.Thread(target=other).start()
        assert met.wait(120)


def test_near_the_limit_only_one_worker_goes_on_at_a_time(held):
    held["bytes"] = 90
    inside, most = 0, []
    with MemoryWatch(100) as watch, ThreadPoolExecutor(6) as pool:

        def work(_):
            nonlocal inside
            with watch.breathe():
                inside += 1
                time.sleep(0.02)
                most.append(inside)
                inside -= 1

        list(pool.map(work, range(6)))
    assert most == [1] * 6


def test_past_the_limit_the_step_stops_itself_with_a_retryable_error(held):
    held["bytes"] = 98
    with MemoryWatch(100) as watch, pytest.raises(MemoryBudgetExceeded) as error, watch.breathe():
        raise AssertionError("the work was begun")
    assert error.value.retryable
    assert (error.value.facts["held_bytes"], error.value.facts["budget_bytes"]) == (98, 100)
    assert "IMPORT_PLATFORM_MEMORY" in error.value.remedy


def test_past_the_limit_what_lies_unused_is_given_back_before_a_step_is_stopped(held, monkeypatch):
    monkeypatch.setattr(memory, "release_unused", lambda: held.update(bytes=60))
    held["bytes"] = 98
    worked = False
    with MemoryWatch(100) as watch, watch.breathe():
        worked = True
    assert worked

import threading
import time

import numpy as np
import pytest

from import_platform.core.budget import MIB
from import_platform.errors import MemoryBudgetExceeded
from import_platform.io.memory import MemoryWatch, held_bytes, release_unused, tame_allocators


def test_what_is_held_grows_with_what_is_touched_and_shrinks_again():
    tame_allocators()
    before = held_bytes()
    ballast = np.ones(64 * MIB, dtype=np.uint8)
    held = held_bytes()
    assert 60 * MIB < held - before < 80 * MIB
    del ballast
    release_unused()
    assert held_bytes() < held - 40 * MIB


def test_a_peak_inside_the_block_is_seen_after_it():
    with MemoryWatch() as watch:
        ballast = np.ones(96 * MIB, dtype=np.uint8)
        time.sleep(0.35)
        del ballast
        release_unused()
    assert watch.peak_bytes > held_bytes() + 60 * MIB


def test_without_a_limit_everybody_passes():
    with MemoryWatch() as watch, watch.breathe():
        pass


def test_well_under_the_limit_workers_go_side_by_side():
    with MemoryWatch(held_bytes() * 4) as watch, watch.breathe():
        met = threading.Event()

        def other():
            with watch.breathe():
                met.set()

        threading.Thread(target=other).start()
        assert met.wait(5)


def test_near_the_limit_only_one_worker_goes_on_at_a_time():
    with MemoryWatch(int(held_bytes() / 0.9)) as watch:
        inside, most, lock = 0, [], threading.Lock()

        def work():
            nonlocal inside
            with watch.breathe():
                with lock:
                    inside += 1
                    most.append(inside)
                time.sleep(0.02)
                with lock:
                    inside -= 1

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1] * 6


def test_past_the_limit_the_step_stops_itself_with_a_retryable_error():
    with MemoryWatch(held_bytes() // 2) as watch, pytest.raises(MemoryBudgetExceeded) as error, watch.breathe():
        raise AssertionError("the work was begun")
    assert error.value.retryable
    assert error.value.facts["held_bytes"] > error.value.facts["budget_bytes"]
    assert "IMPORT_PLATFORM_MEMORY" in error.value.remedy

"""kill -9 at every step of a sync, then again in a new process: the table equals the source, and little is read twice."""

import signal

import pytest

from tests.faults.child import STEPS
from tests.pipeline.synced_table import replaced, rows, without

ROWS, PAGE = 1000, 100
FIRST = [step for step in STEPS if step not in ("before commit", "after commit", "before columns", "after columns")]
LATER = [step for step in STEPS if step not in ("before create", "after create", "before columns", "after columns")]


def check(world, step, nth=1, **options):
    """Kills a sync at the step, runs it again, and answers how many rows the second run read."""
    assert world.run(step=step, nth=nth, **options) == -signal.SIGKILL, "the step was reached"
    again = world.run(**options)
    assert again.get("error") is None, again
    assert world.table().matches()
    assert world.table().staging.attempts() == []
    return again["rows_read"]


@pytest.mark.parametrize("step", FIRST)
def test_a_first_sync_killed_at_any_step_is_made_good_by_the_next(world, step):
    world.put(rows(range(ROWS)))
    read = check(world, step)
    staged_before = {"before begin": 0, "after begin": 0, "between chunk and checkpoint": 0, "after checkpoint": 1}
    if step in staged_before:
        assert read == ROWS - PAGE * staged_before[step], "what was staged is not read again"
    elif "create" in step or "claim" in step or "files" in step:
        assert read <= PAGE, "everything was staged: at most rows at the last cursor value are read again"


OTHERS = [
    "after checkpoint",
    "in the middle of files",
    "after claim",
    "before commit",
    "after commit",
    "before discard",
]


@pytest.mark.parametrize(
    ("mode", "step"),
    [*(("incremental", step) for step in LATER), *((m, step) for m in ("full_refresh", "append") for step in OTHERS)],
)
def test_a_later_sync_killed_at_any_step_is_made_good_by_the_next(world, mode, step):
    world.options = {"mode": mode, "settled": True}
    world.put(rows(range(ROWS)))
    assert world.run()["error"] is None
    if mode == "append":
        world.put(rows(range(ROWS + 300)))
    elif mode == "incremental":
        world.put(replaced(world.rows, rows(range(700, ROWS + 300), day=1, text="y")))
    else:
        world.put(without(replaced(world.rows, rows(range(700, ROWS + 300), day=1, text="y")), range(100, 200)))
    check(world, step)


@pytest.mark.parametrize("step", ["between chunk and checkpoint", "after checkpoint"])
def test_a_sync_killed_after_its_nth_chunk_reads_no_more_than_the_chunk_in_flight_again(world, step):
    world.put(rows(range(ROWS)))
    read = check(world, step, nth=7)
    assert read == (ROWS - 6 * PAGE if step.startswith("between") else ROWS - 7 * PAGE)


@pytest.mark.parametrize("step", ["before columns", "after columns"])
def test_a_sync_killed_around_a_new_column_is_made_good_by_the_next(world, step):
    world.put(rows(range(200)).drop_columns(["text"]))
    assert world.run()["error"] is None
    world.put(rows(range(300), day=1))
    check(world, step)


@pytest.mark.parametrize("step", ["after checkpoint", "after claim", "before commit", "after commit", "before discard"])
def test_a_backfill_killed_at_any_step_is_made_good_by_the_next(world, step):
    world.put(rows(range(1600)))
    assert world.run()["error"] is None
    world.put(without(replaced(world.rows, rows([750], text="y")), range(800, 900)))
    assert world.run(step=step, backfill="2025-02") == -signal.SIGKILL
    assert world.run(backfill="2025-02").get("error") is None
    assert world.table().matches()


@pytest.mark.parametrize("step", ["after checkpoint", "after claim", "before commit", "after commit"])
def test_a_killed_backfill_that_goes_on_after_a_sync_keeps_the_newer_rows(world, step):
    world.put(rows(range(1600)))
    assert world.run()["error"] is None
    world.put(without(world.rows, range(800, 900)))
    assert world.run(step=step, backfill="2025-02") == -signal.SIGKILL
    world.put(replaced(world.rows, rows([744, 1000, 850], day=1, text="newer")))
    assert world.run().get("error") is None
    assert world.run(backfill="2025-02").get("error") is None
    assert world.table().matches()


def test_a_sync_killed_again_and_again_gets_there(world):
    world.put(rows(range(ROWS)))
    killed = 0
    for step in ("after checkpoint", "between chunk and checkpoint", "after claim", "in the middle of files",
                 "after claim", "before create", "after create", "before discard"):  # fmt: skip
        killed += world.run(step=step) == -signal.SIGKILL
    assert killed >= 6
    world.run()
    assert world.table().matches()


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_a_sync_killed_at_random_moments_gets_there(world, streamed):
    """The kill comes from outside, at a time that nobody chose."""
    import random
    import time

    world.put(rows(range(4000)))
    world.options = {"streamed": streamed, "page_seconds": 0.02}
    dice = random.Random(3)
    for _ in range(8):
        process = world.start()
        time.sleep(1.0 + dice.random() * 1.5)
        process.kill()
    world.options["page_seconds"] = 0
    assert world.run().get("error") is None
    assert world.table().matches()


@pytest.mark.parametrize("step", ["after checkpoint", "before create", "after create", "before discard"])
def test_the_same_holds_on_an_object_store(s3_world, step):
    s3_world.put(rows(range(ROWS)))
    check(s3_world, step)

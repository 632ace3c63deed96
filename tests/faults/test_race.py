"""Processes that work on one table at the same moment: every change exactly once, whoever wins."""

import pytest

from tests.pipeline.synced_table import replaced, rows, without


@pytest.fixture(params=["local", "s3"])
def anywhere(request):
    return request.getfixturevalue("world" if request.param == "local" else "s3_world")


def failures(answers):
    """What went wrong, but for errors that say: try again."""
    return [
        answer for answer in answers if isinstance(answer, int) or (answer.get("error") and not answer.get("retryable"))
    ]


def settle(world):
    """The next scheduled run."""
    answer = world.run()
    assert answer.get("error") is None, answer
    assert world.table().matches()


@pytest.mark.parametrize("mode", ["incremental", "full_refresh", "append"])
def test_processes_that_make_the_first_sync_together(anywhere, mode):
    anywhere.options = {"mode": mode}
    anywhere.put(rows(range(600)))
    answers = anywhere.race(*[{}] * 4)
    assert failures(answers) == []
    assert any(answer.get("error") is None for answer in answers), answers
    assert anywhere.table().matches()
    settle(anywhere)


@pytest.mark.parametrize("mode", ["incremental", "append"])
def test_processes_that_make_later_syncs_together(anywhere, mode):
    anywhere.options = {"mode": mode}
    anywhere.put(rows(range(600)))
    assert anywhere.run().get("error") is None
    for day in (1, 2):
        more = rows(range(600 + 100 * day - 100, 600 + 100 * day), day=day)
        change = rows(range(day, 600, 7), day=day, text=f"v{day}")
        grown = replaced(anywhere.rows, more)
        anywhere.put(replaced(grown, change) if mode == "incremental" else grown)
        assert failures(anywhere.race(*[{}] * 3)) == []
        settle(anywhere)


def test_processes_that_cut_their_chunks_differently(world):
    world.put(rows(range(900)))
    answers = world.race(*({"page_rows": size, "page_seconds": size / 30_000} for size in (30, 70, 110, 190)))
    assert failures(answers) == []
    settle(world)


def test_syncs_backfills_and_full_refreshes_all_at_once(anywhere):
    anywhere.put(rows(range(1600)))
    assert anywhere.run().get("error") is None
    anywhere.put(without(replaced(anywhere.rows, rows(range(0, 1700, 3), day=1, text="y")), range(801, 900, 2)))
    answers = anywhere.race({}, {}, {"backfill": "2025-01"}, {"backfill": "2025-02"}, {"full_refresh": True})
    assert failures(answers) == []
    settle_all(anywhere)


def settle_all(world):
    """A full refresh is the only thing that is sure to bring deletions outside the backfilled ranges."""
    assert world.run().get("error") is None
    assert world.run(full_refresh=True).get("error") is None
    assert world.table().matches()


def test_a_sync_is_killed_while_another_goes_on_with_its_work(world):
    world.put(rows(range(900)))
    first = world.start_held("after checkpoint", nth=3)
    second = world.start_held("after checkpoint", nth=1)
    first.kill()
    second.let_go()
    done = second.finished()
    assert (done["status"], done["resumed"], done["rows_read"]) == ("done", True, 600)
    settle(world)


@pytest.mark.parametrize("order", [("before commit", "after claim"), ("after claim", "after commit")])
def test_dead_attempts_leave_gaps_in_the_numbers_and_nothing_else(world, order):
    world.put(rows(range(300)))
    assert world.run().get("error") is None
    for day, step in enumerate(order, start=1):
        world.put(replaced(world.rows, rows(range(day * 10, day * 10 + 50), day=day, text="y")))
        assert world.run(step=step) == -9
    assert world.run().get("error") is None  # finishes the pass of the first day, which all of them went on with
    settle(world)

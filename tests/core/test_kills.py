"""What ended a run, from what was seen of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.blame import Worked, blamed
from import_platform.core.kills import Asked, KillFacts, Kind, classify
from import_platform.core.relaunch import DEPLOYS_MAX, KILLS_MAX, Ended, relaunches


@pytest.mark.parametrize(
    ("facts", "kind", "says"),
    [
        (KillFacts(child_signal=9), "memory", "a step's process was killed by signal 9"),
        (KillFacts(worker_signal=9), "memory", "its process was killed by signal 9"),
        (KillFacts(worker_signal=9, oom_kills_before=2, oom_kills_after=3), "memory", "the kernel killed 1"),
        (KillFacts(child_signal=9, oom_kills_before=2, oom_kills_after=2), "memory", "may have been a person"),
        (KillFacts(pod_text="container: OOMKilled, exit code 137"), "memory", "OOMKilled"),
        (KillFacts(error_class="MemoryBudgetExceeded"), "memory", "stopped itself"),
        (KillFacts(child_signal=9, error_class="MemoryBudgetExceeded"), "memory", "was killed by signal 9"),
        (KillFacts(process_gone=True, oom_kills_before=0, oom_kills_after=1), "memory", "the kernel killed 1"),
        (KillFacts(process_gone=True, held_percent=95), "memory", "95 %"),
        (KillFacts(process_gone=True, held_percent=95, oom_kills_before=0, oom_kills_after=0), "deploy", "is gone"),
        (KillFacts(process_gone=True, held_percent=10), "deploy", "is gone"),
        (KillFacts(asked=Asked.PROCESS), "deploy", "nobody had asked"),
        (KillFacts(worker_signal=15), "deploy", "asked to stop"),
        (KillFacts(child_signal=15), "deploy", "asked to stop"),
        (KillFacts(asked=Asked.OUTSIDE), "person", "asked for the run"),
        (KillFacts(asked=Asked.OUTSIDE, worker_signal=9), "person", "asked for the run"),
        (KillFacts(asked=Asked.OUTSIDE, child_signal=15), "person", "asked for the run"),
        (KillFacts(worker_signal=2), "person", "terminal"),
        (KillFacts(error_class="SourceRejected"), "source", "source"),
        (KillFacts(error_class="SourceUnavailable"), "source", "source"),
        (KillFacts(error_class="ConfigError"), "source", "declaration"),
        (KillFacts(error_class="InvariantBroken"), "ours", "platform"),
        (KillFacts(child_signal=11), "ours", "signal 11"),
        (KillFacts(), "ours", "platform"),
    ],
)
def test_the_kind_of_an_end(facts, kind, says):
    verdict = classify(facts)
    assert (verdict.kind, says in verdict.why) == (kind, True), verdict.why


@given(st.builds(KillFacts))
def test_every_end_has_a_kind_and_a_reason(facts):
    assert classify(facts).why


def test_the_one_that_grew_is_blamed_not_the_one_that_was_killed():
    victim = Worked("shop/small", "flush", 100, 100, 60, process="1", killed=True)
    grew = Worked("shop/large", "flush", 100, 100, 900, process="2")
    assert blamed([victim, grew]) is grew
    assert blamed([grew, victim]) is grew


def test_in_one_process_the_largest_plan_is_blamed_for_the_common_growth():
    small = Worked("shop/a", "read", 10, 10, 500, process="1", killed=True)
    large = Worked("shop/b", "flush", 300, 300, 500, process="1", killed=True)
    assert blamed([small, large]) is large


def test_tables_of_one_process_share_their_growth_so_its_excess_is_over_all_their_grants():
    """Two tables inside their grants together are no match for a process that outgrew its own."""
    two = [Worked(f"shop/{name}", "flush", 300, 300, 590, process="1") for name in "ab"]
    alone = Worked("shop/c", "flush", 300, 300, 400, process="2")
    assert blamed([*two, alone]) is alone


def test_where_nobody_outgrew_anything_the_killed_one_nearest_to_its_grant_is_named():
    near = Worked("shop/near", "flush", 100, 100, 90, process="1", killed=True)
    far = Worked("shop/far", "flush", 500, 500, 100, process="2", killed=True)
    assert blamed([far, near]) is near


def test_without_measurements_the_killed_one_with_the_largest_plan_is_named():
    assert blamed([Worked("shop/a", planned_bytes=5, killed=True), Worked("shop/b", planned_bytes=9)]).table == "shop/a"
    assert blamed([]) is None


def test_a_deploys_victims_are_relaunched_twenty_times_and_no_more():
    assert all(relaunches(Ended(Kind.DEPLOY, after_deploys=n)) for n in range(DEPLOYS_MAX))
    assert DEPLOYS_MAX == 20
    assert relaunches(Ended(Kind.DEPLOY, after_deploys=DEPLOYS_MAX)) is None


@pytest.mark.parametrize("kind", [Kind.PERSON, Kind.SOURCE, Kind.OURS])
def test_what_a_person_a_source_or_a_bug_ended_stays_ended(kind):
    assert relaunches(Ended(kind)) is None


def test_a_run_killed_for_memory_is_relaunched_only_if_no_schedule_comes_by_and_three_times():
    assert relaunches(Ended(Kind.MEMORY))
    assert relaunches(Ended(Kind.MEMORY, comes_again=True)) is None
    assert relaunches(Ended(Kind.MEMORY, after_kills=KILLS_MAX)) is None


@pytest.mark.parametrize("kind", list(Kind))
def test_what_a_terminal_ran_is_left_to_the_person_there(kind):
    assert relaunches(Ended(kind, by_terminal=True)) is None

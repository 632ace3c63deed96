"""Grants follow what a table's steps held: never under what a hit asked for, and back down by and by."""

from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.step_memory import (
    KEPT,
    REMEMBERED,
    Observation,
    Step,
    StepHistory,
    asked_bytes,
    expected_bytes,
    history_from_json,
    reserved_bytes,
)

PLAN, MOST = 1000, 10_000


def seen(held, granted=PLAN, *, planned=PLAN, hit=False):
    return Observation(planned, granted, held, hit)


def test_a_table_that_nobody_knows_asks_for_its_plan():
    assert asked_bytes([], PLAN, most_bytes=MOST) == PLAN
    assert asked_bytes([seen(10), seen(10)], PLAN, most_bytes=MOST) == PLAN


def test_a_table_whose_steps_held_little_asks_for_less_but_for_half_at_least():
    assert asked_bytes([seen(600)] * 3, PLAN, most_bytes=MOST) == 750
    assert asked_bytes([seen(10)] * 3, PLAN, most_bytes=MOST) == 500
    assert asked_bytes([seen(10)] * 3, PLAN, most_bytes=MOST, may_shrink=False) == PLAN


def test_one_large_step_among_many_small_ones_decides():
    assert asked_bytes([*[seen(10)] * 10, seen(700), *[seen(10)] * 5], PLAN, most_bytes=MOST) == 875


def test_a_step_that_filled_its_grant_gets_a_larger_one():
    assert asked_bytes([seen(450, 500)] * 3, PLAN, most_bytes=MOST) == 750
    assert asked_bytes([seen(950)] * 3, PLAN, most_bytes=MOST) == 1500
    assert asked_bytes([seen(950)] * 3, PLAN, most_bytes=1200) == 1200


def test_with_a_smaller_budget_what_was_learned_shrinks_with_the_plan():
    assert asked_bytes([seen(600)] * 3, PLAN // 2, most_bytes=MOST) == 375


def test_a_hit_is_remembered_and_then_fades():
    hit = seen(2000, 1500, hit=True)
    asked = [asked_bytes([*[seen(10)] * 3, hit, *[seen(10)] * after], PLAN, most_bytes=MOST) for after in range(KEPT)]
    assert asked[: REMEMBERED + 1] == [3000] * (REMEMBERED + 1)
    assert asked[REMEMBERED + 1] == 2700
    assert sorted(asked, reverse=True) == asked
    assert asked[-1] < PLAN


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 5000), st.booleans()), max_size=40),
    st.integers(1, 5000),
    st.integers(0, 20_000),
)
def test_a_grant_stays_between_its_bounds(steps, planned, most):
    history = [seen(held, granted, hit=hit) for granted, held, hit in steps]
    asked = asked_bytes(history, planned, most_bytes=most)
    assert min(planned // 2, most) <= asked <= most
    if history and history[-1].hit:
        last = history[-1]
        assert asked >= min(max(last.held_bytes, last.granted_bytes), most)


@given(st.integers(1, 5000), st.integers(0, 5000), st.lists(st.integers(0, 900), min_size=1, max_size=60))
def test_after_a_hit_clean_steps_lower_the_grant_and_never_raise_it(granted, held, clean):
    history = StepHistory().with_step(Step.FLUSH, seen(held, granted, hit=True))
    reserved = [reserved_bytes(history.of(Step.FLUSH))]
    for bytes_ in clean:
        history = history.with_step(Step.FLUSH, seen(bytes_))
        reserved.append(reserved_bytes(history.of(Step.FLUSH)))
    assert sorted(reserved, reverse=True) == reserved
    assert all(r >= max(granted, held) for r in reserved[: REMEMBERED + 1])
    if len(clean) >= KEPT:
        assert reserved[-1] == 0


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 5000), st.booleans()), max_size=60))
def test_a_history_is_bounded_and_survives_its_file(steps):
    history = StepHistory()
    for granted, held, hit in steps:
        history = history.with_step(Step.READ, seen(held, granted, hit=hit)).with_step(Step.FLUSH, seen(held))
    assert len(history.of(Step.READ)) <= KEPT
    assert history_from_json(history.as_json() | {"of another release": [1]}) == history


def test_what_is_expected_has_no_floor_so_that_small_tables_count_as_small():
    assert expected_bytes([seen(10)] * 3, PLAN) == 12

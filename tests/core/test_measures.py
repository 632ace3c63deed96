"""Each kill takes one more measure, ten clean syncs take one back, and the last measure asks a person."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.measures import LADDER, RELAXED_AFTER, Measure, Measures, measures_from_json, tightened

BUDGET = MemoryBudget(1 << 30, 200 * MIB)


def test_the_ladder_is_climbed_one_rung_per_kill_and_ends():
    measures, taken = Measures(), []
    for _ in range(6):
        measures = measures.after_kill()
        taken.append(measures.last)
    assert taken == [*LADDER, Measure.ASK_PERSON, Measure.ASK_PERSON]


def test_pauses_grow_and_are_bounded():
    pauses = [Measures(level).pause for level in range(len(LADDER) + 1)]
    assert pauses == [timedelta(minutes=m) for m in (0, 5, 20, 80, 320)]


def test_fewer_workers_first_then_smaller_pages_and_chunks():
    one, two, three = (tightened(BUDGET, Measures(level)) for level in (1, 2, 3))
    assert one.rewrite_bytes == BUDGET.rewrite_bytes // 4
    assert (one.page_bytes, one.chunk_bytes, one.merge_bytes) == (
        BUDGET.page_bytes,
        BUDGET.chunk_bytes,
        BUDGET.merge_bytes,
    )
    assert two.chunk_bytes == BUDGET.chunk_bytes // 2
    assert three.merge_bytes == BUDGET.merge_bytes // 4
    assert tightened(BUDGET, Measures()) is BUDGET


@given(st.integers(0, 9), st.integers(320, 20_000), st.integers(0, 300))
def test_a_tightened_budget_never_holds_more_and_the_widest_row_still_passes(level, total, base):
    budget = MemoryBudget(total * MIB, base * MIB)
    tight = tightened(budget, Measures(level))
    for share in ("page_bytes", "chunk_bytes", "merge_bytes", "rewrite_bytes", "extract_bytes", "flush_bytes"):
        assert 0 < getattr(tight, share) <= getattr(budget, share)
    assert tight.row_bytes_max == budget.row_bytes_max


@given(st.lists(st.booleans(), max_size=200))
def test_measures_survive_their_file_and_end_after_enough_clean_syncs(kills):
    measures = Measures()
    for killed in kills:
        measures = measures.after_kill() if killed else measures.after_success()
        assert 0 <= measures.level <= len(LADDER)
        assert measures_from_json(measures.as_json()) == measures
    for _ in range(RELAXED_AFTER * len(LADDER)):
        measures = measures.after_success()
    assert measures == Measures()

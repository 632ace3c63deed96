import json
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.state import (
    Attempt,
    AttemptKind,
    Checkpoint,
    TableState,
    attempt_from_json,
    checkpoint_from_json,
    ended,
    is_finished,
    is_overtaken,
    next_state,
    resumable,
    state_from_json,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SYNC = Attempt("a", AttemptKind.INCREMENTAL, "", -1, NOW, ceiling="9", settled=True)
BACKFILL = Attempt("b", AttemptKind.BACKFILL, "", 3, NOW, key="2025-01", range_files=("x", "y"))


def test_what_is_written_is_what_is_read():
    full = Attempt("a", AttemptKind.APPEND, "z", 4, NOW, "1", "9", True, "k", ("f",), ("id int64",))
    assert attempt_from_json(full.to_json()) == full
    assert attempt_from_json(BACKFILL.to_json()) == BACKFILL
    checkpoint = Checkpoint(3, 10, 1000, {"row": [1, "ä", None]}, 2, True, (2**64 - 1, 0), "me", "before")
    assert checkpoint_from_json(checkpoint.to_json()) == checkpoint
    state = TableState(7, "a", "f", "2025-01-01T00:00:00.000000Z", True, "s", {"a": 3}, (2**64 - 1,))
    assert state_from_json(state.to_json()) == state


@pytest.mark.parametrize(
    ("value", "read", "added"),
    [
        (TableState(7, "a", "f", "9"), state_from_json, {"files"}),
        (replace(SYNC, columns=("id int64",)), attempt_from_json, {"filters", "open_ended", "files", "manifest"}),
    ],
    ids=["state", "attempt"],
)
def test_what_an_older_release_wrote_is_read_as_it_was_meant(value, read, added):
    written = json.loads(value.to_json())
    assert added <= written.keys()
    assert read(json.dumps({name: written[name] for name in written.keys() - added}).encode()) == value


def test_the_same_value_is_always_the_same_bytes():
    one, other = TableState(progress={"a": 1, "b": 2}), TableState(progress={"b": 2, "a": 1})
    assert one.to_json() == other.to_json()
    assert json.loads(one.to_json())["progress"] == {"a": 1, "b": 2}


def flushed(state, attempt, number, *, chunk=1, complete):
    return next_state(state, number=number, attempt=attempt, flush=f"f{number}", last_chunk=chunk, complete=complete)


def test_the_cursor_moves_when_a_pass_is_complete_and_not_before():
    part = flushed(TableState(cursor="5"), SYNC, 1, chunk=4, complete=False)
    assert (part.cursor, part.settled, part.progress, part.sync_attempt) == ("5", False, {"a": 4}, "a")
    whole = flushed(part, SYNC, 2, chunk=9, complete=True)
    assert (whole.cursor, whole.settled, whole.progress) == ("9", True, {})


def test_an_open_ended_pass_ends_at_the_greatest_value_of_its_chunks():
    attempt = replace(SYNC, ceiling=None, settled=False, after="7", open_ended=True)
    chunks = [
        Checkpoint(1, 1, 1, None, tail=(1,), reached="9"),
        Checkpoint(2, 1, 1, None, tail=(2,), reached="10"),
        Checkpoint(3, 1, 1, None, tail=(3,), reached="10"),
        Checkpoint(4, 0, 0, None, end=True),
    ]
    whole, tail = ended(attempt, chunks, pa.int64(), tail=(7,))
    assert (whole.ceiling, tail) == ("10", (2, 3))
    assert ended(attempt, chunks[:1], pa.string(), tail=(7,))[0].ceiling == "9"
    assert ended(attempt, chunks[3:], pa.int64(), tail=(7,)) == (replace(attempt, ceiling="7"), (7,))


def test_a_backfill_moves_no_cursor_and_overtakes_no_sync():
    state = flushed(TableState(cursor="5", sync_attempt="s", tail=(1,)), BACKFILL, 1, complete=True)
    assert (state.cursor, state.sync_attempt, state.tail, state.attempt) == ("5", "s", (1,), "b")
    assert not is_overtaken(replace(SYNC, base_sync_attempt="s"), state)


def test_a_pass_without_a_ceiling_keeps_the_cursor():
    assert flushed(TableState(cursor="5"), replace(SYNC, ceiling=None), 1, complete=True).cursor == "5"


def test_a_sync_is_overtaken_by_any_sync_that_it_did_not_begin_after():
    base = TableState(sync_attempt="s")
    mine, theirs = replace(SYNC, base_sync_attempt="s"), replace(SYNC, id="t", base_sync_attempt="s")
    assert not is_overtaken(mine, base)
    assert not is_overtaken(mine, flushed(base, mine, 1, complete=False)), "not by its own first flush"
    assert is_overtaken(mine, flushed(base, theirs, 1, complete=False)), "not even a part of another is looked through"
    assert is_overtaken(mine, flushed(base, theirs, 1, complete=True))
    assert not is_overtaken(BACKFILL, flushed(base, theirs, 1, complete=True))


def test_an_attempt_is_finished_once_it_was_committed_to_its_end():
    assert not is_finished(SYNC, TableState())
    part = flushed(TableState(), SYNC, 1, complete=False)
    assert not is_finished(SYNC, part)
    whole = flushed(part, SYNC, 2, complete=True)
    assert is_finished(SYNC, whole)
    assert is_finished(SYNC, flushed(whole, BACKFILL, 3, complete=True)), "a backfill after it changes nothing of that"
    assert is_finished(BACKFILL, flushed(whole, BACKFILL, 3, complete=True))


def chain(*tokens, end=False):
    found = []
    for number, token in enumerate(tokens, start=1):
        previous = found[-1].id if found else ""
        found.append(Checkpoint(number, 1, 1, token, id=f"c{number}", previous=previous))
    if end:
        found[-1] = replace(found[-1], end=True)
    return found


T = {"row": 1}


@pytest.mark.parametrize(
    ("checkpoints", "count"),
    [
        ([], 0),
        (chain(T, T, T), 3),
        (chain(T, None, None), 1),
        (chain(None, None), 0),
        (chain(None, T, None), 2),
        (chain(T, None, end=True), 2),
        (chain(T, T, T)[1:], 0),
        ([chain(T, T, T)[0], chain(T, T, T)[2]], 1),
        (list(reversed(chain(T, T, T))), 3),
        ([*chain(T, T), replace(chain(T, T, T)[2], previous="another")], 2),
        ([replace(chain(T)[0], previous="another")], 0),
    ],
)
def test_a_resume_goes_on_from_the_last_token_of_an_unbroken_chain(checkpoints, count):
    assert [c.number for c in resumable(checkpoints)] == list(range(1, count + 1))


@given(st.permutations(range(6)), st.integers(0, 6))
def test_the_order_in_which_checkpoints_are_listed_does_not_matter(order, gap):
    whole = chain(T, T, T, T, T, T)
    listed = [whole[i] for i in order if i != gap]
    assert resumable(listed) == whole[:gap]

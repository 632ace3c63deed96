from datetime import UTC, datetime

import pyarrow as pa
import pytest

from import_platform.core.rejected import RejectedRow
from import_platform.core.state import Attempt, AttemptKind, Checkpoint, TableState
from import_platform.errors import StoreUnavailable, TableBusy
from import_platform.io.staging import Staging

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def staging(store):
    return Staging(store, "_staging/s/t")


def batch(start, count):
    ids = pa.array(range(start, start + count), pa.int64())
    return pa.record_batch([ids, ids.cast(pa.string())], schema=SCHEMA)


def chunk(number, rows, token=None, **more):
    return Checkpoint(number, rows, rows * 16, token, id=f"c{number}", **more)


def test_a_chunk_comes_back_as_it_was_staged(staging):
    rejected = [RejectedRow({"id": "7"}, "text", "too\nwide \u2028", None)]
    checkpoint = chunk(1, 30, {"row": 30}, rejected_rows=1, tail=(2**64 - 1,))
    staging.stage("a", checkpoint, SCHEMA, [batch(0, 10), batch(10, 20)], rejected)
    assert staging.checkpoints("a") == [checkpoint]
    assert pa.Table.from_batches(staging.batches("a", checkpoint)).column("id").to_pylist() == list(range(30))
    only = pa.Table.from_batches(staging.batches("a", checkpoint, ["text"]))
    assert only.column_names == ["text"]
    assert staging.rejected("a", checkpoint) == rejected


def test_an_empty_last_chunk_needs_no_file(staging):
    last = chunk(1, 0, end=True)
    staging.stage("a", last, SCHEMA, [], [])
    assert list(staging.batches("a", last)) == []
    assert staging.checkpoints("a") == [last]


def test_the_same_checkpoint_put_twice_is_a_lost_acknowledgement(staging):
    for _ in range(2):
        staging.stage("a", chunk(1, 10, {"row": 10}), SCHEMA, [batch(0, 10)], [])


def test_another_chunk_of_the_same_number_is_refused_and_harms_nothing(staging):
    ours = chunk(1, 10, {"row": 10})
    staging.stage("a", ours, SCHEMA, [batch(0, 10)], [])
    with pytest.raises(TableBusy):
        staging.stage("a", Checkpoint(1, 5, 80, {"row": 5}, id="theirs"), SCHEMA, [batch(0, 5)], [])
    assert staging.checkpoints("a") == [ours]
    assert pa.Table.from_batches(staging.batches("a", ours)).num_rows == 10


def test_data_without_its_checkpoint_does_not_exist(staging, store):
    with store.open_output("_staging/s/t/attempts/a/00000001-x.arrow") as sink:
        sink.write(b"half a chunk")
    assert staging.checkpoints("a") == []


def test_a_chunk_whose_data_is_gone_is_retryable(staging):
    first = chunk(1, 10, {"row": 10})
    staging.stage("a", first, SCHEMA, [batch(0, 10)], [])
    staging.drop_chunks("a", [first])
    assert staging.checkpoints("a") == []
    with pytest.raises(StoreUnavailable):
        list(staging.batches("a", first))


def attempt(id_, at=NOW):
    return Attempt(id_, AttemptKind.INCREMENTAL, "", -1, at, after="1", ceiling="2", columns=("id int64",))


def test_attempts_come_back_oldest_first_until_they_are_discarded(staging):
    for id_, day in (("b", 2), ("a", 3), ("c", 1)):
        staging.begin(attempt(id_, NOW.replace(day=day)))
    staging.stage("a", chunk(1, 10, {"row": 10}), SCHEMA, [batch(0, 10)], [])
    assert [a.id for a in staging.attempts()] == ["c", "b", "a"]
    assert staging.attempts()[0] == attempt("c", NOW.replace(day=1))
    staging.discard("a")
    staging.discard("a")
    assert [a.id for a in staging.attempts()] == ["c", "b"]
    assert staging.checkpoints("a") == []


def test_a_state_number_belongs_to_who_put_it_first(staging):
    mine, theirs = TableState(3, attempt="m", tail=(1, 2)), TableState(3, attempt="t")
    assert staging.claim(mine)
    assert staging.claim(mine), "our own put whose acknowledgement was lost"
    assert not staging.claim(theirs)
    assert staging.state(3) == mine
    assert staging.last_claimed() == 3


def test_a_state_that_was_never_written_is_empty_with_its_number(staging):
    assert staging.state(0) == TableState()
    assert staging.state(7) == TableState(number=7)
    assert staging.last_claimed() == 0


def test_old_states_can_be_forgotten(staging):
    for number in (1, 2, 9, 10, 11):
        staging.claim(TableState(number))
    staging.forget_states(before=10)
    assert staging.state(10).number == 10
    assert staging.last_claimed() == 11
    assert staging.claim(TableState(9, attempt="again"))


def test_staged_rows_on_a_local_disk_are_for_their_owner_only(tmp_path):
    from import_platform.io.store import Store

    Staging(Store(str(tmp_path)), "_staging/s/t")
    assert (tmp_path / "_staging").stat().st_mode & 0o777 == 0o700

import hashlib
import itertools
import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from import_platform.core.report import Status
from import_platform.core.table import UNPARTITIONED, NumberPartition, SyncMode
from import_platform.errors import ImportPlatformError, StoreUnavailable
from import_platform.pipeline import repartition as repartition_module
from import_platform.pipeline.repartition import plan_repartition, predicted_peak_bytes, read_record, repartition
from import_platform.pipeline.split import plan_split
from tests.pipeline.lake_table import commits_after, in_lake, split
from tests.pipeline.synced_table import ROOMY, replaced, rows

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def table(synced):
    made = synced(noisy(range(1000)))
    made.sync()
    return made


def noisy(ids):
    """Rows that no encoding makes small, so that a leaf's bytes follow its rows and not its footer."""
    text = [hashlib.sha256(str(id_).encode()).hexdigest() for id_ in ids]
    return rows(ids).set_column(3, "text", pa.array(text))


def largest(table):
    return max(in_lake(table).snapshot.files["size_bytes"].to_list())


def record(table):
    opened = in_lake(table)
    return read_record(opened.store, opened.path)


def run(table, **options):
    return repartition(in_lake(table), **({"limit_bytes": 10**6, "budget": ROOMY} | options))


def test_every_leaf_over_the_limit_is_split_and_a_second_run_finds_nothing(table):
    report = run(table, limit_bytes=largest(table) - 1)
    assert report.status is Status.DONE
    assert (report.rows_read, report.files_removed, report.delta_version) == (744, 1, 1)
    assert "2025-02" in table.leaves(), "the smaller month stays"
    again = run(table, limit_bytes=largest(table))
    assert (again.status, again.files_added, table.version) == (Status.UNCHANGED, 0, 1)
    assert table.matches()


def test_a_healthy_small_table_is_never_touched(table):
    for _ in range(3):
        assert run(table).status is Status.UNCHANGED
    assert table.version == 0


def test_what_is_said_before_is_what_is_done(table):
    changes = plan_repartition(in_lake(table), limit_bytes=largest(table) - 1, now=NOW)
    [change] = changes
    assert (change.action, change.leaf, change.rows, change.unsplittable) == ("split", "2025-01", 744, False)
    report = run(table, limit_bytes=largest(table) - 1)
    assert set(change.targets) == {leaf for leaf in table.leaves() if leaf != "2025-02"}
    assert (report.bytes_read, report.partitions_touched) == (change.bytes, len(change.targets))
    assert report.peak_memory_bytes > 0
    assert predicted_peak_bytes(ROOMY) <= ROOMY.total_bytes


def test_an_unsplittable_leaf_is_said_once_and_looked_at_again_when_it_doubled(synced):
    same = pa.table({"text": pa.array(["same"] * 500)})
    table = synced(same, mode=SyncMode.FULL_REFRESH, partition=UNPARTITIONED, primary_key=())
    table.sync()
    limit = largest(table) - 1
    notes = Notes()
    assert run(table, limit_bytes=limit, observer=notes).status is Status.UNCHANGED
    assert record(table).unsplittable == {"all": limit + 1}
    assert record(table).failures == 0
    run(table, limit_bytes=limit, observer=notes)
    assert len(notes.notes) == 1
    assert "share one key" in notes.notes[0]


class Notes:
    def __init__(self):
        self.notes = []

    def progress(self, *args, **kwargs): ...

    def note(self, table, message):
        self.notes.append(message)


def test_a_person_may_ask_again_for_an_unsplittable_leaf(synced, monkeypatch):
    table = synced(rows([1]))
    table.sync()
    limit = largest(table) - 1
    planned = []
    monkeypatch.setattr(repartition_module, "plan_split", lambda *a, **k: planned.append(1) or plan_split(*a, **k))
    run(table, limit_bytes=limit)
    run(table, limit_bytes=limit)
    assert len(planned) == 1
    run(table, limit_bytes=limit, by_hand=True)
    assert len(planned) == 2


def test_a_failing_rewrite_counts_and_a_good_one_forgets(table, monkeypatch):
    def broken(*args, **kwargs):
        raise StoreUnavailable("no answer")

    limit = largest(table) - 1
    with monkeypatch.context() as patched:
        patched.setattr(repartition_module, "split_leaf", broken)
        for failures in (1, 2):
            with pytest.raises(ImportPlatformError) as caught:
                run(table, limit_bytes=limit)
            assert record(table).failures == failures
            assert caught.value.report.status is Status.FAILED
    run(table, limit_bytes=limit)
    assert record(table).failures == 0


def test_a_run_that_is_asked_to_stop_ends_between_leaves_and_is_no_failure(table):
    asked = iter([False, True, True, True, True, True])
    report = run(table, limit_bytes=1000, stop=lambda: next(asked, True))
    assert report.status is Status.CHECKPOINTED
    assert {leaf[:7] for leaf in table.leaves() if len(leaf) == 7} == {"2025-02"}, "one of two was split"
    assert record(table).failures == 0
    assert table.matches()


def test_small_quiet_leaves_are_merged_back_and_written_ones_are_not(table, monkeypatch):
    split(table, "2025-01", limit_bytes=2000)
    assert plan_repartition(in_lake(table), limit_bytes=10**6, now=datetime.now(UTC)) == []
    monkeypatch.setattr("import_platform.core.repartition.QUIET", timedelta(0))
    [change] = plan_repartition(in_lake(table), limit_bytes=10**6, now=datetime.now(UTC) + timedelta(seconds=1))
    assert (change.action, change.leaf, change.rows) == ("coarsen", "2025-01", 744)
    report = run(table)
    assert report.status is Status.DONE
    assert table.leaves() == {"2025-01": 744, "2025-02": 256}
    assert table.matches()


@pytest.mark.slow
def test_random_syncs_with_a_repartition_after_each_never_flap(synced, monkeypatch):
    """Quiet counts as at once, which is the hardest case: only the distance between the two limits is left."""
    monkeypatch.setattr("import_platform.core.repartition.QUIET", timedelta(0))
    dice = random.Random(3)
    table = synced(noisy(range(744)), mode=SyncMode.FULL_REFRESH)
    table.sync()
    limit, rewritten, count = largest(table) // 2, [], 200
    for _ in range(200):
        count = min(max(10, int(count * dice.choice([0.3, 0.7, 1.0, 1.4, 2.0]))), 2000)
        table.sync(noisy(range(count)))
        report = run(table, limit_bytes=limit)
        rewritten.append(report.status is Status.DONE)
    assert table.matches()
    assert 1 <= sum(rewritten) < 40
    assert run(table, limit_bytes=limit).status is Status.UNCHANGED


def test_syncs_beside_a_repartition_lose_nothing(table):
    opened = in_lake(table)
    commit = opened.log.commit
    days = iter(range(1, 4))

    def busy(base, what):
        day = next(days, None)
        if day is not None:
            table.sync(replaced(table.source.rows, rows([800, 40 * day, 1000 + day], day=day, text="y")))
        commit(base, what)

    opened.log.commit = busy  # type: ignore[method-assign]
    report = repartition(opened, limit_bytes=2000, budget=ROOMY)
    assert report.status is Status.DONE
    assert table.matches()
    assert not {"2025-01", "2025-02"} & set(table.leaves())


@pytest.mark.slow
def test_64_leaves_over_the_limit_converge_beside_a_busy_sync_and_no_row_is_lost_or_doubled(synced):
    table = synced(noisy(range(6400)), partition=NumberPartition("id", 100), page_rows=1000)
    table.sync()
    limit_bytes = largest(table) * 9 // 10
    assert len(table.leaves()) == 64
    synced_days = []

    def sync():
        day = len(synced_days) + 1
        changed = [day * 37 % 6400, day * 101 % 6400, 6400 + day]
        table.sync(replaced(table.source.rows, rows(changed, day=day, text="y")))
        synced_days.append(day)

    rivals = (sync if commit % 8 == 0 else lambda: None for commit in itertools.count())
    repartition(commits_after(in_lake(table), rivals), limit_bytes=limit_bytes, budget=ROOMY)
    assert not {f"n100_{index}" for index in range(64)} & set(table.leaves())
    assert len(synced_days) >= 3
    assert table.matches()
    run(table, limit_bytes=limit_bytes)
    assert run(table, limit_bytes=limit_bytes).status is Status.UNCHANGED

import math
import multiprocessing
import os
import signal
import threading
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import unquote

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from import_platform.core.report import Silent
from import_platform.errors import CommitConflict, CommitOutcomeUnknown, InvariantBroken
from import_platform.io.delta import Commit, Snapshot
from import_platform.io.lake import Lake
from import_platform.io.parquet import LeafWriter
from import_platform.pipeline import flush as flush_module
from import_platform.pipeline import relayout as relayout_module
from import_platform.pipeline.context import open_lake_table
from import_platform.pipeline.maintain import vacuum
from import_platform.pipeline.split import coarsen, plan_split, split_leaf
from tests.pipeline.lake_table import commits_after, files_in_log, files_on_disk, in_lake, split, version_rows
from tests.pipeline.synced_table import ROOMY, replaced, rows, without


@pytest.fixture
def table(synced):
    """Three months, synced; February is what the tests split."""
    made = synced(rows(range(2000)))
    made.sync()
    return made


@pytest.mark.parametrize(
    "changed",
    [
        rows([800, 801], day=1, text="y"),
        rows([100, 2001], day=1, text="y"),
        rows([800, 100, 2001], day=1, text="y"),
    ],
    ids=["in the leaf", "in others", "in both"],
)
def test_a_sync_that_commits_in_between_loses_nothing_and_doubles_nothing(table, changed):
    opened = commits_after(in_lake(table), [lambda: table.sync(replaced(table.source.rows, changed))])
    done = split(opened, "2025-02")
    assert done.rounds == 2
    assert table.matches()
    assert "2025-02" not in table.leaves()
    assert files_on_disk(table) >= files_in_log(table)


def test_a_sync_elsewhere_costs_the_split_no_rewriting(table):
    elsewhere = rows([100], day=1, text="y")
    opened = commits_after(in_lake(table), [lambda: table.sync(replaced(table.source.rows, elsewhere))])
    done = split(opened, "2025-02")
    assert (done.rounds, done.rewritten_bytes) == (2, done.bytes_written)


def test_a_sync_in_the_leaf_costs_only_the_group_it_touched(table, monkeypatch):
    monkeypatch.setattr(relayout_module, "FOLD_FILE_BYTES", 1)
    monkeypatch.setattr(relayout_module, "GROUP_BYTES", 1)
    table.sync(pa.concat_tables([table.source.rows, in_february(range(3000, 3050), day=1)]))
    newest = in_february([3010], day=2)
    opened = commits_after(in_lake(table), [lambda: table.sync(replaced(table.source.rows, newest))])
    assert opened.snapshot.files.filter(opened.snapshot.files["leaf"] == "2025-02").height > 1
    done = split(opened, "2025-02", limit_bytes=10**6)
    assert table.matches()
    assert done.rounds == 2
    assert done.bytes_written < done.rewritten_bytes < 2 * done.bytes_written


def in_february(ids, *, day):
    return rows(ids, day=day).set_column(1, "created", rows([800] * len(ids)).column("created"))


def test_a_full_refresh_in_between_is_split_instead(table):
    fewer = without(table.source.rows, range(800, 900))
    opened = commits_after(in_lake(table), [lambda: table.sync(fewer, full_refresh=True)])
    split(opened, "2025-02")
    assert table.matches()
    assert "2025-02" not in table.leaves()


def test_a_busy_table_is_split_under_its_lease(table, monkeypatch):
    """Every round a sync touches the leaf; once the lease is held, syncs wait, and the next round wins."""
    monkeypatch.setattr(flush_module, "LEASE_WAIT_SECONDS", math.inf)  # a busy machine needs more than the real one
    held, threads, waits = [], [], threading.Event()

    class Waiting(Silent):
        def note(self, table, text):
            if "waiting for a rewrite" in text:
                waits.set()

    def rival(day):
        def sync():
            held.append(table.staging.lease_held())
            changed = replaced(table.source.rows, rows([800 + day], day=day, text="y"))
            if held[-1]:
                threads.append(threading.Thread(target=table.sync, args=(changed,), kwargs={"observer": Waiting()}))
                threads[-1].start()
                while threads[-1].is_alive() and not waits.wait(0.1):
                    pass
            else:
                table.sync(changed)

        return sync

    opened = commits_after(in_lake(table), [rival(day) for day in range(1, 9)])
    done = split(opened, "2025-02")
    for thread in threads:
        thread.join()
    assert held == [False, False, False, True]
    assert done.rounds == 4
    assert not table.staging.lease_held(), "given back"
    assert table.matches()


@pytest.fixture
def pauses(monkeypatch):
    """How long a flush slept, each time; it does not sleep."""
    slept = []
    monkeypatch.setattr(flush_module, "time", SimpleNamespace(sleep=slept.append))
    return slept


def test_a_flush_waits_for_the_lease_and_goes_on_when_it_takes_too_long(table, pauses):
    table.staging.take_lease("somebody who died")
    table.sync(replaced(table.source.rows, rows([5], day=1, text="y")))
    assert sum(pauses) == flush_module.LEASE_WAIT_SECONDS
    assert table.matches()


def test_a_flush_that_is_asked_to_stop_waits_no_longer(table, pauses):
    table.staging.take_lease("somebody who died")
    table.sync(replaced(table.source.rows, rows([5], day=1, text="y")), stop=lambda: len(pauses) == 3)
    assert len(pauses) == 3


def test_only_the_holder_renews_and_releases_a_lease(table):
    staging = table.staging
    assert staging.take_lease("one")
    assert not staging.take_lease("two")
    staging.release_lease("two")
    staging.renew_lease("two")
    assert staging.lease_held()
    staging.release_lease("one")
    assert not staging.lease_held()


def test_two_attempts_at_once_split_once(table):
    late = in_lake(table)
    plan = plan_split(late, "2025-02", limit_bytes=1000)
    commits_after(late, [lambda: split(table, "2025-02")])
    done = split_leaf(late, plan, budget=ROOMY)
    assert (done.files_added, done.rounds) == (0, 2)
    assert table.version == 1
    assert table.matches()
    before = {path for path in version_paths(table, 0) if "=2025-02/" in path}
    assert files_on_disk(table) - files_in_log(table) == before, "what the loser wrote is deleted"


def version_paths(table, version):
    actions = DeltaTable(table.uri, version=version).get_add_actions(flatten=True)
    return {unquote(path) for path in actions["path"].to_pylist()}


def test_a_merge_back_against_a_split_of_the_same_rows_leaves_one_layout(table):
    split(table, "2025-02", limit_bytes=10**6)
    late = commits_after(in_lake(table), [lambda: split(table, "2025-02-03", limit_bytes=1)])
    coarsen(late, "2025-02", budget=ROOMY)
    assert [leaf for leaf in table.leaves() if leaf.startswith("2025-02")] == ["2025-02"]
    assert table.matches()


def test_a_new_leaf_that_appears_below_the_node_is_merged_too(synced):
    table = synced(rows(range(2000)))
    table.sync()
    late = in_lake(table)
    commits_after(late, [lambda: table.sync(replaced(table.source.rows, rows([5000], day=1)))])
    coarsen(late, "2025", budget=ROOMY)
    assert table.leaves() == {"2025": 2001}
    assert table.matches()


def test_a_commit_whose_acknowledgement_was_lost_is_found_in_the_log(table, monkeypatch):
    """The commit lands, the store says it does not know; the next round must neither repeat nor delete it."""
    opened = in_lake(table)
    commit = opened.log.commit

    def lost(base: Snapshot, what: Commit) -> None:
        commit(base, what)
        raise CommitOutcomeUnknown("the test ate the answer")

    opened.log.commit = lost  # type: ignore[method-assign]
    done = split(opened, "2025-02")
    assert done.files_added > 1
    assert table.version == 1
    assert files_in_log(table) <= files_on_disk(table)
    assert table.matches()


def test_a_commit_reported_as_a_conflict_though_it_is_ours_is_kept_even_after_others_went_on(table):
    opened = in_lake(table)
    commit = opened.log.commit

    def refused(base: Snapshot, what: Commit) -> None:
        commit(base, what)
        table.sync(replaced(table.source.rows, rows([800], day=1, text="y")))
        raise CommitConflict("the store refused its own retry")

    opened.log.commit = refused  # type: ignore[method-assign]
    split(opened, "2025-02")
    assert table.version == 2
    assert files_in_log(table) <= files_on_disk(table)
    assert version_rows(table, 1).equals(version_rows(table, 0))
    assert table.matches()


def test_while_an_outcome_is_in_doubt_nothing_is_deleted(table, monkeypatch):
    monkeypatch.setattr(relayout_module, "TRIES", 2)
    monkeypatch.setattr(relayout_module, "BACKOFF_SECONDS", 0.0)
    opened = in_lake(table)

    def unknown(base: Snapshot, what: Commit) -> None:
        raise CommitOutcomeUnknown("no answer")

    opened.log.commit = unknown  # type: ignore[method-assign]
    with pytest.raises(CommitConflict):
        split(opened, "2025-02")
    assert len(files_on_disk(table) - files_in_log(table)) > 1, "they may still be committed; vacuum knows later"


def test_a_rewrite_that_would_lose_a_row_is_never_committed(table, monkeypatch):
    write = LeafWriter.write
    monkeypatch.setattr(LeafWriter, "write", lambda self, batch: write(self, batch.slice(1)))
    with pytest.raises(InvariantBroken, match="number of rows"):
        split(table, "2025-02")
    assert table.version == 0


def test_a_column_added_in_between_is_in_the_children(table):
    wider = rows(range(2000), day=1).append_column("extra", pa.array([f"e{n}" for n in range(2000)]))
    opened = commits_after(in_lake(table), [lambda: table.sync(wider)])
    split(opened, "2025-02")
    assert table.matches()


def _split_and_die(uri: str, at: str) -> None:
    lake_table = open_lake_table(Lake(uri), "s", "t")
    commit = lake_table.log.commit

    def die(base: Snapshot, what: Commit) -> None:
        if at == "after":
            commit(base, what)
        os.kill(os.getpid(), signal.SIGKILL)

    if at == "while writing":
        waiting = iter(range(20))
        close = LeafWriter.close

        def some(self):
            if next(waiting, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return close(self)

        LeafWriter.close = some  # type: ignore[method-assign]
    lake_table.log.commit = die  # type: ignore[method-assign]
    split(lake_table, "2025-02")


@pytest.mark.parametrize("at", ["while writing", "before", "after"])
def test_a_kill_leaves_only_orphans_and_the_next_run_finishes(table, at):
    process = multiprocessing.get_context("spawn").Process(target=_split_and_die, args=(table.lake.uri, at))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert table.matches()
    assert ("2025-02" in table.leaves()) == (at != "after")
    if at != "after":
        assert files_on_disk(table) > files_in_log(table)
        split(table, "2025-02")
    assert table.matches()
    vacuum(in_lake(table), older_than=timedelta(0))
    assert files_on_disk(table) == files_in_log(table)
    assert table.matches()

from datetime import timedelta

import pytest

from import_platform.core import maintenance
from import_platform.core.maintenance import COMPACT_FILES
from import_platform.core.table import SyncMode
from import_platform.pipeline.maintain import compact_leaf, maintain, vacuum
from tests.pipeline.lake_table import commits_after, files_in_log, files_on_disk, in_lake, version_rows
from tests.pipeline.synced_table import ROOMY, rows


@pytest.fixture
def appended(synced):
    """A table that appends left with many small files in one leaf."""
    table = synced(rows(range(10)), mode=SyncMode.APPEND, cursor="id")
    table.sync()
    folded = [table.sync(rows(range(10 * n))) for n in range(2, COMPACT_FILES + 2)]
    assert folded
    return table


@pytest.fixture(autouse=True)
def merges_never_fold(monkeypatch):
    monkeypatch.setattr("import_platform.core.merge.FOLD_FILES", 10**6)


def test_many_small_files_become_one_with_the_same_rows_in_key_order(appended):
    version = appended.version
    done = compact_leaf(in_lake(appended), "2025-01", budget=ROOMY)
    assert (done.files_removed, done.files_added, done.rows) == (COMPACT_FILES + 1, 1, 10 * (COMPACT_FILES + 1))
    assert version_rows(appended, version).equals(version_rows(appended, version + 1))
    assert appended.raw_frame()["id"].is_sorted()
    assert appended.matches()


def test_an_append_in_between_is_neither_lost_nor_doubled(appended):
    opened = commits_after(in_lake(appended), [lambda: appended.sync(rows(range(500)))])
    done = compact_leaf(opened, "2025-01", budget=ROOMY)
    assert done.rounds == 2
    assert appended.matches()


def test_two_compactions_at_once_compact_once(appended):
    late = commits_after(in_lake(appended), [lambda: compact_leaf(in_lake(appended), "2025-01", budget=ROOMY)])
    assert compact_leaf(late, "2025-01", budget=ROOMY).files_added == 0
    assert appended.matches()
    assert len(files_in_log(appended)) == 1


def test_maintenance_leaves_healthy_leaves_alone_and_comes_to_rest(appended):
    appended.sync(rows(range(2000)))
    first = maintain(in_lake(appended), budget=ROOMY)
    version = appended.version
    second = maintain(in_lake(appended), budget=ROOMY)
    assert [done.files_removed for done in first.compactions] == [COMPACT_FILES + 2]
    assert second.compactions == ()
    assert appended.version == version
    assert appended.matches()


def test_young_files_are_never_vacuumed(appended):
    compact_leaf(in_lake(appended), "2025-01", budget=ROOMY)
    before = files_on_disk(appended)
    assert maintain(in_lake(appended), budget=ROOMY).deleted_files == 0
    assert files_on_disk(appended) == before


def test_vacuum_deletes_what_no_version_names_and_orphans_of_killed_writers(appended):
    compact_leaf(in_lake(appended), "2025-01", budget=ROOMY)
    orphan = "_partition=2025-01/orphan.parquet"
    appended.lake.store.put(f"{appended.lake.table_path('s', 't')}/{orphan}", b"half a file")
    assert files_on_disk(appended) > files_in_log(appended)
    count, size = vacuum(in_lake(appended), older_than=timedelta(0))
    assert count == COMPACT_FILES + 2
    assert size > 0
    assert files_on_disk(appended) == files_in_log(appended)
    assert appended.matches()


def test_compaction_in_little_memory_keeps_every_row(appended, monkeypatch):
    monkeypatch.setattr("import_platform.pipeline.relayout.buffered_bytes", lambda budget: 2000)
    compact_leaf(in_lake(appended), "2025-01", budget=ROOMY)
    assert appended.matches()


def test_files_that_are_large_enough_are_not_rewritten(appended, monkeypatch):
    monkeypatch.setattr(maintenance, "SMALL_FILE_BYTES", 1)
    assert maintain(in_lake(appended), budget=ROOMY).compactions == ()


def staged(table, *names):
    return table.lake.store.folders(f"{table.lake.staging_path('s', 't')}/{'/'.join(names)}")


def test_attempts_that_nobody_goes_on_with_are_deleted_with_and_without_a_manifest(appended):
    appended.source.fail_after, appended.source.page_rows = appended.source.pages + 2, 5
    with pytest.raises(ConnectionError):
        appended.sync(rows(range(500)))
    [attempt] = staged(appended, "attempts")
    orphan = f"{appended.lake.staging_path('s', 't')}/attempts/orphan/00000001-x.arrow"
    appended.lake.store.put(orphan, b"left by a killed discard")
    maintain(in_lake(appended), budget=ROOMY, vacuum_age=timedelta(hours=1))
    assert sorted(staged(appended, "attempts")) == sorted([attempt, "orphan"])
    maintain(in_lake(appended), budget=ROOMY, vacuum_age=timedelta(0))
    assert staged(appended, "attempts") == []
    appended.source.fail_after = None
    appended.sync()
    assert appended.matches()


def test_states_that_are_no_longer_in_force_are_forgotten_and_syncs_go_on(appended):
    path = f"{appended.lake.staging_path('s', 't')}/state"
    before = list(appended.lake.store.entries(path))
    maintain(in_lake(appended), budget=ROOMY, vacuum_age=timedelta(hours=1))
    assert len(list(appended.lake.store.entries(path))) == len(before) > 1
    maintain(in_lake(appended), budget=ROOMY, vacuum_age=timedelta(0))
    assert len(list(appended.lake.store.entries(path))) == 1
    appended.sync(rows(range(200)))
    assert appended.matches()

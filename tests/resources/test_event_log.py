from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.instance.ref import InstanceRef

from import_platform.resources.event_log import FILES_MAX, KeptEventLog, kept_open
from import_platform.resources.home import open_instance


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


@dg.asset
def orders(context):
    context.log.info("read")
    return dg.MaterializeResult(metadata={"rows": 3})


def entries(instance, run_id):
    return [(record.storage_id, record.event_log_entry) for record in instance.get_records_for_run(run_id).records]


def open_files(home):
    return {Path(file.path).name for file in psutil.Process().open_files() if str(home / "history/runs") in file.path}


def test_dagsters_own_log_reads_every_entry_while_the_files_are_open(home):
    with open_instance(home) as ours, dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as dagsters:
        run = dg.materialize([orders], instance=ours).run_id
        assert isinstance(ours.event_log_storage, KeptEventLog)
        assert not isinstance(dagsters.event_log_storage, KeptEventLog)
        assert entries(dagsters, run) == entries(ours, run)
        assert len(entries(ours, run)) > 5
        assert dagsters.get_latest_materialization_event(orders.key).run_id == run
        later = dg.materialize([orders], instance=dagsters).run_id
        assert ours.get_latest_materialization_event(orders.key).run_id == later


def test_runs_in_threads_keep_their_entries_apart(home):
    with open_instance(home) as instance, ThreadPoolExecutor(3) as pool:
        instance.get_yaml_python_handlers = list  # as the launcher: Dagster would configure logging while others log
        runs = list(pool.map(lambda _: dg.materialize([orders], instance=instance).run_id, range(6)))
        counts = {len(entries(instance, run)) for run in runs}
        assert len(counts) == 1
        assert {entry.run_id for run in runs for _, entry in entries(instance, run)} == set(runs)


def test_few_files_are_kept_open_and_none_at_the_end(home):
    with open_instance(home) as instance:
        runs = [dg.materialize([orders], instance=instance).run_id for _ in range(FILES_MAX + 3)]
        assert "index.db" in open_files(home)
        assert f"{runs[-1]}.db" in open_files(home)
        assert len({name for name in open_files(home) if name.endswith(".db")}) == FILES_MAX
        assert all(entries(instance, run) for run in runs)
    assert open_files(home) == set()


def test_a_storage_of_ones_own_choice_is_left_alone(home):
    (home / "dagster.yaml").write_text("storage: {postgres: {postgres_url: 'postgresql://localhost/dagster'}}\n")
    ref = InstanceRef.from_dir(str(home))
    assert kept_open(ref) == ref


def test_a_folder_of_ones_own_for_sqlite_is_used(home):
    (home / "dagster.yaml").write_text(f"storage: {{sqlite: {{base_dir: '{home}/elsewhere'}}}}\n")
    with open_instance(home) as instance:
        run = dg.materialize([orders], instance=instance).run_id
    assert (home / "elsewhere" / "history" / "runs" / f"{run}.db").exists()


def test_the_disk_is_waited_for_when_a_log_is_folded_and_a_killed_process_loses_no_entry(home):
    with open_instance(home) as instance:
        with instance.event_log_storage.index_connection() as connection:
            kept = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert kept == ["wal", 1]  # 1 is NORMAL
    killed = subprocess.run([sys.executable, "-c", _MATERIALIZES_AND_IS_KILLED, str(home)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as dagsters:
        assert dagsters.get_latest_materialization_event(orders.key) is not None


_MATERIALIZES_AND_IS_KILLED = """
import os, pathlib, signal, sys
import dagster as dg
from import_platform.resources.home import open_instance

@dg.asset
def orders():
    return None

with open_instance(pathlib.Path(sys.argv[1])) as instance:
    dg.materialize([orders], instance=instance)
    os.kill(os.getpid(), signal.SIGKILL)
"""

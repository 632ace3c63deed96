"""A killed process must not hold its tables: no daemon is needed, and a living one is waited for and then named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from import_platform.core.report import Status
from import_platform.jobs.dead_runs import end_dead_runs
from import_platform.jobs.launch import launch_sync
from import_platform.resources.naming import HOST_TAG, PROCESS_TAG
from import_platform.resources.process import process_tags

SYNC_AND_HANG = """
import sys, time
from pathlib import Path
from import_platform.components.loading import load_sources
from import_platform.errors import Interrupted
from import_platform.jobs.launch import launch_sync

class Hanging:
    told = False
    def note(self, table, message): pass
    def progress(self, table, stage, **counts):
        if table == "shop/orders" and not self.told:
            self.told = True
            print("working", flush=True)
            while not Path(sys.argv[1]).exists():
                time.sleep(0.05)

try:
    print([r.status.value for r in launch_sync(["shop"], sources=load_sources(), observer=Hanging())], flush=True)
except Interrupted as error:
    print("interrupted", [r.status.value for r in error.report], flush=True)
"""


@pytest.fixture
def working(project):
    """Starts a process that syncs the shop and hangs inside the orders table until the file `go_on` is there."""
    started = []

    def start():
        child = subprocess.Popen(
            [sys.executable, "-c", SYNC_AND_HANG, str(project.root / "go_on")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        started.append(child)
        assert child.stdout.readline() == "working\n", child.stderr.read()
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()


@pytest.mark.slow
def test_the_sync_after_a_kill_starts_at_once_and_ends_the_dead_run(project, working):
    child = working()
    child.send_signal(signal.SIGKILL)
    child.wait()
    reports = launch_sync(["shop"], sources=project.sources(), wait_seconds=0)
    assert {r.status for r in reports} <= {Status.DONE, Status.UNCHANGED}
    assert pl.read_delta(str(project.root / "lake/shop/orders")).height == 400
    with project.instance() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
        assert instance.event_log_storage.get_concurrency_info("delta/shop/orders").active_slot_count == 0


@pytest.mark.slow
def test_a_living_run_is_waited_for_and_then_named_while_the_other_tables_go_on(project, working):
    working()
    reports = launch_sync(["shop"], sources=project.sources(), wait_seconds=1)
    with project.instance() as instance:
        [holder] = [run for run in instance.get_runs() if run.status is dg.DagsterRunStatus.STARTED]
    assert [r.status is Status.FAILED for r in reports] == [True, False]
    assert "another run is working on this table" in reports[0].error
    assert holder.run_id in reports[0].error


@pytest.mark.slow
def test_a_table_that_gets_free_in_time_is_synced(project, working):
    child = working()
    freed = threading.Timer(3, (project.root / "go_on").touch)
    freed.start()
    [report] = launch_sync(["shop/orders"], sources=project.sources(), wait_seconds=600)
    freed.join()
    assert report.status in {Status.DONE, Status.UNCHANGED}
    assert child.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_deploy_ends_a_sync_at_a_checkpoint_and_the_next_one_goes_on(project, working, number):
    child = working()
    child.send_signal(number)
    (project.root / "go_on").touch()
    out, err = child.communicate()
    assert out.startswith("interrupted"), out + err
    with project.instance() as instance:
        assert instance.get_runs()[0].status is dg.DagsterRunStatus.CANCELED
        assert instance.event_log_storage.get_concurrency_info("delta/shop/orders").active_slot_count == 0
    reports = launch_sync(["shop"], sources=project.sources())
    assert {r.status for r in reports} <= {Status.DONE, Status.UNCHANGED}
    assert pl.read_delta(str(project.root / "lake/shop/orders")).height == 400


def _started_run(instance, **tags):
    @dg.job
    def idle():
        pass

    run = instance.create_run_for_job(idle, tags={**process_tags(), **tags})
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level=20,
            user_message="",
            run_id=run.run_id,
            timestamp=time.time(),
            job_name="idle",
            dagster_event=dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "idle"),
        )
    )
    return run.run_id


@pytest.mark.parametrize(
    ("tags", "ended"),
    [
        ({}, False),
        ({PROCESS_TAG: f"{os.getpid()}:1"}, True),
        ({PROCESS_TAG: f"{os.getpid()}:1", HOST_TAG: "another-host.1"}, False),
        ({PROCESS_TAG: ""}, False),
    ],
    ids=["alive", "another process has the id", "another host", "no process known"],
)
def test_only_runs_of_this_host_whose_process_is_gone_are_ended(project, tags, ended):
    with project.instance() as instance:
        run_id = _started_run(instance, **tags)
        assert (end_dead_runs(instance) == [run_id]) is ended
        assert (instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE) is ended

"""What the two sensors of run ends decide, on real events of real instances; `test_kills_for_real` kills for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from import_platform.core.blame import Worked
from import_platform.core.grants import Holder
from import_platform.core.measures import LADDER, Measures
from import_platform.core.relaunch import DEPLOYS_MAX
from import_platform.core.step_memory import Step
from import_platform.io.grants import Grants
from import_platform.io.incidents import REWRITE, Incidents
from import_platform.io.lake import Lake
from import_platform.io.table_memory import read_memory
from import_platform.jobs.dead_runs import end_dead_runs
from import_platform.jobs.schedules import paused_tables
from import_platform.resources.memory import tickets_folder
from import_platform.resources.naming import DEPLOYS_TAG, PROCESS_TAG, SOURCE_TAG, STOPPED, op_name
from import_platform.resources.process import process_tags
from import_platform.sensors import memory_kills
from import_platform.sensors.import_failures import Ends, react
from import_platform.sensors.memory_kills import Killed, after_kill

TABLES = {op_name("shop", table): ("shop", table) for table in ("orders", "customers")}
ENDS = Ends(TABLES, frozenset({"sync_shop", "maintain_shop"}))
ORDERS, CUSTOMERS = TABLES
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="m"), location_name="l"), "r"),
    "sync_shop",
)


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IMPORT_PLATFORM_LAKE", str(tmp_path / "lake"))
    return Lake(str(tmp_path / "lake"))


class Run:
    """A run whose events are written one by one."""

    def __init__(self, instance, *, job="sync_shop", tags=None, launched=True):
        self.instance = instance
        run = dg.DagsterRun(
            job_name=job,
            tags={SOURCE_TAG: "shop", **(tags or {})},
            remote_job_origin=ORIGIN if launched else None,
            asset_selection=frozenset({dg.AssetKey(["shop", "orders"])}),
            run_config={"ops": {}},
            status=dg.DagsterRunStatus.STARTED,
        )
        self.run = instance.add_run(run)

    def event(self, kind, message="", step=None, data=None):
        made = DagsterEvent(kind.value, "sync_shop", step_key=step, message=message, event_specific_data=data)
        self.instance.report_dagster_event(made, self.run.run_id)
        return self

    def started(self, *steps):
        for step in steps:
            self.event(DagsterEventType.STEP_START, step=step)
        return self

    def engine(self, message, step=None):
        return self.event(DagsterEventType.ENGINE_EVENT, message, step, EngineEventData())

    def failed(self):
        self.instance.report_run_failed(self.run)
        return self

    def react(self, lake):
        """(lines told, runs asked for)"""
        told = []
        run = self.instance.get_run_by_id(self.run.run_id)
        result = react(self.instance, run, lake, ENDS, told.append)
        return told, list(result.run_requests) if result else []


def killed_run(instance, **how):
    run = Run(instance, **how).started(ORDERS)
    return run.engine(f"Run execution process for {run.run.run_id} was terminated by signal 9 (SIGKILL).").failed()


def test_a_killed_worker_is_an_incident_of_the_table_that_it_worked_on(instance, lake):
    told, [again] = killed_run(instance).react(lake)
    assert "memory: its process was killed by signal 9" in told[0]
    [incident] = Incidents(lake).every()
    assert (incident.table, incident.kind, incident.error_class) == ("orders", "memory", "KilledForMemory")
    assert incident.action == "fewer workers from now on; schedules leave it alone for 5 minutes"
    assert read_memory(lake, "shop", "orders").measures == Measures(1)
    assert again.tags["import_platform/relaunched_after_kill"] == "1"


def test_a_scheduled_run_that_was_killed_comes_again_by_itself_but_rests_first(instance, lake):
    _told, requests = killed_run(instance, tags={"dagster/schedule_name": "sync_shop"}).react(lake)
    assert requests == []
    now = datetime.now(UTC)
    assert list(paused_tables("shop", ["orders", "customers"], now=now)) == ["orders"]
    assert paused_tables("shop", ["orders"], now=now + timedelta(minutes=6)) == {}


def test_kills_take_measure_after_measure_and_end_with_a_person(instance, lake):
    actions, relaunched = [], 0
    tags = {}
    for _ in range(7):
        run = killed_run(instance, tags=tags)
        _told, requests = run.react(lake)
        relaunched += len(requests)
        tags = dict(requests[0].tags) if requests else tags
        [incident] = Incidents(lake).every()
        actions.append(incident.action.partition(";")[0])
    assert [action.partition(" from now")[0] for action in actions[:2]] == ["fewer workers", "smaller chunks"]
    assert "no leaf is large enough" in actions[2]
    assert actions[3:] == [actions[3]] * 4
    assert "a person has to look" in actions[3]
    assert relaunched == 3, "and no loop"
    assert (incident.is_paused, incident.count) == (True, 7)
    assert read_memory(lake, "shop", "orders").measures == Measures(len(LADDER))


def test_the_same_run_seen_twice_counts_once(instance, lake):
    run = killed_run(instance)
    run.react(lake)
    _told, [again] = run.react(lake)
    [incident] = Incidents(lake).every()
    assert (incident.count, read_memory(lake, "shop", "orders").measures.level) == (1, 1)
    assert again.run_key == f"relaunch:{run.run.run_id}", "Dagster starts a run key once"


def ticket(home, table, *, run="", pid=0, held=0, granted=100, began=0.0, ended=False):
    folder = tickets_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.iterdir())) + 1
    holder = Holder(
        f"shop/{table}", "flush", run_id=run, host=os.uname().nodename, pid=pid, budget_bytes=1000, base_bytes=10,
        planned_bytes=100, granted_bytes=granted, held_bytes=held, began_at=began or time.time() - 5,
        seen_at=time.time() + 60 if ended else time.time(), ended=ended,
    )  # fmt: skip
    if ended:
        (folder / "ended").mkdir(exist_ok=True)
        (folder / "ended" / f"{number:012d}-{granted}-{time.time_ns()}").write_bytes(holder.to_json())
    else:
        (folder / f"{number:012d}-{granted}.held").write_bytes(holder.to_json())
    return holder


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


DEAD_PID = 2**22 + 1


@pytest.mark.parametrize("survivor", ["ended", "in another killed process"])
def test_the_table_that_grew_is_blamed_though_its_neighbour_was_killed(instance, lake, home, survivor):
    run = Run(instance).started(ORDERS, CUSTOMERS)
    ticket(home, "customers", run=run.run.run_id, pid=DEAD_PID, held=60)
    other = {"ended": True} if survivor == "ended" else {"run": "another run", "pid": DEAD_PID + 1}
    ticket(home, "orders", held=900, **other)
    run.engine("Multiprocess executor: child process for step was terminated by signal 9 (SIGKILL).", CUSTOMERS)
    run.failed().react(lake)
    [incident] = Incidents(lake).every()
    assert (incident.table, incident.facts["held_bytes"]) == ("orders", 900)
    assert [each["table"] for each in incident.beside] == ["shop/customers"]
    assert read_memory(lake, "shop", "customers").measures == Measures()
    [hit] = read_memory(lake, "shop", "orders").history.of(Step.FLUSH)
    assert (hit.hit, hit.held_bytes, hit.granted_bytes) == (True, 900, 100)


def test_what_this_machine_does_is_no_suspect_for_a_run_of_another_machine(instance, lake, home):
    run = Run(instance).started(ORDERS)
    ticket(home, "customers", run="a run of this machine", held=9000, ended=True)
    run.engine("Run execution process was terminated by signal 9 (SIGKILL).").failed().react(lake)
    [incident] = Incidents(lake).every()
    assert (incident.table, list(incident.beside)) == ("orders", [])


def test_a_step_that_ended_long_before_the_kill_is_no_suspect(instance, lake, home):
    run = Run(instance).started(ORDERS)
    early = ticket(home, "customers", held=5000, ended=True)
    for path in (tickets_folder(home) / "ended").iterdir():
        path.write_bytes(replace(early, began_at=time.time() - 500, seen_at=time.time() - 400).to_json())
    ticket(home, "orders", run=run.run.run_id, pid=DEAD_PID, held=50)
    run.engine("Run execution process was terminated by signal 9 (SIGKILL).").failed().react(lake)
    [incident] = Incidents(lake).every()
    assert (incident.table, list(incident.beside)) == ("orders", [])


def test_the_kernels_count_is_compared_with_that_of_the_start(instance, lake, home, tmp_path):
    group = tmp_path / "group"
    group.mkdir()
    (group / "memory.events").write_text("oom 9\noom_kill 4\n")
    run = Run(instance).started(ORDERS)
    mine = ticket(home, "orders", run=run.run.run_id, pid=DEAD_PID)
    for path in tickets_folder(home).glob("*.held"):
        path.write_bytes(replace(mine, group=str(group), oom_kills=3).to_json())
    run.engine("Run execution process was terminated by signal 9 (SIGKILL).").failed()
    told, _requests = run.react(lake)
    assert "the kernel killed 1 process(es) of its cgroup for memory" in told[0]


def test_kubernetes_says_it_in_the_text_of_its_pod(instance, lake):
    run = Run(instance).started(ORDERS)
    text = "Detected run worker status FAILED: 'no active pods'.\nDebug: container dagster terminated: OOMKilled (137)"
    told, _requests = run.engine(text).failed().react(lake)
    assert "Kubernetes says OOMKilled" in told[0]
    assert Incidents(lake).every()[0].table == "orders"


def stopped_run(instance, *, asked=None, **how):
    run = Run(instance, **how).started(ORDERS)
    stored = instance.get_run_by_id(run.run.run_id)
    if asked:
        instance.report_run_canceling(stored, *([] if asked == "UI" else [asked]))
    instance.report_run_canceling(stored, f"{STOPPED}; the sync ended at a checkpoint.") if asked != "UI" else None
    run.event(DagsterEventType.RUN_CANCELED, 'Execution of run for "sync_shop" canceled.')
    return run


def test_a_deploys_victim_is_started_again_with_its_partition_tags_and_selection(instance, lake):
    tags = {"dagster/partition": "2025-01", "team": "data", "dagster/run_key": "old", PROCESS_TAG: "1:2"}
    told, [again] = stopped_run(instance, tags=tags).react(lake)
    assert "deploy: its process was asked to stop" in told[0]
    assert again.job_name == "sync_shop"
    assert again.asset_selection == [dg.AssetKey(["shop", "orders"])]
    assert {name: again.tags.get(name) for name in tags} == {
        "dagster/partition": "2025-01",
        "team": "data",
        "dagster/run_key": None,
        PROCESS_TAG: None,
    }
    assert again.tags[DEPLOYS_TAG] == "1"
    assert Incidents(lake).every() == []


def test_the_twenty_first_relaunch_is_an_incident_instead(instance, lake):
    _told, [last] = stopped_run(instance, tags={DEPLOYS_TAG: str(DEPLOYS_MAX - 1)}).react(lake)
    assert last.tags[DEPLOYS_TAG] == str(DEPLOYS_MAX)
    assert stopped_run(instance, tags={DEPLOYS_TAG: str(DEPLOYS_MAX)}).react(lake)[1] == []
    [incident] = Incidents(lake).every()
    assert (incident.kind, incident.error_class, incident.table) == ("deploy", "DeployedOver", "orders")


def test_what_a_person_terminated_is_left_alone(instance, lake):
    told, requests = stopped_run(instance, asked="UI").react(lake)
    assert "person: somebody asked" in told[0]
    assert (requests, Incidents(lake).every()) == ([], [])


def test_a_worker_that_was_stopped_between_two_tables_counts_as_a_deploys_too(instance, lake):
    run = Run(instance).started(ORDERS)
    message = "Execution was interrupted unexpectedly. No user initiated termination request was found, ..."
    run.event(DagsterEventType.RUN_FAILURE, message, data=dg_failure())
    told, [again] = run.react(lake)
    assert "deploy" in told[0]
    assert again.tags[DEPLOYS_TAG] == "1"


def dg_failure():
    from dagster._core.events import JobFailureData

    return JobFailureData(error=None)


def test_a_run_of_the_command_line_that_was_killed_is_recorded_and_never_started_again(instance, lake, home):
    """Nobody but the next process that looks ends such a run."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        assert process.wait() == -signal.SIGKILL
    tags = process_tags() | {PROCESS_TAG: f"{process.pid}:1"}
    run = Run(instance, tags=tags, launched=False).started(ORDERS)
    holder = ticket(home, "orders", run=run.run.run_id, pid=process.pid, held=900)
    assert not Grants(tickets_folder(home), 0).holders()
    for path in (tickets_folder(home) / "ended").iterdir():
        path.write_bytes(replace(holder, group="", oom_kills=-1).to_json())
    assert run.run.run_id in end_dead_runs(instance)
    told, requests = run.react(lake)
    assert "its process is gone, and held 91 % of its budget" in told[0]
    assert requests == []
    assert [(each.table, each.kind) for each in Incidents(lake).every()] == [("orders", "memory")]


def failing_run(instance, job, error_class):
    name = ORDERS

    @dg.op(name=name)
    def orders():
        raise dg.Failure("the sentence of the error", metadata={"error_class": error_class})

    @dg.graph(name=job)
    def graph():
        orders()

    return graph.to_job(name=job, tags={SOURCE_TAG: "shop"}).execute_in_process(instance=instance, raise_on_error=False)


@pytest.mark.parametrize(
    ("error_class", "expected"),
    [
        ("InvariantBroken", [("InvariantBroken", "ours", "the sentence of the error")]),
        ("StoreUnavailable", [("StoreUnavailable", "ours", "the sentence of the error")]),
        ("SourceRejected", []),  # its sync wrote the incident, with the request
        ("TableBusy", []),
    ],
)
def test_what_failed_by_itself_is_ours_unless_its_sync_said_more(instance, lake, error_class, expected):
    result = failing_run(instance, "sync_shop", error_class)
    told = []
    assert react(instance, instance.get_run_by_id(result.run_id), lake, ENDS, told.append) is None
    assert [(each.error_class, each.kind, each.error) for each in Incidents(lake).every()] == expected


def test_a_step_that_stopped_itself_short_of_its_budget_makes_the_next_one_careful(instance, lake):
    result = failing_run(instance, "sync_shop", "MemoryBudgetExceeded")
    react(instance, instance.get_run_by_id(result.run_id), lake, ENDS, lambda line: None)
    assert [(each.table, each.kind) for each in Incidents(lake).every()] == [("orders", "memory")]
    assert read_memory(lake, "shop", "orders").measures.level == 1


def test_a_failed_rewrite_does_not_hide_what_is_wrong_with_the_tables_syncs(instance, lake):
    incidents = Incidents(lake)
    incidents.record("shop", "orders", error_class="SourceRejected", error="no", is_fault=True)
    result = failing_run(instance, "maintain_shop", "InvariantBroken")
    react(instance, instance.get_run_by_id(result.run_id), lake, ENDS, lambda line: None)
    assert incidents.of_table("shop", "orders").error_class == "SourceRejected"
    assert incidents.of_table("shop", "orders", about=REWRITE).error_class == "InvariantBroken"
    incidents.resolve("shop", "orders")
    assert incidents.of_table("shop", "orders", about=REWRITE) is not None


def test_a_run_of_somebody_else_is_none_of_ours(instance, lake):
    run = Run(instance).started(ORDERS).failed()
    foreign = run.run.with_tags({}) if hasattr(run.run, "with_tags") else replace_tags(run.run)
    assert react(instance, foreign, lake, ENDS, lambda line: None) is None


def replace_tags(run):
    return dg.DagsterRun(job_name=run.job_name, run_id=run.run_id, status=run.status)


def test_a_lake_that_is_away_keeps_no_deploys_victim_from_being_started_again(instance, lake, tmp_path):
    """And a kill without a lake to write to is told in the log."""
    (tmp_path / "lake").rmdir() if (tmp_path / "lake").is_dir() else None
    (tmp_path / "lake").write_text("a file where the lake was")
    told, [again] = killed_run(instance).react(lake)
    assert "no incident could be recorded" in told[1]
    assert again.run_key.startswith("relaunch:")


def test_the_third_kill_asks_for_a_split_of_a_leaf_that_is_worth_one(lake, monkeypatch):
    monkeypatch.setattr(memory_kills, "SPLIT_LEAST_BYTES", 1)
    from tests.sensors.test_repartition_oversized import FakeFiles

    files = FakeFiles(lake.uri)
    files.table("large", {"2025-01-01": 900, "2025-01-02": 100})
    requests = []
    for run in range(3):
        killed = Killed(f"run-{run}", "signal 9", (Worked("s/large", killed=True),), datetime.now(UTC))
        requests = after_kill(killed, lake, Incidents(lake), jobs={"maintain_s"})
    [split] = requests
    assert (split.job_name, split.run_config["tables"], split.run_config["max_bytes"]) == ("maintain_s", ["large"], 450)
    [incident] = Incidents(lake).every()
    assert incident.action.startswith("its largest leaf is split, chunks are a quarter")

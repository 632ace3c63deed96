from __future__ import annotations

import itertools
import json
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa
import pytest

from import_platform.components.source_definitions import PLATFORM
from import_platform.core.identity import Identity
from import_platform.core.repartition import FAILURES_MAX, RepartitionRecord
from import_platform.core.table import DeclaredTable, Granularity, TimePartition
from import_platform.definitions import build_definitions
from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.io.parquet import WrittenFile
from import_platform.jobs.launch import launch_sync
from import_platform.pipeline.context import open_lake_table
from import_platform.resources.naming import partitions_def
from import_platform.sensors import repartition_oversized as sensor_module
from import_platform.sensors.repartition_oversized import Memory, Watched, evaluate, watched_tables

SCHEMA = pa.schema([("id", pa.int64()), ("created", pa.timestamp("us", "UTC"))])
DAILY = TimePartition("created", Granularity.DAY)
LIMIT = 1000
NOW = datetime.now(UTC) + timedelta(days=30)


class FakeFiles(Lake):
    """A real lake whose tables have real logs; the data files they name are there with the right sizes, and empty."""

    def table(self, name: str, leaves: dict[str, int]) -> Watched:
        files = [
            WrittenFile(f"_partition={leaf}/{uuid.uuid4().hex}.parquet", leaf, size, 10, size, '{"numRecords": 10}')
            for leaf, size in leaves.items()
        ]
        path = self.table_path("s", name)
        for file in files:
            self.store.put(f"{path}/{file.path}", b"0" * file.size_bytes)
        log, identity = DeltaLog(self.store, path), Identity(DAILY, ("id",))
        snapshot = log.snapshot()
        if snapshot is None:
            log.create(SCHEMA, Commit(files, []), identity=identity.to_json())
        else:
            log.commit(snapshot, Commit(files, snapshot.files["path"].to_list()))
        return Watched("s", name)

    def record(self, name: str, record: RepartitionRecord) -> None:
        self.store.put(f"_staging/{self.table_path('s', name)}/repartition.json", record.to_json())


@pytest.fixture
def lake(tmp_path):
    return FakeFiles(str(tmp_path / "lake"))


@pytest.fixture(scope="module")
def shared_instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def look(lake, shared_instance):
    """Evaluates the sensor over tables, `memory` surviving between calls as it does through the cursor."""

    def run(*tables, memory=None, now=NOW, limit_bytes=LIMIT):
        kept = Memory.from_cursor(memory.to_cursor()) if memory is not None else Memory()
        result = evaluate(shared_instance, lake, tables, kept, now=now, limit_bytes=limit_bytes)
        if memory is not None:
            memory.__dict__.update(kept.__dict__)
        return result

    return run


def test_a_table_over_the_limit_is_asked_for_once(lake, look):
    large, memory = lake.table("large", {"2025-01-01": LIMIT + 1, "2025-01-02": 5}), Memory()
    [request], reasons = look(large, lake.table("small", {"2025-01-01": LIMIT}), memory=memory)
    assert request.job_name == "maintain_s"
    assert request.run_config == {"tables": ["large"], "task": "repartition", "by_hand": False}
    assert reasons == {}
    again, reasons = look(large, memory=memory)
    assert again == []
    assert "has not begun" in reasons["s/large"]


def test_a_run_that_never_began_is_asked_for_again_under_another_key(lake, look):
    large, memory = lake.table("large", {"2025-01-01": LIMIT + 1}), Memory()
    [first], _ = look(large, memory=memory)
    [second], _ = look(large, memory=memory, now=NOW + timedelta(hours=1))
    assert first.run_key != second.run_key


def test_after_a_change_of_the_table_the_key_is_new_though_the_leaf_is_not(lake, look):
    large, memory = lake.table("large", {"2025-01-01": LIMIT + 1}), Memory()
    [first], _ = look(large, memory=memory)
    lake.table("large", {"2025-01-01": LIMIT + 2})
    [second], _ = look(large, memory=memory)
    assert first.run_key != second.run_key


def test_two_ticks_without_memory_give_one_key_so_dagster_runs_it_once(lake, look):
    large = lake.table("large", {"2025-01-01": LIMIT + 1})
    assert look(large)[0][0].run_key == look(large)[0][0].run_key


def test_a_failing_table_pauses_and_is_given_up_at_last(lake, look):
    large, memory = lake.table("large", {"2025-01-01": LIMIT + 1}), Memory()
    failed = RepartitionRecord().beginning(LIMIT + 1, now=NOW)
    lake.record("large", failed)
    requests, reasons = look(large, memory=memory, now=NOW + timedelta(minutes=9))
    assert requests == []
    assert "attempt 1 failed" in reasons["s/large"]
    assert len(look(large, memory=memory, now=NOW + timedelta(minutes=11))[0]) == 1
    for _ in range(4):
        failed = failed.beginning(LIMIT + 1, now=NOW)
    lake.record("large", failed)
    requests, reasons = look(large, memory=memory, now=NOW + timedelta(days=300))
    assert requests == []
    assert "5 attempts failed" in reasons["s/large"]


def test_runs_that_a_deployment_killed_are_no_reason_to_split(lake, look, shared_instance):
    """Others take a run that vanished for one that ran out of memory, and split a healthy table after every release."""
    table, memory = lake.table("healthy", {"2025-01-01": LIMIT}), Memory()
    for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        for _ in range(10):
            run = dg.DagsterRun(
                job_name="sync_s", run_id=str(uuid.uuid4()), status=status,
                asset_selection=frozenset({dg.AssetKey(["s", "healthy"])}),
                tags={"dagster/failure_reason": "RUN_EXCEPTION", "dagster/will_retry": "false"},
            )  # fmt: skip
            shared_instance.add_run(run)
    for hours in range(0, 48, 8):
        assert look(table, memory=memory, now=NOW + timedelta(hours=hours)) == ([], {})


def test_a_rewrite_that_always_fails_is_asked_for_five_times_and_never_again(lake, look):
    """Through a month of ticks, every attempt killed: pauses grow, then nothing more until the leaf has doubled."""
    large, memory = lake.table("large", {"2025-01-01": LIMIT + 1}), Memory()
    record, asked = RepartitionRecord(), []
    for minutes in range(0, 30 * 24 * 60, 10):
        now = NOW + timedelta(minutes=minutes)
        if look(large, memory=memory, now=now)[0]:
            asked.append(minutes)
            record = record.beginning(LIMIT + 1, now=now)
            lake.record("large", record)
    assert len(asked) == 5
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert all(later >= 4 * earlier for earlier, later in itertools.pairwise(pauses))
    lake.table("large", {"2025-01-01": 2 * (LIMIT + 1)})
    assert len(look(large, memory=memory, now=NOW + timedelta(days=31))[0]) == 1


def test_an_unsplittable_leaf_is_not_asked_for(lake, look):
    table = lake.table("large", {"2025-01-01": LIMIT + 1})
    lake.record("large", RepartitionRecord().with_unsplittable("2025-01-01", LIMIT + 1))
    assert look(table) == ([], {})


def test_a_pinned_table_and_one_with_a_higher_limit_are_left_alone(lake, look):
    lake.table("large", {"2025-01-01": LIMIT + 1})
    assert look(Watched("s", "large", pinned=True)) == ([], {})
    assert look(Watched("s", "large", limit_bytes=LIMIT + 1)) == ([], {})
    assert len(look(Watched("s", "large", limit_bytes=LIMIT))[0]) == 1


def test_tables_that_were_never_synced_or_are_not_ours_are_left_alone(lake, look):
    lake.store.put("s/foreign/_delta_log/00000000000000000000.json", b"nonsense")
    requests, reasons = look(Watched("s", "missing"), Watched("s", "foreign"))
    assert requests == []
    assert list(reasons) == ["s/foreign"]


def test_many_small_quiet_leaves_are_worth_a_run_too(lake, look):
    hours = {f"2025-01-01T{hour:02}": 5 for hour in range(24)}
    [request], _ = look(lake.table("scattered", hours))
    assert request.run_config["tables"] == ["scattered"]
    assert look(Watched("s", "scattered"), now=datetime.now(UTC)) == ([], {}), "not while they are new"


def test_a_table_that_something_works_on_waits(lake, look, shared_instance):
    @dg.job
    def idle():
        pass

    table = lake.table("busy", {"2025-01-01": LIMIT + 1})
    run = shared_instance.create_run_for_job(
        idle, status=dg.DagsterRunStatus.STARTED, tags={"import_platform/source": "s"}
    )
    memory = Memory()
    try:
        assert look(table, memory=memory) == ([], {"s/busy": f"waits for run {run.run_id[:8]}"})
        late = NOW + timedelta(minutes=6)
        assert len(look(table, memory=memory, now=late)[0]) == 1, "syncs without a pause are not waited for for ever"
        shared_instance.add_run_tags(run.run_id, {"dagster/partition": "2025-01-01"})
        memory = Memory(blocked=memory.blocked)
        assert look(table, memory=memory, now=late)[0] == [], "a backfill is"
    finally:
        shared_instance.delete_run(run.run_id)
    assert len(look(table)[0]) == 1


def test_old_keys_are_deleted_once_the_run_has_ended(lake, look, shared_instance):
    table, memory = lake.table("split", {"2025-01-01": LIMIT + 1}), Memory()
    keys = partitions_def("s", "split").name
    shared_instance.add_dynamic_partitions(keys, ["2025-01-01", "2024-12-31"])
    look(table, memory=memory)
    assert memory.keys == ["s/split"]
    lake.table("split", {f"2025-01-01T{hour:02}": 400 for hour in range(3)})
    assert look(table, memory=memory) == ([], {})
    assert set(shared_instance.get_dynamic_partitions(keys)) == {
        "2024-12-31", "2025-01-01T00", "2025-01-01T01", "2025-01-01T02",
    }  # fmt: skip
    assert memory.keys == []


@pytest.mark.parametrize("pinned", [False, True])
def test_keys_that_a_killed_run_left_behind_follow_the_leaves_at_the_next_full_look(
    lake, look, shared_instance, pinned
):
    name = f"left_behind_{pinned}"
    table, memory = replace(lake.table(name, {"2025-01-01": 5}), pinned=pinned), Memory()
    keys = str(partitions_def("s", name).name)
    look(table, memory=memory)
    lake.table(name, {"2025-01-01T03": 5})
    look(table, memory=memory)
    look(table, memory=memory, now=NOW + timedelta(hours=7))
    assert shared_instance.get_dynamic_partitions(keys) == ["2025-01-01T03"]
    assert memory.keys == []


def test_a_tick_asks_for_a_few_runs_and_the_next_ones_for_the_rest(lake, look, monkeypatch):
    monkeypatch.setattr(sensor_module, "REQUESTS_MAX", 2)
    tables, memory = [lake.table(f"t{n}", {"2025-01-01": LIMIT + 1}) for n in range(5)], Memory()
    asked = [request.run_config["tables"][0] for _ in range(3) for request in look(*tables, memory=memory)[0]]
    assert sorted(asked) == [f"t{n}" for n in range(5)]


def test_a_tick_ends_in_time_and_the_next_goes_on_where_it_ended(lake, look, monkeypatch):
    monkeypatch.setattr(sensor_module, "TICK_SECONDS", -1.0)
    tables, memory = [lake.table(f"t{n}", {"2025-01-01": LIMIT + 1}) for n in range(3)], Memory(start=2)
    assert look(*tables, memory=memory) == ([], {})
    assert memory.start == 2


def test_an_unchanged_table_is_not_read_again_and_a_changed_one_is(lake, look, monkeypatch):
    table, memory = lake.table("fine", {"2025-01-01": 5}), Memory()
    look(table, memory=memory)
    read = []
    monkeypatch.setattr(sensor_module, "leaves_of", lambda files: read.append(1) or {})
    look(table, memory=memory)
    assert read == []
    lake.table("fine", {"2025-01-01": 6})
    look(table, memory=memory)
    assert read == [1]
    look(table, memory=memory, now=NOW + timedelta(hours=7))
    assert read == [1, 1], "quiet leaves may have become old enough"


@pytest.mark.parametrize("cursor", [None, "", "not json", "[]", '{"unknown": 1}', '{"asked": 5}'])
def test_a_cursor_of_another_release_is_forgotten(cursor):
    assert Memory.from_cursor(cursor) == Memory()


def test_what_is_declared_of_a_table_is_what_is_watched():
    tables = [DeclaredTable("a"), DeclaredTable("b", partition_max_bytes=7, pinned=True)]
    assert watched_tables("s", tables) == [Watched("s", "a"), Watched("s", "b", 7, pinned=True)]


def test_fifty_tables_of_two_hundred_leaves_are_looked_at_in_a_second(lake, look):
    """A tenth of the promise (500 tables in 10 s), by the best of five looks: the others paid for neighbours and garbage."""
    leaves = {f"2025-{month:02}-{day:02}": 1 for month in range(1, 9) for day in range(1, 26)}
    tables = [lake.table(f"t{n}", leaves) for n in range(50)]
    cpu_seconds = []
    for _ in range(5):
        started = time.process_time()
        assert look(*tables, now=datetime.now(UTC)) == ([], {})
        cpu_seconds.append(time.process_time() - started)
    assert min(cpu_seconds) < 1.5


def test_the_sensor_runs_by_default_and_its_request_splits_the_table(project, monkeypatch):
    project.sql("update orders set note = hex(randomblob(50))")  # so that files are larger than their footers
    launch_sync(["shop/orders"], sources=project.sources())
    files = open_lake_table(Lake(str(project.root / "lake")), "shop", "orders").snapshot.files
    monkeypatch.setenv("IMPORT_PLATFORM_PARTITION_MAX", str(files["size_bytes"].min() - 1))
    definitions = build_definitions(project.sources(), strict=True)
    sensor = definitions.resolve_sensor_def("repartition_oversized")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    with project.instance() as instance:
        resources = {"platform": PLATFORM}
        tick = sensor.evaluate_tick(dg.build_sensor_context(instance, resources=resources))
        [request] = tick.run_requests
        job = definitions.resolve_job_def(request.job_name)
        before = set(instance.get_dynamic_partitions("shop/orders"))
        assert job.execute_in_process(instance=instance, run_config=request.run_config).success
        after = set(instance.get_dynamic_partitions("shop/orders"))
        memory = json.loads(tick.cursor)
        context = dg.build_sensor_context(instance, resources=resources, cursor=tick.cursor)
        assert not sensor.evaluate_tick(context).run_requests
    assert before == {f"2025-0{month}" for month in range(1, 5)}
    assert after == {f"2025-0{month}-05T00" for month in range(1, 5)}
    assert list(memory["asked"]) == ["shop/orders"]


def test_rewrites_that_were_given_up_are_an_incident_until_they_come_through(lake, look):
    large, memory = lake.table("large", {"2025-01-01": LIMIT + 1}), Memory()
    record = RepartitionRecord(failures=FAILURES_MAX, begun_at=NOW, largest_bytes=LIMIT + 1)
    lake.record("large", replace(record, failures=FAILURES_MAX - 1))
    look(large, memory=memory)
    assert Incidents(lake).every() == []
    lake.record("large", record)
    for _ in range(3):
        look(large, memory=memory)
    look(large, memory=Memory())
    [incident] = Incidents(lake).every()
    assert (incident.error_class, incident.count, incident.about) == ("RepartitionGivenUp", 1, "rewrite")
    assert incident.action.endswith("import-platform repartition s/large")
    assert not incident.is_paused, "its syncs go on"
    lake.record("large", RepartitionRecord())
    look(large, memory=memory)
    assert Incidents(lake).of_table("s", "large", about="rewrite") is None

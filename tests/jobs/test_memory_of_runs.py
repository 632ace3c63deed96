"""What a sync learned of its memory reaches the next run's tags; rewrites wait for their share like everybody."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import dagster as dg
import yaml

from import_platform.core.measures import Measures
from import_platform.core.run_size import MEMORY_TAG
from import_platform.core.step_memory import Step
from import_platform.io.grants import Grants
from import_platform.io.lake import Lake
from import_platform.io.table_memory import TableMemory, read_memory, write_memory
from import_platform.jobs.launch import launch_sync
from import_platform.jobs.repartition_launch import launch_maintenance
from import_platform.resources.home import DAGSTER_YAML
from import_platform.resources.memory import tickets_folder
from import_platform.resources.naming import EXPECTED_MEMORY

ORDERS = dg.AssetKey(["shop", "orders"])


def test_a_scheduled_run_says_how_large_it_will_be_and_the_queue_is_told_what_that_means(project):
    launch_sync(["shop"], sources=project.sources())
    [schedule] = [s for s in project.sources().source("shop").definitions().schedules if s.name == "sync_shop"]
    with project.instance() as instance:
        metadata = instance.get_latest_materialization_event(ORDERS).asset_materialization.metadata
        assert 0 < metadata[EXPECTED_MEMORY].value <= metadata["budget_bytes"].value
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
        )
        request = schedule(context)
    limits = yaml.safe_load(DAGSTER_YAML)["concurrency"]["runs"]["tag_concurrency_limits"]
    assert request.tags[MEMORY_TAG] in ("small", "medium", "large")
    assert {limit["key"] for limit in limits} == {MEMORY_TAG}


def test_steps_of_a_sync_are_remembered_in_the_lake_and_the_budget_follows_measures(project):
    launch_sync(["shop/orders"], sources=project.sources())
    lake = Lake(str(project.root / "lake"))
    memory = read_memory(lake, "shop", "orders")
    assert [len(memory.history.of(step)) for step in (Step.READ, Step.FLUSH)] == [1, 1]
    [flush] = memory.history.of(Step.FLUSH)
    write_memory(lake, "shop", "orders", TableMemory(memory.history, Measures(2)))
    project.sql("update orders set note = 'x', updated_at = '2025-06-01 00:00:00' where id = 7")
    launch_sync(["shop/orders"], sources=project.sources())
    careful = read_memory(lake, "shop", "orders")
    assert careful.history.of(Step.FLUSH)[-1].planned_bytes < flush.planned_bytes * 2 // 3
    assert careful.measures == Measures(2, 1)


def test_every_rewrite_waits_until_its_share_of_the_memory_is_free(project):
    launch_sync(["shop/orders"], sources=project.sources())
    grants = Grants(tickets_folder(project.home), 1 << 40)
    for options in ({"task": "repartition"}, {"task": "compact"}, {"task": "repartition", "to": "hash:4"}):
        everything = grants.take(1 << 39)
        done = []

        def run(options=options, done=done):
            full = {"max_bytes": 0, "by_hand": True, "to": "", **options}
            done.extend(launch_maintenance({"shop": ["orders"]}, full, sources=project.sources()))

        thread = threading.Thread(target=run)
        thread.start()
        deadline = time.monotonic() + 60
        while not any(not ticket.held for ticket in grants.tickets()):
            assert time.monotonic() < deadline
            assert thread.is_alive(), done
            time.sleep(0.1)
        assert done == []
        everything.give_back()
        thread.join(60)
        assert done[0].error is None
    rewrites = read_memory(Lake(str(project.root / "lake")), "shop", "orders").history.of(Step.REWRITE)
    assert len(rewrites) == 3
    assert all(seen.held_bytes < seen.granted_bytes for seen in rewrites)

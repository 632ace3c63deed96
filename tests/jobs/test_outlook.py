"""What Dagster's history says of tables: when each was last up to date, and when it will be again."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from import_platform.jobs.outlook import Outlook, next_tick, outlooks, scheduler_lives
from import_platform.resources.home import open_instance
from import_platform.resources.naming import asset_key

QUARTERLY = "*/15 * * * *"
NOW = datetime(2025, 3, 1, 12, 5, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path, empty_home, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with open_instance(Path(shutil.copytree(empty_home, tmp_path / "home")), keep_output=False) as instance:
        yield instance


def materialize(instance, table="orders", *, partition=None, **metadata):
    event = dg.AssetMaterialization(asset_key=["shop", table], partition=partition, metadata=metadata)
    instance.report_runless_asset_event(event)


def only(instance, *, cron=QUARTERLY, now=NOW, table="orders"):
    return outlooks(instance, {("shop", table): cron}, now=now)["shop", table]


def test_a_table_without_history_has_only_its_next_tick(instance):
    assert only(instance) == Outlook(None, NOW.replace(minute=15), is_stale=False)
    assert only(instance, cron=None) == Outlook()
    assert only(instance, cron="no cron at all") == Outlook()


@pytest.mark.parametrize("status", ["done", "unchanged", "done with rejects"])
def test_a_sync_that_left_nothing_to_do_is_the_last_one(instance, status):
    before = datetime.now(UTC)
    materialize(instance, status=status)
    found = only(instance)
    assert before - timedelta(seconds=1) < found.synced_at < datetime.now(UTC) + timedelta(seconds=1)
    assert found.with_rejects == (status == "done with rejects")


def test_a_sync_that_ended_at_its_time_limit_left_the_table_behind(instance):
    materialize(instance, status="checkpointed")
    assert only(instance).synced_at is None


def test_events_of_partitions_do_not_hide_the_sync_before_them(instance):
    materialize(instance, status="done")
    at = only(instance).synced_at
    for key in ("2025-01", "2025-02"):
        materialize(instance, partition=key, partition_bytes=1)
    assert only(instance).synced_at == at


def test_a_table_is_stale_after_two_pauses_of_its_schedule_and_an_hour(instance):
    materialize(instance, status="done")
    at = only(instance).synced_at
    patience = timedelta(minutes=30) + timedelta(hours=1)
    assert only(instance, now=at + patience - timedelta(seconds=1)).is_stale is False
    assert only(instance, now=at + patience + timedelta(seconds=1)).is_stale is True
    assert only(instance, cron=None, now=at + timedelta(days=90)).is_stale is None


def test_a_table_whose_name_is_escaped_in_its_asset_key_is_found(instance):
    key = asset_key("shop", "order lines").path[-1]
    assert key != "order lines"
    materialize(instance, key, status="done")
    assert only(instance, table="order lines").synced_at is not None


def test_a_schedule_that_was_switched_off_has_no_next_tick(instance):
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(
            InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="import_platform.definitions")),
            "__repository__",
        ),
        "sync_shop",
    )
    data = ScheduleInstigatorData(QUARTERLY)
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.STOPPED, data))
    assert only(instance).next_sync_at is None
    assert outlooks(instance, {("crm", "t"): QUARTERLY}, now=NOW)["crm", "t"].next_sync_at is not None


def test_a_run_under_way_is_seen(instance):
    chosen = {dg.AssetKey(["shop", "orders"])}
    instance.add_run(dg.DagsterRun("sync_shop", status=dg.DagsterRunStatus.STARTED, asset_selection=chosen))
    found = outlooks(instance, {("shop", "orders"): None, ("shop", "customers"): None}, now=NOW)
    assert {table[1]: outlook.is_running for table, outlook in found.items()} == {"orders": True, "customers": False}


def test_the_next_tick_is_after_now():
    assert next_tick("0 8 * * 1-5", datetime(2025, 3, 1, 12, tzinfo=UTC)) == datetime(2025, 3, 3, 8, tzinfo=UTC)
    assert next_tick(QUARTERLY, NOW.replace(minute=15)) == NOW.replace(minute=30)


def test_without_a_heartbeat_no_scheduler_lives(instance):
    assert scheduler_lives(instance, now=datetime.now(UTC)) is False

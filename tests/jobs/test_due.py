from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from import_platform.core.report import Status
from import_platform.jobs.due import choose_tables, fires, held_tables, interval
from import_platform.jobs.schedules import checkpointed_tables
from tests.dagster_project import SHOP

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("cron", "at", "expected"),
    [
        ("*/15 * * * *", NOON, True),
        ("*/15 * * * *", NOON + timedelta(minutes=5), False),
        ("0 12 * * 1", NOON, True),
        ("0 12 * * 2", NOON, False),
        ("0 12 * * *", NOON + timedelta(seconds=40), True),
    ],
)
def test_a_cron_fires_in_its_minute(cron, at, expected):
    assert fires(cron, at) is expected


@pytest.mark.parametrize(
    ("cron", "pause"),
    [
        ("*/15 * * * *", timedelta(minutes=15)),
        ("0 8 * * 1-5", timedelta(days=3)),
        ("0 0 1 * *", timedelta(days=31)),
    ],
)
def test_the_longest_pause_of_a_cron(cron, pause):
    assert interval(cron, NOON) == pause


def test_due_and_idle_tables_are_chosen():
    tick = choose_tables(["a", "b"], {"b": "run-1"})
    assert (tick.tables, tick.skip_reason) == (("a",), None)


def test_a_tick_without_work_says_why():
    assert choose_tables([], {"b": "run-1"}).skip_reason == "no table is due at this tick"
    assert choose_tables(["b"], {"b": "run-1-and-more"}).skip_reason == (
        "every due table is still being worked on by run run-1-an"
    )


def _tick(project, instance, name, at):
    [source] = project.sources().sources
    repository = source.definitions().get_repository_def()
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
    return repository.get_schedule_def(name).evaluate_tick(context)


def _selected(result):
    return [[key.path[-1] for key in request.asset_selection] for request in result.run_requests]


def test_a_tick_asks_for_one_run_of_the_tables_that_are_due(project):
    project.declare(SHOP + '      schedule: "0 3 * * *"\n')
    with project.instance() as instance:
        assert _selected(_tick(project, instance, "sync_shop", NOON)) == [["orders"]]
        assert _selected(_tick(project, instance, "sync_shop", NOON.replace(hour=3))) == [["orders", "customers"]]


def test_a_table_in_another_run_is_left_out(project):
    with project.instance() as instance:
        [source] = project.sources().sources
        job = (
            source.definitions()
            .resolve_job_def("sync_shop")
            .get_subset(asset_selection={dg.AssetKey(["shop", "orders"])})
        )
        run = instance.create_run_for_job(
            job, asset_selection=frozenset([dg.AssetKey(["shop", "orders"])]), status=dg.DagsterRunStatus.STARTED
        )
        assert held_tables(instance, "shop", ["orders", "customers"]) == {"orders": run.run_id}
        assert _selected(_tick(project, instance, "sync_shop", NOON)) == [["customers"]]


@pytest.mark.parametrize(("config", "held"), [({"tables": ["orders"]}, {"orders"}), ({}, {"orders", "customers"})])
def test_a_sync_now_run_holds_the_tables_it_names(project, config, held):
    with project.instance() as instance:
        [source] = project.sources().sources
        job = source.definitions().resolve_job_def("sync_shop_now")
        instance.create_run_for_job(job, run_config=config, status=dg.DagsterRunStatus.STARTED)
        assert set(held_tables(instance, "shop", ["orders", "customers"])) == held


def _materialize(instance, table, status):
    instance.report_runless_asset_event(
        dg.AssetMaterialization(dg.AssetKey(["shop", table]), metadata={"status": status})
    )


def test_what_the_time_limit_interrupted_goes_on_without_waiting_for_its_cron(project):
    with project.instance() as instance:
        _materialize(instance, "orders", str(Status.CHECKPOINTED))
        _materialize(instance, "customers", str(Status.DONE))
        assert checkpointed_tables(instance, "shop", ["orders", "customers"]) == ["orders"]
        assert _selected(_tick(project, instance, "sync_shop_continue", NOON)) == [["orders"]]
        _materialize(instance, "orders", str(Status.DONE))
        assert _tick(project, instance, "sync_shop_continue", NOON).skip_message == "no table is due at this tick"


def test_a_source_without_any_schedule_has_only_its_discovery(project):
    project.declare(SHOP.replace('  schedule: "*/15 * * * *"\n', ""))
    [source] = project.sources().sources
    assert [schedule.name for schedule in source.definitions().schedules] == ["discover_shop"]

"""A child of an imported table, as dbt models are, is requested off the back of a sync by its automation condition."""

from __future__ import annotations

import dagster as dg

from import_platform.definitions import build_definitions
from import_platform.jobs.launch import launch_backfill, launch_sync


@dg.asset(
    deps=[dg.AssetDep(["shop", "orders"], partition_mapping=dg.AllPartitionMapping())],
    automation_condition=dg.AutomationCondition.eager(),
)
def orders_per_month() -> None: ...


def requested(definitions, instance, cursor):
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
    return result.total_requested, result.cursor


def test_an_eager_child_is_requested_once_per_sync_that_came_through(project):
    definitions = dg.Definitions.merge(
        build_definitions(project.sources(), strict=True), dg.Definitions(assets=[orders_per_month])
    )
    with project.instance() as instance:
        count, cursor = requested(definitions, instance, None)
        assert count == 0, "its parent was never synced"
        launch_sync(["shop/orders"], sources=project.sources())
        count, cursor = requested(definitions, instance, cursor)
        assert count == 1
        instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["orders_per_month"])))
        count, cursor = requested(definitions, instance, cursor)
        assert count == 0, "nothing new came in"
        project.sql("insert into orders values (1000, '2025-04-01 00:00:00', '2025-06-01 00:00:00', 'late')")
        launch_sync(["shop/orders"], sources=project.sources())
        count, cursor = requested(definitions, instance, cursor)
        assert count == 1
        instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["orders_per_month"])))
        _count, cursor = requested(definitions, instance, cursor)
        launch_backfill("shop/orders", ["2025-01"], sources=project.sources())
        count, cursor = requested(definitions, instance, cursor)
        assert count == 1, "a partition loaded again is news as well"

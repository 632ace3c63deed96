"""Each defect planted in a real project, synced as the UI does, and found on the asset's page."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest

from import_platform.core.check_state import check_state_from_json
from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.parquet import LeafWriter
from import_platform.jobs.launch import launch_sync
from tests.dagster_project import SHOP

ORDERS = dg.AssetKey(["shop", "orders"])
STATE = "_staging/shop/orders/checks/state.json"


@pytest.fixture
def lake(project):
    return Lake(str(project.root / "lake"))


@pytest.fixture
def sync(project):
    """Syncs the orders and gives (the run's result, checks by name)."""
    with project.instance() as instance:

        def sync(**options):
            [source] = project.sources().sources
            job = source.definitions().get_repository_def().get_implicit_global_asset_job_def()
            result = job.execute_in_process(
                instance=instance, asset_selection=[ORDERS], raise_on_error=False, **options
            )
            return result, {check.check_name: check for check in result.get_asset_check_evaluations()}

        sync.instance = instance
        yield sync


def plant_copy(lake, key: int) -> None:
    """Adds the row of that key once more, behind the merge's back."""
    path = lake.table_path("shop", "orders")
    log = DeltaLog(lake.store, path)
    snapshot = log.snapshot()
    row = pl.read_delta(f"{lake.uri}/{path}").filter(pl.col("id") == key)
    leaf = row["_partition"][0]
    writer = LeafWriter(lake.store, path, leaf, snapshot.schema, statistics_first=("id",))
    for batch in pa.table(row.drop("_partition").to_arrow()).cast(snapshot.schema).to_batches():
        writer.write(batch)
    log.commit(snapshot, Commit(writer.close(), []))


def forget_when_counted(lake) -> None:
    """As if the rows had been counted an hour ago."""
    state = check_state_from_json(lake.store.get(STATE))
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    counted = type(state.counted)(hour_ago, 0.1, state.counted.source_rows, state.counted.lake_rows)
    lake.store.put(STATE, type(state)(**vars(state) | {"counted": counted}).to_json())


def test_a_duplicate_key_fails_the_run_as_a_blocking_error_until_a_resync(sync, lake, project):
    result, checks = sync()
    assert (result.success, checks["key_is_unique"].passed) == (True, True)
    plant_copy(lake, 7)
    result, checks = sync()
    key = checks["key_is_unique"]
    assert (result.success, key.passed, key.severity, key.blocking) == (
        False, False, dg.AssetCheckSeverity.ERROR, True,
    )  # fmt: skip
    assert key.metadata["duplicate_keys"].value == 1
    assert all(check.passed for name, check in checks.items() if name != "key_is_unique")
    [report] = launch_sync(["shop/orders"], sources=project.sources())
    assert (report.status.value, "1 key of several rows" in report.error) == ("failed", True)
    result, checks = sync(run_config={"ops": {"shop__orders": {"config": {"full_refresh": True}}}})
    assert (result.success, checks["key_is_unique"].passed) == (True, True)


def test_what_hangs_on_a_table_with_duplicates_is_not_run(lake, project, sync):
    sync()
    plant_copy(lake, 7)
    [source] = project.sources().sources
    ran = []

    @dg.asset(deps=[ORDERS], key=["mart", "orders"])
    def child():
        ran.append(1)

    definitions = dg.Definitions.merge(source.definitions(), dg.Definitions(assets=[child]))
    job = definitions.get_repository_def().get_implicit_global_asset_job_def()
    selection = [ORDERS, dg.AssetKey(["mart", "orders"])]
    result = job.execute_in_process(instance=sync.instance, asset_selection=selection, raise_on_error=False)
    assert (result.success, ran) == (False, [])


def test_rows_missing_in_the_lake_are_a_warning(sync, lake, project):
    sync()
    path = lake.table_path("shop", "orders")
    log = DeltaLog(lake.store, path)
    snapshot = log.snapshot()
    log.commit(snapshot, Commit([], [snapshot.files["path"][0]]))
    forget_when_counted(lake)
    result, checks = sync()
    rows = checks["rows_match_source"]
    assert (result.success, rows.passed, rows.severity) == (True, False, dg.AssetCheckSeverity.WARN)
    assert (rows.metadata["lake_rows"].value, rows.metadata["source_rows"].value) == (300, 400)


def test_rows_deleted_at_the_source_are_a_warning_within_the_tolerance_set(sync, lake, project):
    sync()
    project.sql("delete from orders where id < 20")
    forget_when_counted(lake)
    assert not sync()[1]["rows_match_source"].passed
    project.declare(
        SHOP.replace("      sync: incremental\n", "      sync: incremental\n      checks: {row_tolerance: 0.1}\n")
    )
    forget_when_counted(lake)
    assert sync()[1]["rows_match_source"].passed


def test_a_column_that_changes_at_the_source_is_told_once(sync, project):
    sync()
    project.sql("alter table orders add column price real")
    _, checks = sync()
    assert (checks["columns_unchanged"].passed, checks["columns_unchanged"].severity) == (
        False, dg.AssetCheckSeverity.WARN,
    )  # fmt: skip
    assert "new: price double" in checks["columns_unchanged"].description
    assert sync()[1]["columns_unchanged"].passed
    project.sql("alter table orders drop column note")
    assert "gone: note" in sync()[1]["columns_unchanged"].description


def test_a_rejected_row_is_a_warning(sync, project):
    sync()
    project.sql("insert into orders values (9000, '2025-02-01 00:00:00', '2025-06-01 00:00:00', cast(x'ff' as text))")
    result, checks = sync()
    assert (result.success, checks["nothing_rejected"].passed) == (True, False)
    assert checks["nothing_rejected"].severity is dg.AssetCheckSeverity.WARN


def test_a_leaf_over_its_limit_is_a_warning(sync, project):
    project.declare(SHOP.replace("      sync: incremental\n", "      sync: incremental\n      partition_max: 1kB\n"))
    _, checks = sync()
    fit = checks["partitions_fit"]
    assert (fit.passed, fit.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_a_table_that_lost_most_of_its_rows_is_a_warning(sync, project):
    sync()
    project.sql("delete from orders where id > 50")
    full = {"ops": {"shop__orders": {"config": {"full_refresh": True}}}}
    result, checks = sync(run_config=full)
    assert (result.success, checks["keeps_its_rows"].passed) == (True, False)


def test_syncs_that_never_get_through_make_a_table_stale(sync, lake, monkeypatch):
    sync()
    state = check_state_from_json(lake.store.get(STATE))
    old = datetime.now(UTC) - timedelta(days=1)
    lake.store.put(STATE, type(state)(**vars(state) | {"complete_at": old}).to_json())
    with monkeypatch.context() as patch:
        patch.setattr("import_platform.pipeline.sync._Sync._extract_and_flush", _stop_at_checkpoint)
        _, checks = sync()
    fresh = checks["is_fresh"]
    assert (fresh.passed, fresh.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "did not get through" in fresh.description
    assert sync()[1]["is_fresh"].passed


def _stop_at_checkpoint(self, attempt, done, state):
    self._stop_at_checkpoint()


def test_a_table_that_nothing_syncs_is_stale_by_dagsters_own_policy(sync, project, monkeypatch):
    sync()
    [source] = project.sources().sources
    node = source.definitions().get_repository_def().asset_graph.get(ORDERS)

    async def state_after(hours):
        now = datetime.now(UTC).timestamp() + hours * 3600
        monkeypatch.setattr("dagster._core.definitions.freshness_evaluator.get_current_timestamp", lambda: now)
        context = LoadingContextForTest(sync.instance)
        return await TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(context, node)

    assert asyncio.run(state_after(1)) is FreshnessState.PASS
    assert asyncio.run(state_after(2)) is FreshnessState.FAIL


def test_a_check_that_is_turned_off_is_not_made(sync, project, lake):
    off = "      checks: {disable: [key_is_unique, rows_match_source]}\n"
    project.declare(SHOP.replace("      sync: incremental\n", "      sync: incremental\n" + off))
    sync()
    plant_copy(lake, 7)
    result, checks = sync()
    assert (result.success, checks.keys() & {"key_is_unique", "rows_match_source"}) == (True, set())
    assert check_state_from_json(lake.store.get(STATE)).counted is None

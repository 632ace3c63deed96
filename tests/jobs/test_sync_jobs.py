"""The job behind the Launchpad does what the asset does, table by table."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest

ORDERS, CUSTOMERS = dg.AssetKey(["shop", "orders"]), dg.AssetKey(["shop", "customers"])


def _sync_now(project, instance, **config):
    [source] = project.sources().sources
    job = source.definitions().resolve_job_def("sync_shop_now")
    return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def _materializations(instance, key):
    return instance.fetch_materializations(key, limit=100).records


def test_without_tables_all_of_them_are_synced_and_recorded_like_assets(project):
    with project.instance() as instance:
        assert _sync_now(project, instance).success
        assert pl.read_delta(str(project.root / "lake/shop/orders")).height == 400
        assert pl.read_delta(str(project.root / "lake/shop/customers")).height == 5
        latest = instance.get_latest_materialization_event(ORDERS).asset_materialization
        assert (latest.partition, latest.metadata["dagster/row_count"].value) == (None, 400)
        assert len(instance.get_materialized_partitions(ORDERS)) == 4
        keys = [dg.AssetCheckKey(ORDERS, name) for name in ("keeps_its_rows", "nothing_rejected", "partitions_fit")]
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        assert [checks[key].event.dagster_event.event_specific_data.passed for key in keys] == [True] * 3


def test_named_tables_are_synced_and_the_others_skipped(project):
    with project.instance() as instance:
        result = _sync_now(project, instance, tables=["customers"])
        assert result.success
        assert (_materializations(instance, ORDERS), len(_materializations(instance, CUSTOMERS))) == ([], 2)
        assert {event.step_key for event in result.all_events if event.is_step_skipped} == {"shop__orders"}


def test_a_full_refresh_can_be_asked_for(project):
    with project.instance() as instance:
        _sync_now(project, instance, tables=["orders"])
        project.sql("delete from orders where id < 10")
        _sync_now(project, instance, tables=["orders"], full_refresh=True)
    assert pl.read_delta(str(project.root / "lake/shop/orders")).height == 390


def test_a_table_that_does_not_exist_is_a_sentence(project):
    with project.instance() as instance:
        result = _sync_now(project, instance, tables=["ordrs"])
        [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "no such tables" in failure.step_failure_data.user_failure_data.description


def test_a_failing_table_leaves_the_others_alone(project):
    project.sql("drop table customers")
    with project.instance() as instance:
        assert not _sync_now(project, instance).success
        assert instance.get_latest_materialization_event(ORDERS) is not None
        assert instance.get_latest_materialization_event(CUSTOMERS) is None


@pytest.mark.parametrize("tables", [["orders"], []])
def test_the_launchpad_offers_fields_with_defaults(project, tables):
    [source] = project.sources().sources
    job = source.definitions().resolve_job_def("sync_shop_now")
    assert dg.validate_run_config(job, {"tables": tables, "full_refresh": False})
    assert dg.validate_run_config(job, {})

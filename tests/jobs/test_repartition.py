"""The maintenance job: leaves and partition keys change together, and a backfill in flight keeps its keys."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from import_platform.components.loading import load_sources
from import_platform.core.report import Status
from import_platform.definitions import build_definitions
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.jobs.launch import launch_backfill, launch_sync
from import_platform.jobs.repartition_launch import launch_maintenance, tables_to_maintain
from import_platform.pipeline.context import open_lake_table
from import_platform.resources.in_flight import InFlight, tables_in_flight
from import_platform.resources.partition_keys import reconcile_keys

KEYS = "shop/orders"
TINY = {"task": "repartition", "max_bytes": 1}


@pytest.fixture
def synced(project):
    [report] = launch_sync(["shop/orders"], sources=project.sources())
    assert report.status is Status.DONE
    return project


def repartition(project, **options):
    return launch_maintenance({"shop": ["orders"]}, TINY | options, sources=project.sources())


def orders(project) -> pl.DataFrame:
    return pl.read_delta(str(project.root / "lake/shop/orders"))


def test_a_repartition_run_moves_rows_keys_and_green_marks_together(synced):
    before = orders(synced).drop("_partition").sort("id")
    [report] = repartition(synced)
    assert report.status is Status.DONE
    assert report.rows_read == 400
    leaves = set(orders(synced)["_partition"])
    bases = {leaf.partition(".h")[0] for leaf in leaves}
    with synced.instance() as instance:
        assert set(instance.get_dynamic_partitions(KEYS)) == bases
        assert bases <= instance.get_materialized_partitions(dg.AssetKey(["shop", "orders"]))
        run = instance.get_runs()[0]
        assert (run.job_name, run.status) == ("maintain_shop", dg.DagsterRunStatus.SUCCESS)
        assert instance.event_log_storage.get_concurrency_info("delta/shop/orders").active_slot_count == 0
    assert orders(synced).drop("_partition").sort("id").equals(before)


def test_keys_never_carry_hash_bits(synced):
    repartition(synced)
    assert any(".h" in leaf for leaf in orders(synced)["_partition"].unique())
    with synced.instance() as instance:
        assert not [key for key in instance.get_dynamic_partitions(KEYS) if ".h" in key]


def test_a_partition_that_was_split_is_backfilled_under_its_new_key(synced):
    repartition(synced)
    [day] = [key for key in keys(synced) if key.startswith("2025-02")]
    synced.sql("update orders set note = 'changed' where id = 1")
    [report] = launch_backfill("shop/orders", [day], sources=synced.sources())
    assert report.status is Status.DONE, report.error
    assert orders(synced).filter(pl.col("id") == 1)["note"].to_list() == ["changed"]
    assert orders(synced).height == 400


def keys(project):
    with project.instance() as instance:
        return instance.get_dynamic_partitions(KEYS)


def test_the_next_sync_keeps_to_the_new_leaves(synced):
    repartition(synced)
    leaves = set(orders(synced)["_partition"])
    synced.sql("update orders set note = 'changed', updated_at = '2025-06-01 00:00:00' where id < 10")
    launch_sync(["shop/orders"], sources=synced.sources())
    assert set(orders(synced)["_partition"]) == leaves
    assert orders(synced).height == 400


def test_compaction_runs_through_dagster_too(synced):
    [report] = launch_maintenance({"shop": ["orders"]}, {"task": "compact"}, sources=synced.sources())
    assert report.status is Status.UNCHANGED
    with synced.instance() as instance:
        assert instance.get_runs()[0].job_name == "maintain_shop"


def test_a_table_that_was_never_synced_fails_with_a_sentence_and_leaves_the_others_alone(synced):
    first, second = launch_maintenance({"shop": ["customers", "orders"]}, TINY, sources=synced.sources())
    assert first.status is Status.FAILED
    assert "the lake has no such table" in first.error
    assert second.status is Status.DONE


def test_unknown_tables_are_refused(synced):
    with pytest.raises(ConfigError, match="no such table"):
        tables_to_maintain("shop/order", sources=synced.sources())
    assert tables_to_maintain("shop", sources=synced.sources()) == {"shop": ["orders", "customers"]}


def backfill_of(instance, table, partition_keys):
    graph = build_definitions(load_sources(), strict=True).get_repository_def().asset_graph
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="abcdefgh",
        asset_graph=graph,
        backfill_timestamp=0.0,
        tags={},
        asset_selection=[dg.AssetKey(["shop", table])],
        partition_names=partition_keys,
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill


def test_old_keys_stay_while_a_backfill_of_the_table_is_in_flight_and_go_afterwards(synced):
    old = set(keys(synced))
    with synced.instance() as instance:
        backfill = backfill_of(instance, "orders", ["2025-02"])
    repartition(synced)
    assert old < set(keys(synced)), "deleting one would kill the backfill"
    bases = {leaf.partition(".h")[0] for leaf in orders(synced)["_partition"]}
    partition = identity(synced).partition
    with synced.instance() as instance:
        waiting = reconcile_keys(instance, "shop", "orders", bases=bases, partition=partition)
        assert set(waiting.waiting) == old
        assert waiting.because == "backfill abcdefgh"
        instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
        done = reconcile_keys(instance, "shop", "orders", bases=bases, partition=partition)
        assert set(done.retired) == old
    assert set(keys(synced)) == bases


def identity(project):
    return open_lake_table(Lake(str(project.root / "lake")), "shop", "orders").identity


def test_keys_are_rebuilt_from_the_log(synced):
    with synced.instance() as instance:
        for key in instance.get_dynamic_partitions(KEYS):
            instance.delete_dynamic_partition(KEYS, key)
        instance.add_dynamic_partitions(KEYS, ["2024-12", "2025-01-05"])
        bases = set(orders(synced)["_partition"])
        changes = reconcile_keys(instance, "shop", "orders", bases=bases, partition=identity(synced).partition)
        assert set(changes.added) == bases
        assert changes.retired == ("2025-01-05",)
        assert set(instance.get_dynamic_partitions(KEYS)) == bases | {"2024-12"}, "the source may hold it"


def test_runs_of_every_kind_count_as_in_flight(synced):
    @dg.job
    def idle():
        pass

    with synced.instance() as instance:

        def started(job_name, **options):
            run = instance.create_run_for_job(idle, **options)
            instance.add_run_tags(run.run_id, {"import_platform/source": "shop"})
            return run

        everything = {"shop": ["orders", "customers"]}
        assert tables_in_flight(instance, everything) == {}
        run = started("idle", status=dg.DagsterRunStatus.STARTED)
        found = tables_in_flight(instance, everything)
        assert found == dict.fromkeys(["shop/orders", "shop/customers"], InFlight("run", run.run_id))
        assert str(found["shop/orders"]) == f"run {run.run_id[:8]}"
        assert tables_in_flight(instance, everything, besides=run.run_id) == {}

"""An asset is a table: its page, its runs without a key, and its runs with one."""

from __future__ import annotations

import time
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from import_platform.assets.table_asset import layout
from import_platform.checks.table_checks import DESCRIPTIONS
from import_platform.core.report import Status
from import_platform.core.table import Granularity, HashPartition, NumberPartition, TimePartition
from import_platform.errors import SourceUnavailable
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.pipeline import sync
from import_platform.resources.naming import HOST_TAG, PROCESS_TAG
from import_platform.resources.session import Session, session
from tests.dagster_project import SHOP

ORDERS = dg.AssetKey(["shop", "orders"])


@pytest.fixture
def repository(project):
    [source] = project.sources().sources
    return source.definitions().get_repository_def()


@pytest.fixture
def run(project, repository):
    """Materializes the orders as the UI does, and gives (result, instance)."""
    with project.instance() as instance:

        def run(**options):
            job = repository.get_implicit_global_asset_job_def()
            result = job.execute_in_process(
                instance=instance, asset_selection=[ORDERS], raise_on_error=False, **options
            )
            return result, instance

        yield run


def test_the_page_of_a_table_shows_how_it_is_kept(repository):
    spec = repository.assets_defs_by_key[ORDERS].specs_by_key[ORDERS]
    assert spec.group_name == "shop"
    assert spec.kinds == {"sqlite", "deltalake"}
    assert (
        "Sync mode: incremental by `updated_at`. Primary key: id. Partitions: month of `created_at`."
        in spec.description
    )
    assert spec.description.startswith("Incremental copy of the sqlite table orders, source shop.\n")
    assert "query 'SELECT * FROM shop.orders LIMIT 10'" in spec.description
    assert spec.metadata["dagster/uri"].endswith("/lake/shop/orders")
    assert spec.metadata["dagster/table_name"] == "shop.orders"
    assert "/jobs/sync_shop_now/playground/setup?config=tables" in spec.description
    [reference] = spec.metadata["dagster/code_references"].code_references
    assert (reference.file_path.endswith("defs/shop/defs.yaml"), reference.line_number) == (True, 7)


LABELLED = SHOP.replace(
    '  schedule: "*/15 * * * *"\n',
    """\
  schedule: "*/15 * * * *"
  owners: ["team:data", shop@example.com]
  tags: {domain: sales, tier: gold}
  group: sales/shop
  description: What the shop sells.
""",
).replace(
    "    - name: customers\n",
    """\
    - name: customers
      owners: ["team:crm"]
      tags: {tier: bronze, pii: ""}
      group: crm
      description: Who buys.
      checks: {disable: [rows_match_source], fresh_within: 6h}
""",
)


def test_owners_tags_group_and_description_come_from_the_source_and_from_the_table(project):
    project.declare(LABELLED)
    [source] = project.sources().sources
    assets = source.definitions().get_repository_def().assets_defs_by_key
    orders = assets[ORDERS].specs_by_key[ORDERS]
    assert (orders.group_name, list(orders.owners)) == ("sales/shop", ["team:data", "shop@example.com"])
    assert {"domain": "sales", "tier": "gold", "import_platform/source": "shop"}.items() <= orders.tags.items()
    assert orders.description.startswith("What the shop sells.\n\nIncremental copy of")
    key = dg.AssetKey(["shop", "customers"])
    customers = assets[key].specs_by_key[key]
    assert (customers.group_name, list(customers.owners)) == ("crm", ["team:crm"])
    assert {"domain": "sales", "tier": "bronze", "pii": ""}.items() <= customers.tags.items()
    assert customers.description.startswith("Who buys.")
    checks = {spec.name for spec in assets[key].check_specs}
    assert checks == set(DESCRIPTIONS) - {"rows_match_source"}
    assert customers.freshness_policy.fail_window.to_timedelta() == timedelta(hours=6)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("owners: [nobody]", "e-mail address or team:name"),
        ("tags: {a b: x}", "has a key"),
        ("tags: {import_platform/source: x}", "has a key"),
        ("tags: {a: 'x y'}", "has a value"),
        ("group: a-b", "letters, digits and _"),
        ("checks: {disable: [nothing]}", "disable"),
        ("checks: {row_tolerance: 2}", "row_tolerance"),
        ("checks: {fresh_within: soon}", "fresh_within"),
    ],
)
def test_mistakes_in_labels_and_checks_are_sentences_with_their_line(project, wrong, words):
    project.declare(SHOP.replace('  schedule: "*/15 * * * *"\n', f"  {wrong}\n"))
    [broken] = project.sources().broken
    assert words in str(broken.error)


def test_the_page_tells_age_lag_rows_at_the_source_and_the_last_incident(run, project):
    Incidents(Lake(str(project.root / "lake"))).record(
        "shop", "orders", error_class="SourceRejected", error="no such column", is_fault=True
    )
    _, instance = run()
    metadata = instance.get_latest_materialization_event(ORDERS).asset_materialization.metadata
    age = time.time() - metadata["dagster/last_updated_timestamp"].value
    assert 0 <= age < 120
    assert (metadata["lag_seconds"].value, metadata["source_rows"].value) == (0.0, 400)
    assert "**SourceRejected**, met 1 time since" in metadata["last_incident"].value
    assert "closed" in metadata["last_incident"].value
    _, instance = run()
    metadata = instance.get_latest_materialization_event(ORDERS).asset_materialization.metadata
    assert "no such column" in metadata["last_incident"].value, "it stays the last one"


def test_what_ran_is_in_the_ledger_when_the_run_ends(run, project):
    run(tags={"import_platform/billable": "false"})
    result, _ = run()
    found = pl.read_delta(str(project.root / "lake/_ops/runs")).sort("started_at")
    assert found.select("source", "table", "kind", "status", "billable").rows() == [
        ("shop", "orders", "incremental", "done", False),
        ("shop", "orders", "incremental", "unchanged", True),
    ]
    assert found["dagster_run"].to_list()[1] == result.run_id


def test_each_table_has_its_own_partitions_pool_and_backfills_of_one_key(repository):
    asset = repository.assets_defs_by_key[ORDERS]
    assert asset.partitions_def == dg.DynamicPartitionsDefinition(name="shop/orders")
    assert asset.backfill_policy == dg.BackfillPolicy.multi_run(1)
    assert asset.op.pool == "delta/shop/orders"


def test_a_schedule_makes_a_table_stale_and_none_does_not(project, repository):
    spec = repository.assets_defs_by_key[ORDERS].specs_by_key[ORDERS]
    assert spec.freshness_policy.fail_window.to_timedelta().total_seconds() == 2 * 15 * 60 + 3600
    project.declare(SHOP.replace('  schedule: "*/15 * * * *"\n', ""))
    [source] = project.sources().sources
    assets = source.definitions().get_repository_def().assets_defs_by_key
    assert assets[ORDERS].specs_by_key[ORDERS].freshness_policy is None


def test_a_run_without_a_key_is_a_sync(run, project):
    result, instance = run()
    assert result.success
    assert pl.read_delta(str(project.root / "lake/shop/orders")).height == 400
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert set(checks) == set(DESCRIPTIONS)
    assert all(checks.values())
    assert instance.get_latest_materialization_event(ORDERS).asset_materialization.partition is None


def test_a_run_with_a_key_loads_that_partition_and_the_key_turns_green(run, project):
    run()
    project.sql("delete from orders where created_at like '2025-02%'")
    result, instance = run(partition_key="2025-02")
    assert result.success
    assert pl.read_delta(str(project.root / "lake/shop/orders")).height == 300
    latest = instance.get_latest_materialization_event(ORDERS).asset_materialization
    assert latest.partition == "2025-02"
    assert latest.metadata["dagster/partition_row_count"].value == 0
    assert latest.metadata["dagster/row_count"].value == 300


def test_a_backfill_names_its_one_key_by_a_range(run, project):
    run()
    project.sql("delete from orders where created_at like '2025-03%'")
    tags = {"dagster/asset_partition_range_start": "2025-03", "dagster/asset_partition_range_end": "2025-03"}
    result, _ = run(tags=tags)
    assert result.success
    assert pl.read_delta(str(project.root / "lake/shop/orders")).height == 300


def test_the_run_says_which_process_works_on_it(run):
    result, instance = run()
    tags = instance.get_run_by_id(result.run_id).tags
    assert {HOST_TAG, PROCESS_TAG} <= set(tags)


def test_a_source_that_comes_back_is_waited_for(run, monkeypatch):
    tries = []
    real = sync.sync_table

    def flaky(context, **options):
        tries.append(context.table_id)
        if len(tries) == 1:
            raise SourceUnavailable("it went away", remedy="Wait.")
        return real(context, **options)

    monkeypatch.setattr("import_platform.assets.materialize.sync_table", flaky)
    monkeypatch.setattr("import_platform.assets.failure.OUTAGE_PAUSES_SECONDS", (0.1,))
    result, _ = run()
    assert (result.success, len(tries)) == (True, 2)


def test_an_unexpected_error_leaves_no_value_in_the_history(run, monkeypatch, project):
    def broken(context, **options):
        raise RuntimeError("row 17: canary-5ecret")

    monkeypatch.setattr("import_platform.assets.materialize.sync_table", broken)
    with session(Session()) as mine:
        result, _ = run()
    assert not result.success
    assert mine.reports["shop/orders"].status is Status.FAILED
    assert "internal error: RuntimeError" in mine.reports["shop/orders"].error
    assert not [path for path in project.home.rglob("*") if path.is_file() and b"canary-5ecret" in path.read_bytes()]


@pytest.mark.parametrize(
    ("partition", "words"),
    [
        (TimePartition("at", Granularity.DAY), "day of `at`"),
        (NumberPartition("id", 1_000_000), "1,000,000 values of `id` each"),
        (HashPartition(4), "16 by hash of the key"),
        (HashPartition(0), "one for all rows"),
        (None, "chosen at the first sync"),
    ],
)
def test_layouts_in_words(partition, words):
    assert layout(partition) == words

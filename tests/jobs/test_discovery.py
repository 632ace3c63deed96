"""Discovery asks the source once, saves what it found, and shows the partitions that are still to be imported."""

from __future__ import annotations

import dagster as dg
import pytest

from import_platform.core.table import UNPARTITIONED, Granularity, NumberPartition, TableInfo, TimePartition
from import_platform.errors import ConfigError
from import_platform.jobs.discovery import KEYS_MAX, coarser, discover_source, missing_keys, source_keys
from import_platform.jobs.launch import launch_sync
from import_platform.resources.platform import PlatformResource
from tests.dagster_project import SHOP, WHOLE_SHOP

MONTHS = TimePartition("created_at", Granularity.MONTH)
TABLE = TableInfo("", "orders", ())


def _discover(project, instance):
    [source] = project.sources().sources
    return discover_source(PlatformResource(), source.config, source.tables, instance=instance)


def test_a_new_table_shows_its_missing_partitions(project):
    with project.instance() as instance:
        found = _discover(project, instance)
        months = ["2025-01", "2025-02", "2025-03", "2025-04"]
        assert found.new_keys["shop/orders"] == months
        assert instance.get_dynamic_partitions("shop/orders") == months
        assert instance.get_dynamic_partitions("shop/customers") == ["all"]
        assert instance.get_materialized_partitions(dg.AssetKey(["shop", "orders"])) == set()


def test_looking_again_adds_nothing(project):
    with project.instance() as instance:
        _discover(project, instance)
        assert not any(_discover(project, instance).new_keys.values())


def test_the_columns_of_a_never_synced_table_are_on_its_page_afterwards(project):
    with project.instance() as instance:
        _discover(project, instance)
    [source] = project.sources().sources
    [orders] = [a for a in source.definitions().assets if a.key.path[-1] == "orders"]
    schema = orders.metadata_by_key[orders.key]["dagster/column_schema"]
    assert [column.name for column in schema.columns] == ["id", "created_at", "updated_at", "note"]


def test_an_undeclared_source_has_a_job_that_says_so_and_no_assets(project):
    project.declare(WHOLE_SHOP)
    [source] = project.sources().sources
    definitions = source.definitions()
    assert [job.name for job in definitions.jobs] == ["discover_shop"]
    assert "No table is known yet" in definitions.jobs[0].description
    assert not definitions.assets


def test_an_undeclared_source_has_the_discovered_tables(project):
    project.declare(WHOLE_SHOP)
    with project.instance() as instance:
        _discover(project, instance)
    [source] = project.sources().sources
    assert [table.name for table in source.known_tables()] == ["customers", "orders"]


def test_a_declared_table_that_the_source_lacks_is_noted_and_the_others_are_looked_at(project):
    project.declare(SHOP.replace("name: customers", "name: clients"))
    with project.instance() as instance:
        found = _discover(project, instance)
    assert found.notes == {"shop/clients": "the source has no such table"}
    assert found.new_keys["shop/orders"]


def test_a_source_that_cannot_be_asked_keeps_the_last_snapshot(project, monkeypatch):
    with project.instance() as instance:
        _discover(project, instance)
        [source] = project.sources().sources
        before = source.snapshot()
        monkeypatch.delenv("SHOP_DB")
        with pytest.raises(ConfigError, match="SHOP_DB"):
            _discover(project, instance)
    assert source.snapshot() == before


def test_a_synced_table_is_not_counted_again(project):
    launch_sync(["shop"], sources=project.sources())
    project.sql("insert into orders values (5000, '2030-01-01 00:00:00', '2030-01-01 00:00:00', 'x')")
    with project.instance() as instance:
        assert not any(_discover(project, instance).new_keys.values())


class _Counting:
    """A source that has more than the limit below the given level."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def base_keys(self, table, partition, *, limit, timeout_seconds):
        assert limit == KEYS_MAX
        self.asked.append(partition)
        return self.answers.get(getattr(partition, "granularity", None) or partition.width)


def test_too_many_keys_give_their_finest_common_ancestors():
    source = _Counting({Granularity.MONTH: ["2025-01"]})
    hours = TimePartition("created_at", Granularity.HOUR)
    assert source_keys(source, TABLE, hours, timeout_seconds=1) == ["2025-01"]
    assert [asked.granularity for asked in source.asked] == ["hour", "day", "month"]


def test_numbers_get_wider_until_they_fit():
    assert source_keys(_Counting({1000: ["n1000_0"]}), TABLE, NumberPartition("id", 10), timeout_seconds=1) == [
        "n1000_0"
    ]


def test_more_years_than_the_limit_show_nothing():
    assert source_keys(_Counting({}), TABLE, MONTHS, timeout_seconds=1) == []


def test_an_unpartitioned_table_has_one_key_and_asks_nobody():
    source = _Counting({})
    assert source_keys(source, TABLE, UNPARTITIONED, timeout_seconds=1) == ["all"]
    assert source.asked == []


@pytest.mark.parametrize(
    ("partition", "wider"),
    [
        (TimePartition("at", Granularity.YEAR), None),
        (TimePartition("at", Granularity.DAY, stable=True), TimePartition("at", Granularity.MONTH, stable=True)),
        (NumberPartition("id", 10**18), None),
        (NumberPartition("id", 1), NumberPartition("id", 10)),
        (UNPARTITIONED, None),
    ],
)
def test_one_level_up(partition, wider):
    assert coarser(partition) == wider


@pytest.mark.parametrize(
    ("leaves", "missing"),
    [
        ([], ["2025-01", "2025-02"]),
        (["2025-01"], ["2025-02"]),
        (["2025-01.h0", "2025-01.h1"], ["2025-02"]),
        (["2025-01-13", "2025-01-14T05"], ["2025-02"]),
        (["2025"], []),
        (["2024", "2025-03"], ["2025-01", "2025-02"]),
    ],
)
def test_a_key_is_missing_when_no_leaf_can_hold_its_rows(leaves, missing):
    assert missing_keys(["2025-01", "2025-02"], leaves, MONTHS) == missing

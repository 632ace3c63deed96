"""The models in Dagster: behind the imported tables, built in one step, described, and started by what was synced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from import_platform.demo.place import environment
from tests.dbt.conftest import Project

pytestmark = pytest.mark.slow

MART = dg.AssetKey(["marts", "punctuality_by_carrier_month"])
FLIGHTS = dg.AssetKey(["nyc", "flights"])


@pytest.fixture
def definitions(built: Project) -> Iterator[dg.Definitions]:
    from import_platform.components.loading import load_sources
    from import_platform.definitions import build_definitions

    with environment(built.environment):
        yield build_definitions(load_sources([built.place.defs_folder]), strict=True)


def test_lineage_runs_from_the_imported_table_to_the_mart(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    staged = dg.AssetKey(["staging", "stg_flights"])
    assert staged in graph.get(MART).parent_keys
    assert graph.get(staged).parent_keys == {FLIGHTS}
    assert graph.get(FLIGHTS).group_name == "nyc"
    assert graph.get(FLIGHTS).is_materializable  # the imported table itself, not a stub of its name


def test_a_build_records_rows_columns_and_checks(built: Project, definitions: dg.Definitions) -> None:
    job = dg.Definitions.merge(
        definitions, dg.Definitions(jobs=[dg.define_asset_job("models", selection=dg.AssetSelection.groups("dbt"))])
    ).resolve_job_def("models")
    began_in = Path.cwd()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        event = instance.get_latest_materialization_event(MART)
    assert result.success
    assert Path.cwd() == began_in
    metadata = event.asset_materialization.metadata
    with built.connect() as connection:
        rows = connection.execute("SELECT count(*) FROM marts.punctuality_by_carrier_month").fetchone()[0]
    assert metadata["dagster/row_count"].value == rows
    names = [column.name for column in metadata["dagster/column_schema"].value.columns]
    assert names[:3] == ["carrier", "airline", "month"]
    verdicts = result.get_asset_check_evaluations()
    assert len(verdicts) >= 20
    assert all(verdict.passed for verdict in verdicts)


def test_a_sync_of_a_table_asks_for_the_models_behind_it(definitions: dg.Definitions) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("nyc/flights", ["2013-01", "2013-02"])
        first = dg.evaluate_automation_conditions(definitions, instance=instance)
        instance.report_runless_asset_event(dg.AssetMaterialization(FLIGHTS, partition="2013-02"))
        asked = dg.evaluate_automation_conditions(definitions, instance=instance, cursor=first.cursor)
        assert asked.get_num_requested(dg.AssetKey(["staging", "stg_flights"])) == 1
        assert asked.get_num_requested(MART) == 1
        assert asked.get_num_requested(dg.AssetKey(["staging", "stg_planes"])) == 0

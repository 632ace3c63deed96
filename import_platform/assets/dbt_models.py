"""The models of the dbt project as assets behind the tables that they read. Needs the extra `dbt`."""

# No postponed annotations: Dagster reads those of the decorated function below at run time.

import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, dbt_assets

GROUP = "dbt"
SENSOR = "build_dbt_models"


class LakeTranslator(DagsterDbtTranslator):
    """Models are built anew when what they read has changed, whatever partitions of it are still missing."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return GROUP

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition[Any]:
        return dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())


def dbt_definitions(project: Path, manifest: Path) -> dg.Definitions:
    """One step that runs `dbt build` on models, and the sensor that asks for them after a sync."""

    @dbt_assets(manifest=manifest, name="dbt_models", dagster_dbt_translator=LakeTranslator(), pool="dbt/duckdb")
    def dbt_models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        with chdir(Path.cwd()):  # dbt goes to its project and stays there; other steps go on from here
            yield from dbt.cli(["build"], context=context).stream().fetch_row_counts().fetch_column_metadata()

    return dg.Definitions(
        assets=[dbt_models],
        resources={"dbt": _dbt(project)},
        sensors=[
            dg.AutomationConditionSensorDefinition(
                SENSOR,
                target=dg.AssetSelection.groups(GROUP),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=60,
            )
        ],
    )


def _dbt(project: Path) -> DbtCliResource:
    """The dbt of this environment, which need not be on the PATH."""
    beside = Path(sys.executable).with_name("dbt")
    executable = str(beside) if beside.exists() else "dbt"
    return DbtCliResource(project_dir=str(project), profiles_dir=str(project), dbt_executable=executable)

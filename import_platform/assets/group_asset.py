"""A declared grouping as an asset downstream of its rows: a table of the lake, or files that somebody else writes."""

# No postponed annotations: Dagster reads those of the decorated function below at run time.

from typing import Any

import dagster as dg

from import_platform.assets.materialize import end_as_canceled, observer_of, translated
from import_platform.core.grouping import DeclaredGrouping, GroupReport
from import_platform.errors import Interrupted
from import_platform.own_folder import own_folder
from import_platform.pipeline.regroup import Regrouping, regroup
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.naming import asset_key
from import_platform.resources.platform import PlatformResource
from import_platform.resources.process import tag_run
from import_platform.resources.session import current_session

GROUP = "grouped"


def grouping_key(name: str) -> dg.AssetKey:
    """Of one part, so that it is never a table's, which has two."""
    return dg.AssetKey([name])


def input_key(declared: DeclaredGrouping) -> dg.AssetKey:
    return asset_key(*declared.table) if declared.table is not None else dg.AssetKey([declared.name, "input"])


def input_spec(declared: DeclaredGrouping) -> dg.AssetSpec | None:
    """What the lineage shows of files; None for a table, whose source has an asset of its own."""
    if declared.files is None:
        return None
    return dg.AssetSpec(
        input_key(declared),
        description=f"Parquet files that `{declared.files}` matches.",
        group_name=declared.labels.group or GROUP,
        kinds={"parquet"},
        metadata={"files": declared.files},
    )


def group_asset(declared: DeclaredGrouping, metadata: dict[str, Any]) -> dg.AssetsDefinition:
    """Materialized by hand, by its schedule, or without one off the back of its table's sync, where the sensor for
    automation conditions is switched on. Its data version changes with its rows or its declaration only."""
    eager = declared.table is not None and declared.schedule is None
    mapping = dg.AllPartitionMapping() if declared.table is not None else None

    @dg.asset(
        key=grouping_key(declared.name),
        deps=[dg.AssetDep(input_key(declared), partition_mapping=mapping)],
        description=declared.labels.description or _description(declared),
        group_name=declared.labels.group or GROUP,
        owners=list(declared.labels.owners),
        tags=dict(declared.labels.tags),
        kinds={"parquet"},
        metadata=metadata,
        pool=f"group/{declared.name}",
        automation_condition=dg.AutomationCondition.eager() if eager else None,
    )
    def group(context: dg.AssetExecutionContext, platform: PlatformResource):  # type: ignore[no-untyped-def]  # noqa: ANN202
        report = grouped_in_step(context, platform, declared)
        facts = {name: value for name, value in report.as_json().items() if value is not None}
        return dg.MaterializeResult(metadata=facts)

    return group


def grouped_in_step(context: Any, platform: PlatformResource, declared: DeclaredGrouping) -> GroupReport:
    """Groups what changed; raises what Dagster understands, as `materialize_table` does."""
    session = current_session()
    tag_run(context)
    with translated(context, session, declared.name, platform), stop_on_signals(session.stop) as stop:
        try:
            with platform.whole(stop=stop) as budget:
                scratch = own_folder("import_platform")
                work = Regrouping(platform.lake(), budget, observer_of(context, session), stop, scratch)
                report = regroup(work, declared)
        except Interrupted:
            session.interrupted = True
            end_as_canceled(context)
        session.reports[declared.name] = report
    return report


def _description(declared: DeclaredGrouping) -> str:
    rows = f"`{declared.files}`" if declared.table is None else ".".join(declared.table)
    return f"One row per {', '.join(declared.by)} of {rows}, with lists, in `{declared.output}`."

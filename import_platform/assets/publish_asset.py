"""What is published of a source, as assets downstream of its tables: one step per group of tables or folder."""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

from collections.abc import Sequence
from typing import Any

import dagster as dg

from import_platform.assets.materialize import end_as_canceled, observer_of, translated
from import_platform.core.names import escape
from import_platform.core.publication import Publication, PublishReport, ToFolder, ToPostgres
from import_platform.core.table import DeclaredTable
from import_platform.errors import Interrupted
from import_platform.pipeline.publish import Publishing, grouped, publish_group
from import_platform.pipeline.publish_files import publish_files
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.naming import SOURCE_TAG, asset_key, op_name, table_id
from import_platform.resources.platform import PlatformResource
from import_platform.resources.process import tag_run
from import_platform.resources.session import current_session
from import_platform.resources.variables import required_variable

PUBLISH_BYTES = 96 << 20
"""What a publication holds beside its hashes: batches on the way, and the driver's buffers."""

Group = Sequence[tuple[str, Publication]]


def published_key(source: str, table: str) -> dg.AssetKey:
    return dg.AssetKey([source, escape(table), "published"])


def publish_assets(source: str, tables: Sequence[DeclaredTable]) -> list[dg.AssetsDefinition]:
    """One step per group. Its automation condition starts it off the back of a sync, where the sensor for automation
    conditions is switched on.

    Raises:
        ConfigError: the groups contradict each other.
    """
    return [_asset(source, group) for group in publish_groups(tables)]


def publish_groups(tables: Sequence[DeclaredTable]) -> list[Group]:
    to_postgres = [(table.name, table.publish) for table in tables if isinstance(table.publish, ToPostgres)]
    to_folder = [(table.name, table.publish) for table in tables if isinstance(table.publish, ToFolder)]
    return [*grouped(to_postgres), *([each] for each in to_folder)]


def _asset(source: str, group: Group) -> dg.AssetsDefinition:
    names = [name for name, _ in group]

    @dg.multi_asset(
        name=f"publish_{op_name(source, names[0])}",
        specs=[
            dg.AssetSpec(
                published_key(source, name),
                deps=[dg.AssetDep(asset_key(source, name), partition_mapping=dg.AllPartitionMapping())],
                description=_description(source, name, to),
                group_name=source,
                kinds={"postgres"} if isinstance(to, ToPostgres) else {"file"},
                tags={SOURCE_TAG: source},
                automation_condition=dg.AutomationCondition.eager(),
            )
            for name, to in group
        ],
        pool=f"publish/{source}/{escape(names[0])}",
    )
    def publish(context: dg.AssetExecutionContext, platform: PlatformResource):  # type: ignore[no-untyped-def]  # noqa: ANN202
        for report in published_in_step(context, platform, source, group):
            facts = {name: value for name, value in report.as_json().items() if value not in (None, "", ())}
            key = published_key(source, report.table.partition("/")[2])
            yield dg.MaterializeResult(asset_key=key, metadata=facts)

    return publish


def published_in_step(context: Any, platform: PlatformResource, source: str, group: Group) -> list[PublishReport]:
    """Publishes the group; raises what Dagster understands, as `materialize_table` does."""
    session, first = current_session(), table_id(source, group[0][0])
    tag_run(context)
    with translated(context, session, first, platform), stop_on_signals() as stop:
        observer, run = observer_of(context, session), context.run.run_id
        try:
            with platform.turns(source, group[0][0], stop=stop, run_id=run) as (turns, budget):
                turns.rewrite(budget.merge_bytes + PUBLISH_BYTES)
                reports = publish(Publishing(platform.lake(), source, budget, observer, stop), group)
        except Interrupted:
            session.interrupted = True
            end_as_canceled(context)
        for report in reports:
            session.reports[report.table] = report
    return reports


def publish(work: Publishing, group: Group) -> list[PublishReport]:
    """The tables of one group of `publish_groups`. Raises ConfigError where the variable of the dsn is not set."""
    to_postgres = [(name, to) for name, to in group if isinstance(to, ToPostgres)]
    if not to_postgres:
        return [publish_files(work, name, to) for name, to in group if isinstance(to, ToFolder)]
    return publish_group(work, to_postgres, required_variable(to_postgres[0][1].dsn_variable))


def _description(source: str, name: str, to: Publication) -> str:
    if isinstance(to, ToFolder):
        return f"{source}.{name} as {to.format} files in `{to.folder}`."
    beside = f", in one transaction with the other tables of `{to.group}`" if to.group else ""
    return f"{source}.{name} as the table `{to.schema}.{to.table or name}` of PostgreSQL{beside}."

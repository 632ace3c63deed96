"""Single rows of one table repaired inside a Dagster step: rejected rows replayed, differences to the source mended,
failed enrichments asked again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from import_platform.assets.materialize import end_as_canceled, observer_of, translated
from import_platform.assets.partitions import record_partitions
from import_platform.assets.run_ledger import order_of
from import_platform.core.report import SyncReport
from import_platform.core.table import DeclaredTable
from import_platform.errors import Interrupted
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.enrich_missing import enrich_missing
from import_platform.pipeline.inspect import table_status
from import_platform.pipeline.ledger import Ran, recorded
from import_platform.pipeline.reconcile import reconcile
from import_platform.pipeline.replay import replay_rejected
from import_platform.pipeline.run_notes import RunNotes
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.naming import table_id
from import_platform.resources.platform import PlatformResource, SourceConfig
from import_platform.resources.process import tag_run
from import_platform.resources.session import UNLIMITED_SECONDS, current_session

REPLAY = "replay"
RECONCILE = "reconcile"
ENRICH = "enrich"
Repair = Callable[[TableContext, Mapping[str, Any]], SyncReport]
REPAIRS: Mapping[str, Repair] = {
    REPLAY: lambda table, _: replay_rejected(table),
    ENRICH: lambda table, _: enrich_missing(table),
    RECONCILE: lambda table, options: reconcile(table, repair=not options["dry_run"]),
}


def repair_in_step(
    context: Any, platform: PlatformResource, config: SourceConfig, declared: DeclaredTable, options: Mapping[str, Any]
) -> SyncReport:
    """Does the repair that the options name as `task`, and logs the leaves that changed.

    Raises what Dagster understands, as `materialize_table` does.
    """
    session, name = current_session(), table_id(config.name, declared.name)
    tag_run(context)
    with translated(context, session, name, platform), stop_on_signals(session.stop) as stop:
        lake = platform.lake()
        before = table_status(lake, config.name, declared.name)
        observer = observer_of(context, session)
        with platform.table(
            config, declared, observer=observer, stop=stop, max_run_seconds=UNLIMITED_SECONDS, run_id=context.run.run_id
        ) as table:
            ran = Ran(lake, config.name, declared.name, observer, table.budget.total_bytes, order_of(context.run))
            try:
                report = recorded(ran, RunNotes(options["task"]), lambda: REPAIRS[options["task"]](table, options))
            except Interrupted:
                session.interrupted = True
                end_as_canceled(context)
        session.reports[name] = report
        after = table_status(lake, config.name, declared.name)
        if after is not None:
            record_partitions(context, config.name, declared.name, before=before, after=after)
        if stop():
            session.interrupted = True
            end_as_canceled(context)
    return report

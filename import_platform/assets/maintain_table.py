"""One table repartitioned or compacted inside a Dagster step, with its new partitions recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from import_platform.assets.materialize import end_as_canceled, observer_of, translated
from import_platform.assets.metadata import leaves_by_base
from import_platform.assets.partitions import record_partitions
from import_platform.assets.run_ledger import order_of
from import_platform.core.budget import MemoryBudget
from import_platform.core.convert import partition_from_text
from import_platform.core.report import Observer, Status, SyncReport
from import_platform.core.table import DeclaredTable
from import_platform.core.wording import counted
from import_platform.errors import Interrupted
from import_platform.pipeline.context import LakeTable, open_lake_table
from import_platform.pipeline.convert import convert
from import_platform.pipeline.inspect import TableStatus, table_status
from import_platform.pipeline.ledger import Ran, keep_ledger, recorded
from import_platform.pipeline.maintain import maintain_table
from import_platform.pipeline.repartition import predicted_peak_bytes, repartition
from import_platform.pipeline.run_notes import RunNotes
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.naming import table_id
from import_platform.resources.partition_keys import reconcile_keys
from import_platform.resources.platform import PlatformResource, partition_max_bytes
from import_platform.resources.process import tag_run
from import_platform.resources.session import current_session

REPARTITION = "repartition"
COMPACT = "compact"


def maintain_in_step(
    context: Any, platform: PlatformResource, source: str, declared: DeclaredTable, options: Mapping[str, Any]
) -> SyncReport:
    """Does the task that the options name (`task`, `max_bytes`, `by_hand`, `to`) and makes Dagster's keys follow.

    Materializations are logged for leaves that are new or changed, so that nothing is imported again; keys of leaves
    that are gone are deleted unless something in flight may target them, and then by a later run or sensor tick.
    Raises what Dagster understands, as `materialize_table` does.
    """
    session, name = current_session(), table_id(source, declared.name)
    tag_run(context)
    with translated(context, session, name, platform), stop_on_signals() as stop:
        lake = platform.lake()
        before = table_status(lake, source, declared.name)
        observer = observer_of(context, session)
        limit_bytes = options["max_bytes"] or partition_max_bytes(declared)
        try:
            with platform.turns(source, declared.name, stop=stop, run_id=context.run.run_id) as (turns, budget):
                turns.rewrite(predicted_peak_bytes(budget) - budget.base_bytes)
                table = open_lake_table(lake, source, declared.name)
                ran = Ran(lake, source, declared.name, observer, budget.total_bytes, order_of(context.run))
                report = recorded(
                    ran,
                    RunNotes("convert" if options["to"] else options["task"]),
                    lambda: _rewritten(table, options, limit_bytes, budget=budget, observer=observer, stop=stop),
                )
        except Interrupted:  # while it waited for memory: nothing was begun
            session.interrupted = True
            end_as_canceled(context)
        session.reports[name] = report
        after = table_status(lake, source, declared.name)
        # Also when nothing was left to do: a run that was killed after its commit left the keys behind.
        if after is not None and options["task"] == REPARTITION:
            limit_bytes = partition_max_bytes(declared)
            record_partitions(context, source, declared.name, before=before, after=after, limit_bytes=limit_bytes)
            _reconcile(context, source, declared.name, after, observer)
        if options["task"] == COMPACT:
            keep_ledger(ran)
        if stop() and report.status is Status.CHECKPOINTED:
            session.interrupted = True
            end_as_canceled(context)
    return report


def _rewritten(
    table: LakeTable,
    options: Mapping[str, Any],
    limit_bytes: int,
    *,
    budget: MemoryBudget,
    observer: Observer,
    stop: Callable[[], bool],
) -> SyncReport:
    if options["task"] == COMPACT:
        return maintain_table(table, budget=budget, observer=observer)
    if options["to"]:
        partition = partition_from_text(options["to"])
        return convert(table, partition, limit_bytes=limit_bytes, budget=budget, observer=observer)
    return repartition(
        table, limit_bytes=limit_bytes, budget=budget, observer=observer, stop=stop, by_hand=options["by_hand"]
    )


def _reconcile(context: Any, source: str, table: str, after: TableStatus, observer: Observer) -> None:
    changes = reconcile_keys(
        context.instance,
        source,
        table,
        bases=leaves_by_base(after.leaves),
        partition=after.identity.partition,
        run_id=context.run_id,
    )
    if changes.waiting:
        waiting = f"{counted(len(changes.waiting), 'old partition key')} kept until {changes.because} has ended"
        observer.note(table_id(source, table), waiting)

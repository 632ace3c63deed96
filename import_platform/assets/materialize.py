"""One table synced or backfilled inside a Dagster step, with everything the asset pages show recorded.

The asset and the "sync now" job both end here, so a sync looks the same however it was started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import dagster as dg

from import_platform.assets.failure import for_unexpected, retry_or_failure
from import_platform.assets.metadata import added, asked_metadata, found_metadata, sync_metadata
from import_platform.assets.partitions import record_partitions
from import_platform.assets.run_ledger import fold_after_last, order_of
from import_platform.core.fan_out import FanOut, FanOutPlan
from import_platform.core.repartition import RepartitionRecord
from import_platform.core.report import Observer, Status, SyncReport
from import_platform.core.table import DeclaredTable
from import_platform.errors import ImportPlatformError
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.drop import drop_table, finish_drop
from import_platform.pipeline.inspect import TableStatus, table_status
from import_platform.pipeline.repartition import read_record
from import_platform.pipeline.sync import backfill_table, read_files_again, sync_table
from import_platform.pipeline.table_checks import Findings, Wanted, find
from import_platform.resources.interrupts import stop_on_signals
from import_platform.resources.naming import EXPECTED_MEMORY, STOPPED, table_id
from import_platform.resources.platform import PlatformResource, SourceConfig, partition_max_bytes
from import_platform.resources.process import tag_run
from import_platform.resources.run_log import RunLog
from import_platform.resources.session import UNLIMITED_SECONDS, Session, current_session


@dataclass(frozen=True)
class Reading:
    """What is asked of a step: the ranges of `keys` or the `files` read again, or without them a sync. `drop` deletes
    the table before it. `wanted` is what its checks want to know. With `fan_out` its flush may be left to steps;
    `read_before` is what reading took in a step before this one."""

    keys: Sequence[str] = ()
    full_refresh: bool = False
    drop: bool = False
    wanted: Wanted = field(default_factory=Wanted)
    fan_out: FanOut | None = None
    read_before: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What a step hands to Dagster for the table as a whole; a status is None while the lake has no such table.

    `record` says what repartitions found out, where a leaf is over the limit; `findings` what the table's checks saw.
    With a `plan` its flush was left to steps, and nothing is to be recorded yet.
    """

    report: SyncReport
    before: TableStatus | None
    after: TableStatus | None
    metadata: dict[str, Any]
    partition_max_bytes: int
    record: RepartitionRecord | None = None
    findings: Findings = field(default_factory=Findings)
    plan: FanOutPlan | None = None


def materialize_table(
    context: Any,
    platform: PlatformResource,
    config: SourceConfig,
    declared: DeclaredTable,
    reading: Reading,
) -> Outcome:
    """Reads the table as asked, looks at what its checks want to know, and records partitions.

    `context` is that of an op or of an asset. Raises what Dagster understands: RetryRequested for what can heal by
    itself, Failure otherwise, DagsterExecutionInterruptedError when the run was asked to stop.
    """
    session, name = current_session(), table_id(config.name, declared.name)
    tag_run(context)
    with translated(context, session, name, platform), stop_on_signals(session.stop) as stop:
        lake, limit_bytes = platform.lake(), partition_max_bytes(declared)
        before = table_status(lake, config.name, declared.name)
        # A backfill that ended early would leave its partition shown as loaded; it holds up nothing but its own table.
        limit = UNLIMITED_SECONDS if reading.keys else session.max_run_seconds
        observer, run = observer_of(context, session), context.run.run_id
        troubled = Incidents(lake).of_table(config.name, declared.name)
        with platform.table(config, declared, observer, stop=stop, max_run_seconds=limit, run_id=run) as opened:
            table = replace(opened, order=order_of(context.run), fan_out=reading.fan_out)
            report = _work(table, reading)
            plan = table.notes.plan
            findings = Findings() if stop() or plan else find(table, report, reading.wanted, troubled=troubled)
            learned = _learned(table)
        after = table_status(lake, config.name, declared.name)
        session.reports[name] = report
        if after is not None:
            keys = reading.keys
            record_partitions(
                context, config.name, declared.name, before=before, after=after, limit_bytes=limit_bytes, skip=keys
            )
        if stop():
            session.interrupted = True
            end_as_canceled(context)
    metadata = sync_metadata(
        report, before, after, budget_bytes=table.budget.total_bytes, limit_bytes=limit_bytes, cursor=declared.cursor
    )
    metadata |= learned | found_metadata(findings)
    if after is not None and len(reading.keys) == 1:
        metadata |= asked_metadata(after, reading.keys[0], limit_bytes=limit_bytes)
    record = _record_where_over(lake, table, after, limit_bytes)
    return Outcome(report, before, after, metadata, limit_bytes, record, findings, plan)


def _record_where_over(
    lake: Lake, table: TableContext, after: TableStatus | None, limit_bytes: int
) -> RepartitionRecord | None:
    over = after is not None and any(leaf.bytes > limit_bytes for leaf in after.leaves.values())
    return read_record(lake.store, lake.table_path(table.source_name, table.declared.name)) if over else None


def _learned(table: TableContext) -> dict[str, Any]:
    expected_bytes = table.sizes.expected_bytes if table.sizes is not None else None
    return {EXPECTED_MEMORY: expected_bytes} if expected_bytes is not None else {}


def _work(table: TableContext, reading: Reading) -> SyncReport:
    if finish_drop(table.lake, table.source_name, table.declared.name) or reading.drop:
        drop_table(table.lake, table.source_name, table.declared.name)
        table.observer.note(table.table_id, "deleted; it is read anew")
    if reading.files:
        return read_files_again(table, reading.files)
    if not reading.keys:
        report = sync_table(table, full_refresh=reading.full_refresh)
        return added(SyncReport(report.table, **reading.read_before), report) if reading.read_before else report
    report = backfill_table(table, reading.keys[0])
    for key in reading.keys[1:]:
        if report.status is not Status.CHECKPOINTED:
            report = added(report, backfill_table(table, key))
    return report


def end_as_canceled(context: Any) -> NoReturn:
    """Ends the run here and now. Without the mark of a wanted end Dagster would call it a failure."""
    run = context.instance.get_run_by_id(context.run_id)
    if run is not None and run.status is not dg.DagsterRunStatus.CANCELING:
        context.instance.report_run_canceling(run, f"{STOPPED}; the sync ended at a checkpoint.")
    raise dg.DagsterExecutionInterruptedError


def observer_of(context: Any, session: Session) -> Observer:
    return session.observer or RunLog(context.log)


@contextmanager
def translated(context: Any, session: Session, name: str, platform: PlatformResource) -> Iterator[None]:
    """Turns errors into what Dagster acts on, and leaves the table's report with its caller either way; after the last
    table of the run the ledger is written."""
    try:
        yield
    except ImportPlatformError as error:
        report = getattr(error, "report", None) or SyncReport(table=name)
        report.status, report.error = Status.FAILED, str(error)
        session.reports[name], session.errors[name] = report, error
        raise retry_or_failure(error, report, retries=context.retry_number, patient=session.patient) from None
    except Exception as error:  # noqa: BLE001  the last net: whatever it is becomes one sentence
        failure = for_unexpected(error)
        session.reports[name] = SyncReport(table=name, status=Status.FAILED, error=failure.description)
        raise failure from None
    finally:
        with suppress(ImportPlatformError):  # no lake is configured: the step has said so
            fold_after_last(context, platform.lake(), observer_of(context, session), name)

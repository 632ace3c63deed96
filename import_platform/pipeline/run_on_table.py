"""One run of work on one table: opened, measured, written into the ledger, its failures remembered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from import_platform.core.budget import format_bytes
from import_platform.core.report import Status, SyncReport
from import_platform.errors import ImportPlatformError
from import_platform.io.memory import MemoryWatch, release_unused, tame_allocators
from import_platform.pipeline.context import OpenTable, TableContext, open_table
from import_platform.pipeline.incidents import record_failure, record_success
from import_platform.pipeline.ledger import Ran, recorded
from import_platform.sources.protocol import NoRowsYet, Warns


def run_on_table(
    context: TableContext, work: Callable[[OpenTable, SyncReport], None], *, resync: bool = False
) -> SyncReport:
    """The report of `work` on the opened table, measured and written into the ledger; a `resync` does again what was
    done before.

    Raises:
        ImportPlatformError: with the report so far as its `report` attribute.
    """
    table, budget_bytes = context.declared.name, context.budget.total_bytes
    ran = Ran(context.lake, context.source_name, table, context.observer, budget_bytes, context.order, resync)
    return recorded(ran, context.notes, lambda: _reported(context, work))


def _reported(context: TableContext, work: Callable[[OpenTable, SyncReport], None]) -> SyncReport:
    report = SyncReport(table=context.table_id)
    started = time.monotonic()
    tame_allocators()
    with MemoryWatch(context.budget.total_bytes) as watch:
        try:
            work(open_table(replace(context, watch=watch)), report)
        except NoRowsYet as nothing:
            context.observer.note(context.table_id, str(nothing))
        except ImportPlatformError as error:
            report.status, report.error = Status.FAILED, str(error)
            error.report = report
            record_failure(context, error)
            raise
        else:
            record_success(context)
        finally:
            report.seconds = round(time.monotonic() - started, 3)
            report.peak_memory_bytes = watch.peak_bytes
            report.warnings = _warnings(context)
            release_unused()
    report.peak_memory_bytes = watch.peak_bytes
    if report.predicted_memory_bytes:
        held, predicted = format_bytes(report.peak_memory_bytes), format_bytes(report.predicted_memory_bytes)
        budget = format_bytes(context.budget.total_bytes)
        context.observer.note(report.table, f"held {held} at most; its merges were predicted {predicted} of {budget}")
    return report


def _warnings(context: TableContext) -> tuple[str, ...]:
    """What the source says about the declaration of the table, also told to who watches."""
    source = context.source
    found = source.warnings(context.declared.name) if isinstance(source, Warns) else ()
    for sentence in found:
        context.observer.note(context.table_id, f"warning: {sentence}")
    return found

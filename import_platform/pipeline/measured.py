"""Work on a table in the lake with its time and memory measured, and its report attached to whatever it raises."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from import_platform.core.budget import MemoryBudget
from import_platform.core.report import Status, SyncReport
from import_platform.errors import ImportPlatformError
from import_platform.io.memory import MemoryWatch, release_unused, tame_allocators
from import_platform.pipeline.relayout import Relayouted

Report = TypeVar("Report", bound=SyncReport)


def measured(table_id: str, budget: MemoryBudget, work: Callable[[SyncReport, MemoryWatch], None]) -> SyncReport:
    """The report that `work` filled in; also the `report` attribute of an ImportPlatformError that it raises."""
    return measured_as(SyncReport(table=table_id), budget, work)


def measured_as(report: Report, budget: MemoryBudget, work: Callable[[Report, MemoryWatch], None]) -> Report:
    """The same with a report of another kind."""
    started = time.monotonic()
    tame_allocators()
    with MemoryWatch(budget.total_bytes) as watch:
        try:
            work(report, watch)
        except ImportPlatformError as error:
            report.status, report.error = Status.FAILED, str(error)
            error.report = report
            raise
        finally:
            report.seconds = round(time.monotonic() - started, 3)
            report.peak_memory_bytes = watch.peak_bytes
            release_unused()
    report.peak_memory_bytes = watch.peak_bytes
    return report


def count(done: Relayouted, report: SyncReport) -> None:
    """Adds a rewrite to the report, where rows and bytes read are those rewritten."""
    report.rows_read += done.rows
    report.bytes_read += done.bytes_read
    report.bytes_written += done.bytes_written
    report.files_added += done.files_added
    report.files_removed += done.files_removed
    report.partitions_touched += len(done.leaves)

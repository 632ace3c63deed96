"""What every sync verifies from the Delta log and its own report; no data file is read.

The results ride on the sync's own step: a step of their own would cost each table more than the checks themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from import_platform.core.report import SyncReport
from import_platform.pipeline.inspect import TableStatus

HAS_ROWS = "has_rows"
NOTHING_REJECTED = "nothing_rejected"
PARTITIONS_FIT = "partitions_fit"


@dataclass(frozen=True)
class Verdict:
    """One check's answer. A failed one is a warning: none of these means that the lake is wrong."""

    name: str
    passed: bool
    sentence: str
    metadata: Mapping[str, Any]


def specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(HAS_ROWS, asset=key, description="The table exists in the lake and holds rows."),
        dg.AssetCheckSpec(
            NOTHING_REJECTED, asset=key, description="Every row read by the last sync fitted its columns."
        ),
        dg.AssetCheckSpec(PARTITIONS_FIT, asset=key, description="No partition outgrew IMPORT_PLATFORM_PARTITION_MAX."),
    ]


def verdicts(report: SyncReport, status: TableStatus | None, *, partition_max_bytes: int) -> list[Verdict]:
    """One verdict per spec, in their order."""
    rows = 0 if status is None else status.rows
    leaves = {} if status is None else status.leaves
    largest = max(leaves, key=lambda leaf: leaves[leaf].bytes, default="")
    largest_bytes = leaves[largest].bytes if largest else 0
    return [
        Verdict(HAS_ROWS, rows > 0, f"{rows:,} rows" if rows else "the table is empty", {"rows": rows}),
        Verdict(
            NOTHING_REJECTED,
            report.rows_rejected == 0,
            f"{report.rows_rejected:,} rows rejected" if report.rows_rejected else "no row rejected",
            {"rows_rejected": report.rows_rejected},
        ),
        Verdict(
            PARTITIONS_FIT,
            largest_bytes <= partition_max_bytes,
            f"the largest partition is {largest}" if largest else "no partition yet",
            {"largest_bytes": largest_bytes, "partition_max_bytes": partition_max_bytes},
        ),
    ]


def as_result(verdict: Verdict, key: dg.AssetKey) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=verdict.passed,
        asset_key=key,
        check_name=verdict.name,
        severity=dg.AssetCheckSeverity.WARN,
        description=verdict.sentence,
        metadata=dict(verdict.metadata),
    )


def as_evaluation(verdict: Verdict, key: dg.AssetKey) -> dg.AssetCheckEvaluation:
    """The same, for a step that is no asset and so logs it as an event."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=verdict.name,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=verdict.sentence,
        metadata=dict(verdict.metadata),
    )

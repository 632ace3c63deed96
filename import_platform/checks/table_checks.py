"""What every sync verifies from the Delta log and its own report; no data file is read.

The results ride on the sync's own step: a step of their own would cost each table more than the checks themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from import_platform.core.repartition import FAILURES_MAX, RepartitionRecord
from import_platform.core.report import SyncReport
from import_platform.pipeline.inspect import TableStatus

KEEPS_ITS_ROWS = "keeps_its_rows"
NOTHING_REJECTED = "nothing_rejected"
PARTITIONS_FIT = "partitions_fit"
LOST_SHARE_MAX = 0.5
"""A sync that takes more than half of a table away is legal, and far more often somebody's accident at the source."""


@dataclass(frozen=True)
class Verdict:
    """One check's answer. A failed one is a warning, because none of these means that the lake is wrong; an error where
    nothing will happen until a person acts (`needs_a_person`)."""

    name: str
    passed: bool
    sentence: str
    metadata: Mapping[str, Any]
    needs_a_person: bool = False

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        return dg.AssetCheckSeverity.ERROR if self.needs_a_person else dg.AssetCheckSeverity.WARN


def specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    texts = {
        KEEPS_ITS_ROWS: "The last sync left at least half of the rows that were there.",
        NOTHING_REJECTED: "Every row that the last sync read fitted its columns.",
        PARTITIONS_FIT: "No partition that could be split outgrew its limit.",
    }
    return [dg.AssetCheckSpec(name, asset=key, description=text) for name, text in texts.items()]


def verdicts(
    report: SyncReport,
    before: TableStatus | None,
    after: TableStatus | None,
    *,
    partition_max_bytes: int,
    record: RepartitionRecord | None = None,
) -> list[Verdict]:
    """One verdict per spec, in their order. None stands for a table that the lake does not have, and for a table that
    was never repartitioned."""
    fit = _partitions_fit(after, partition_max_bytes, record or RepartitionRecord())
    return [_keeps_its_rows(before, after), _nothing_rejected(report), fit]


def _keeps_its_rows(before: TableStatus | None, after: TableStatus | None) -> Verdict:
    old, new = (0 if status is None else status.rows for status in (before, after))
    passed = new >= old * LOST_SHARE_MAX
    sentence = f"{new:,} rows" if passed else f"{new:,} of {old:,} rows are left"
    return Verdict(KEEPS_ITS_ROWS, passed, sentence, {"rows_before": old, "rows": new})


def _nothing_rejected(report: SyncReport) -> Verdict:
    count = report.rows_rejected
    sentence = f"{count:,} rows rejected" if count else "no row rejected"
    return Verdict(NOTHING_REJECTED, not count, sentence, {"rows_rejected": count})


def _partitions_fit(after: TableStatus | None, partition_max_bytes: int, record: RepartitionRecord) -> Verdict:
    """A partition of one key is as small as it can be, so it passes; one that was given up needs a person."""
    leaves = {} if after is None else after.leaves
    largest = max(leaves, key=lambda leaf: leaves[leaf].bytes, default=None)
    over = [leaf for leaf in leaves if leaves[leaf].bytes > partition_max_bytes]
    splittable = [leaf for leaf in over if leaf not in record.unsplittable]
    given_up = bool(splittable) and record.failures >= FAILURES_MAX
    sentence = f"the largest partition is {largest}" if largest else "no partition yet"
    if given_up:
        sentence += f"; {record.failures} repartitions failed, so run one by hand to see why"
    elif splittable:
        sentence += "; the sensor repartition_oversized has it split"
    elif over:
        sentence += ", of one key only, which cannot be split"
    sizes = {
        "largest_bytes": leaves[largest].bytes if largest else 0,
        "partition_max_bytes": partition_max_bytes,
        "repartition_failures": record.failures,
    }
    return Verdict(PARTITIONS_FIT, not splittable, sentence, sizes, needs_a_person=given_up)


def as_result(verdict: Verdict, key: dg.AssetKey) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=verdict.passed,
        asset_key=key,
        check_name=verdict.name,
        severity=verdict.severity,
        description=verdict.sentence,
        metadata=dict(verdict.metadata),
    )


def as_evaluation(verdict: Verdict, key: dg.AssetKey) -> dg.AssetCheckEvaluation:
    """The same, for a step that is no asset and so logs it as an event."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=verdict.name,
        passed=verdict.passed,
        severity=verdict.severity,
        description=verdict.sentence,
        metadata=dict(verdict.metadata),
    )

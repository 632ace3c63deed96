"""What every sync verifies: from the Delta log, from its own report, and from what `pipeline.table_checks` looked at.

The results ride on the sync's own step: a step of their own would cost each table more than the checks themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from import_platform.core.repartition import FAILURES_MAX, RepartitionRecord
from import_platform.core.report import SyncReport
from import_platform.core.table import CheckSettings, DeclaredTable
from import_platform.core.wording import counted
from import_platform.pipeline.inspect import TableStatus
from import_platform.pipeline.table_checks import KEY_IS_UNIQUE, ROWS_MATCH_SOURCE, Findings, Wanted

KEEPS_ITS_ROWS = "keeps_its_rows"
NOTHING_REJECTED = "nothing_rejected"
PARTITIONS_FIT = "partitions_fit"
COLUMNS_UNCHANGED = "columns_unchanged"
IS_FRESH = "is_fresh"

KEPT_SHARE_MIN = 0.5
"""A sync that takes more than half of a table away is legal, and far more often somebody's accident at the source."""

ROW_TOLERANCE = 0.01

BLOCKING = frozenset({KEY_IS_UNIQUE})
"""Where it fails as an error, the lake is wrong: the step fails and what hangs on the table is not run."""

DESCRIPTIONS: Mapping[str, str] = {
    KEY_IS_UNIQUE: "No two rows of the lake have the same primary key, and none has a null in it. Looks at the keys of "
    "files that changed since it last passed.",
    IS_FRESH: "The lake is as the source was within two pauses of the schedule.",
    ROWS_MATCH_SOURCE: "The lake has as many rows as the source counts, within the tolerance.",
    KEEPS_ITS_ROWS: "The last sync left at least half of the rows that were there.",
    PARTITIONS_FIT: "No partition that could be split outgrew its limit.",
    COLUMNS_UNCHANGED: "The source has the columns, with the types, that it had at the sync before.",
    NOTHING_REJECTED: "Every row that the last sync read fitted its columns.",
}
"""Every check, in the order of the asset's page: what is wrong with the lake first."""


@dataclass(frozen=True)
class Verdict:
    """One check's answer. A failed one is a warning; an error where the lake is wrong, or where nothing will happen
    until a person acts (`is_error`)."""

    name: str
    passed: bool
    sentence: str
    metadata: Mapping[str, Any]
    is_error: bool = False

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        return dg.AssetCheckSeverity.ERROR if self.is_error else dg.AssetCheckSeverity.WARN

    @property
    def blocks(self) -> bool:
        """True for a failure after which nothing may start off the table's back."""
        return not self.passed and self.is_error and self.name in BLOCKING


@dataclass(frozen=True)
class Checked:
    """One sync as its checks see it. A status is None for a table that the lake does not have."""

    report: SyncReport
    before: TableStatus | None
    after: TableStatus | None
    partition_max_bytes: int
    findings: Findings = field(default_factory=Findings)
    record: RepartitionRecord = field(default_factory=RepartitionRecord)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class TableChecks:
    """The checks of one table. `stale_after` None: nothing says when it should be fresh."""

    names: tuple[str, ...]
    settings: CheckSettings
    stale_after: timedelta | None

    @property
    def wanted(self) -> Wanted:
        return Wanted(frozenset(self.names), self.settings)

    def specs(self, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
        return [
            dg.AssetCheckSpec(name, asset=key, description=DESCRIPTIONS[name], blocking=name in BLOCKING)
            for name in self.names
        ]

    def verdicts(self, checked: Checked) -> list[Verdict]:
        """One per spec, in their order."""
        return [_VERDICTS[name](self, checked) for name in self.names]


def checks_of(
    declared: DeclaredTable, settings: CheckSettings, *, stale_after: timedelta | None, has_key: bool, counts: bool
) -> TableChecks:
    """The checks that can say something of this table, without those that are turned off.

    `has_key` False: the source is known to have no primary key for it; `counts` whether the source can count rows.
    """
    within = settings.fresh_within_seconds
    stale_after = timedelta(seconds=within) if within is not None else stale_after
    # Rows that the source marks as deleted are counted there and gone here.
    countable = counts and declared.deleted is None
    silent = {
        KEY_IS_UNIQUE: not has_key,
        IS_FRESH: stale_after is None,
        ROWS_MATCH_SOURCE: not countable,
    }
    off = settings.off or frozenset()
    names = tuple(name for name in DESCRIPTIONS if name not in off and not silent.get(name, False))
    return TableChecks(names, settings, stale_after)


def _key_is_unique(checks: TableChecks, checked: Checked) -> Verdict:
    keys = checked.findings.keys
    if keys is None:
        return Verdict(KEY_IS_UNIQUE, False, "could not be looked at; the run's log says why", {})
    faults = [f"{counted(keys.duplicates, 'key')} of several rows"] if keys.duplicates else []
    faults += [f"{counted(keys.nulls, 'row')} with a null in the key"] if keys.nulls else []
    sentence = (
        f"{' and '.join(faults)}, in {', '.join(keys.leaves)}" if faults else f"{counted(keys.rows, 'key')} looked at"
    )
    sentence += f"; {keys.rows_left:,} are left for the next sync" if keys.rows_left else ""
    sentence += "; `sync --full-refresh` reads the table anew" if keys.duplicates else ""
    sentence += "; give those rows a key at the source, or declare another primary_key" if keys.nulls else ""
    facts = {
        "duplicate_keys": keys.duplicates,
        "null_keys": keys.nulls,
        "rows_looked_at": keys.rows,
        "rows_left": keys.rows_left,
        "seconds": keys.seconds,
    }
    return Verdict(KEY_IS_UNIQUE, not faults, sentence, facts, is_error=bool(faults))


def _is_fresh(checks: TableChecks, checked: Checked) -> Verdict:
    assert checks.stale_after is not None, "no such check otherwise"
    found = checked.findings
    since = found.as_of or found.begun_at or checked.now
    age = max(checked.now - since, timedelta(0))
    passed = age <= checks.stale_after
    state = "as the source was" if found.as_of else "still being loaded for the first time, since"
    sentence = f"{state} {_span(age)} ago"
    sentence += "" if passed else f", more than {_span(checks.stale_after)}; see why the last syncs did not get through"
    facts = {"age_seconds": age.total_seconds(), "stale_after_seconds": checks.stale_after.total_seconds()}
    return Verdict(IS_FRESH, passed, sentence, facts)


def _rows_match_source(checks: TableChecks, checked: Checked) -> Verdict:
    found, allowed = checked.findings.counted, checks.settings.row_tolerance
    tolerance = ROW_TOLERANCE if allowed is None else allowed
    if found is None or found.source_rows is None:
        facts = {} if found is None else {"count_seconds": found.seconds}
        return Verdict(ROWS_MATCH_SOURCE, True, "the source did not count its rows in time", facts)
    off = found.lake_rows - found.source_rows
    # An append keeps what the source has deleted since.
    wrong = -off if checked.findings.appends else abs(off)
    passed = wrong <= tolerance * found.source_rows
    sentence = f"{found.lake_rows:,} rows, {found.source_rows:,} at the source, counted {found.at:%H:%M} UTC"
    if not passed:
        sentence += f"; {abs(off):,} {'too many' if off > 0 else 'are missing'}: `reconcile` says which"
    facts = {
        "lake_rows": found.lake_rows,
        "source_rows": found.source_rows,
        "row_difference": off,
        "row_tolerance": tolerance,
        "count_seconds": found.seconds,
    }
    return Verdict(ROWS_MATCH_SOURCE, passed, sentence, facts)


def _keeps_its_rows(checks: TableChecks, checked: Checked) -> Verdict:
    old, new = (0 if status is None else status.rows for status in (checked.before, checked.after))
    share = checks.settings.kept_share
    passed = new >= old * (KEPT_SHARE_MIN if share is None else share)
    sentence = counted(new, "row") if passed else f"{new:,} of {counted(old, 'row')} left"
    return Verdict(KEEPS_ITS_ROWS, passed, sentence, {"rows_before": old, "rows": new})


def _columns_unchanged(checks: TableChecks, checked: Checked) -> Verdict:
    drift = checked.findings.drift
    sentence = str(drift) if drift else "the columns are those of the sync before"
    facts = {"new": len(drift.new), "gone": len(drift.gone), "retyped": len(drift.retyped)}
    return Verdict(COLUMNS_UNCHANGED, not drift, sentence, facts)


def _nothing_rejected(checks: TableChecks, checked: Checked) -> Verdict:
    count = checked.report.rows_rejected
    sentence = f"{counted(count, 'row')} rejected; `rejected list` says why" if count else "no row rejected"
    return Verdict(NOTHING_REJECTED, not count, sentence, {"rows_rejected": count})


def _partitions_fit(checks: TableChecks, checked: Checked) -> Verdict:
    """A partition of one key is as small as it can be, so it passes; one that was given up needs a person."""
    leaves = {} if checked.after is None else checked.after.leaves
    largest = max(leaves, key=lambda leaf: leaves[leaf].bytes, default=None)
    over = [leaf for leaf in leaves if leaves[leaf].bytes > checked.partition_max_bytes]
    splittable = [leaf for leaf in over if leaf not in checked.record.unsplittable]
    given_up = bool(splittable) and checked.record.failures >= FAILURES_MAX
    sentence = f"the largest partition is {largest}" if largest else "no partition yet"
    if given_up:
        sentence += f"; {checked.record.failures} repartitions failed, so run one by hand to see why"
    elif splittable:
        sentence += "; the sensor repartition_oversized has it split"
    elif over:
        sentence += ", of one key only, which cannot be split"
    sizes = {
        "largest_bytes": leaves[largest].bytes if largest else 0,
        "partition_max_bytes": checked.partition_max_bytes,
        "repartition_failures": checked.record.failures,
    }
    return Verdict(PARTITIONS_FIT, not splittable, sentence, sizes, is_error=given_up)


_VERDICTS: Mapping[str, Callable[[TableChecks, Checked], Verdict]] = {
    KEY_IS_UNIQUE: _key_is_unique,
    IS_FRESH: _is_fresh,
    ROWS_MATCH_SOURCE: _rows_match_source,
    KEEPS_ITS_ROWS: _keeps_its_rows,
    PARTITIONS_FIT: _partitions_fit,
    COLUMNS_UNCHANGED: _columns_unchanged,
    NOTHING_REJECTED: _nothing_rejected,
}


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, word in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {word}"
    return f"{seconds} seconds"


def blocking_sentence(verdicts: Sequence[Verdict]) -> str | None:
    """Why nothing may start off the back of this sync; None where something may."""
    wrong = [f"{verdict.name}: {verdict.sentence}" for verdict in verdicts if verdict.blocks]
    return "; ".join(wrong) or None


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
        blocking=verdict.name in BLOCKING,
    )

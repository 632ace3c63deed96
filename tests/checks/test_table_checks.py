"""What each check says of what it is told; `test_planted_defects.py` plants each defect for real."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from import_platform.checks.table_checks import (
    BLOCKING,
    DESCRIPTIONS,
    Checked,
    TableChecks,
    as_evaluation,
    as_result,
    blocking_sentence,
    checks_of,
)
from import_platform.core.check_state import Counted
from import_platform.core.drift import Drift
from import_platform.core.repartition import FAILURES_MAX, RepartitionRecord
from import_platform.core.report import SyncReport
from import_platform.core.table import CheckSettings, DeclaredTable
from import_platform.pipeline.check_keys import KeyFindings
from import_platform.pipeline.inspect import LeafStatus
from import_platform.pipeline.table_checks import Findings

KEY = dg.AssetKey(["shop", "orders"])
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _status(rows, **leaves):
    return SimpleNamespace(rows=rows, leaves={name: LeafStatus(1, bytes_, 1) for name, bytes_ in leaves.items()})


def _checked(before=None, after=None, *, rows_rejected=0, record=None, **findings):
    report = SyncReport("shop/orders", rows_rejected=rows_rejected)
    return Checked(report, before, after, 100, Findings(**findings), record or RepartitionRecord(), NOW)


DEFAULTS = CheckSettings()
ANY_TABLE = DeclaredTable("t")


def _verdict(name, checked, *, settings=DEFAULTS):
    [verdict] = TableChecks((name,), settings, timedelta(hours=2)).verdicts(checked)
    return verdict


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        (None, _status(0), True),
        (None, _status(5), True),
        (_status(10), _status(5), True),
        (_status(10), _status(4), False),
        (_status(10), _status(0), False),
        (_status(10), None, False),
    ],
)
def test_losing_more_than_half_of_the_rows_is_told(before, after, passed):
    assert _verdict("keeps_its_rows", _checked(before, after)).passed is passed


def test_the_share_of_rows_to_be_left_can_be_set():
    checked = _checked(_status(10), _status(8))
    assert not _verdict("keeps_its_rows", checked, settings=CheckSettings(kept_share=0.9)).passed
    assert _verdict("keeps_its_rows", checked).passed


@pytest.mark.parametrize(("count", "passed"), [(0, True), (1, False)])
def test_a_rejected_row_is_told(count, passed):
    assert _verdict("nothing_rejected", _checked(rows_rejected=count)).passed is passed


@pytest.mark.parametrize(("leaves", "passed"), [({}, True), ({"a": 100, "b": 3}, True), ({"a": 1, "b": 101}, False)])
def test_a_partition_over_the_limit_is_told(leaves, passed):
    assert _verdict("partitions_fit", _checked(None, _status(1, **leaves))).passed is passed


@pytest.mark.parametrize(
    ("record", "passed", "severity", "sentence"),
    [
        (None, False, "WARN", "has it split"),
        (RepartitionRecord(failures=FAILURES_MAX - 1), False, "WARN", "has it split"),
        (RepartitionRecord(failures=FAILURES_MAX), False, "ERROR", "5 repartitions failed"),
        (RepartitionRecord(unsplittable={"b": 90}), True, "WARN", "of one key only"),
        (RepartitionRecord(unsplittable={"b": 90}, failures=FAILURES_MAX), True, "WARN", "of one key only"),
    ],
)
def test_a_partition_that_nobody_will_split_any_more_is_an_error(record, passed, severity, sentence):
    fit = _verdict("partitions_fit", _checked(None, _status(1, a=1, b=101), record=record))
    assert (fit.passed, as_result(fit, KEY).severity.name, as_evaluation(fit, KEY).severity.name) == (
        passed, severity, severity,
    )  # fmt: skip
    assert sentence in fit.sentence
    assert not fit.blocks, "an oversized partition holds nobody up"


@pytest.mark.parametrize(
    ("keys", "passed", "words"),
    [
        (KeyFindings(rows=10), True, "10 keys looked at"),
        (KeyFindings(rows=10, rows_left=5), True, "5 are left for the next sync"),
        (KeyFindings(duplicates=2, rows=10, leaves=("2025-01",)), False, "2 keys of several rows, in 2025-01"),
        (
            KeyFindings(nulls=3, rows=10, leaves=("2025-01",)),
            False,
            "3 rows with a null in the key, in 2025-01; give those",
        ),
    ],
)
def test_a_key_that_does_not_hold_is_a_blocking_error(keys, passed, words):
    verdict = _verdict("key_is_unique", _checked(keys=keys))
    assert (verdict.passed, verdict.blocks, verdict.is_error) == (passed, not passed, not passed)
    assert words in verdict.sentence
    assert (blocking_sentence([verdict]) is None) is passed
    assert as_evaluation(verdict, KEY).blocking


def test_keys_that_could_not_be_looked_at_are_a_warning_that_blocks_nothing():
    verdict = _verdict("key_is_unique", _checked(keys=None))
    assert (verdict.passed, verdict.blocks, verdict.severity) == (False, False, dg.AssetCheckSeverity.WARN)


@pytest.mark.parametrize(
    ("findings", "passed"),
    [
        ({"as_of": NOW - timedelta(hours=2)}, True),
        ({"as_of": NOW - timedelta(hours=2, seconds=1)}, False),
        ({"as_of": None, "begun_at": NOW - timedelta(hours=1)}, True),
        ({"as_of": None, "begun_at": NOW - timedelta(hours=3)}, False),
    ],
)
def test_data_older_than_two_pauses_is_told(findings, passed):
    verdict = _verdict("is_fresh", _checked(**findings))
    assert verdict.passed is passed
    assert ("why the last syncs did not get through" in verdict.sentence) is not passed


@pytest.mark.parametrize(
    ("lake", "source", "settings", "appends", "passed"),
    [
        (1000, 1000, CheckSettings(), False, True),
        (1010, 1000, CheckSettings(), False, True),
        (1011, 1000, CheckSettings(), False, False),
        (989, 1000, CheckSettings(), False, False),
        (990, 1000, CheckSettings(row_tolerance=0.0), False, False),
        (900, 1000, CheckSettings(row_tolerance=0.1), False, True),
        (1, 0, CheckSettings(), False, False),
        (0, 0, CheckSettings(), False, True),
        (2000, 1000, CheckSettings(), True, True),
        (900, 1000, CheckSettings(), True, False),
        (900, None, CheckSettings(), False, True),
    ],
)
def test_rows_that_differ_from_those_at_the_source_are_told(lake, source, settings, appends, passed):
    counted = Counted(NOW, 0.1, source, lake)
    verdict = _verdict("rows_match_source", _checked(counted=counted, appends=appends), settings=settings)
    assert (verdict.passed, verdict.severity) == (passed, dg.AssetCheckSeverity.WARN)


def test_changed_columns_are_named():
    drift = Drift(new=("x int64",), gone=("y",), retyped=("z int32 to int64",))
    verdict = _verdict("columns_unchanged", _checked(drift=drift))
    assert not verdict.passed
    assert verdict.sentence == "new: x int64; gone: y; changed: z int32 to int64"


def test_every_check_is_on_unless_it_is_turned_off_or_could_say_nothing():
    def names(declared=ANY_TABLE, settings=DEFAULTS, **told):
        told = {"stale_after": timedelta(hours=1), "has_key": True, "counts": True} | told
        return set(checks_of(declared, settings, **told).names)

    every = set(DESCRIPTIONS)
    assert names() == every
    assert names(settings=CheckSettings(off=frozenset({"is_fresh"}))) == every - {"is_fresh"}
    assert names(stale_after=None) == every - {"is_fresh"}
    assert names(stale_after=None, settings=CheckSettings(fresh_within_seconds=60)) == every
    assert names(has_key=False) == every - {"key_is_unique"}
    assert names(counts=False) == names(DeclaredTable("t", deleted="gone")) == every - {"rows_match_source"}


def test_every_spec_has_its_verdict_and_only_a_broken_key_blocks():
    checks = checks_of(DeclaredTable("t"), CheckSettings(), stale_after=timedelta(1), has_key=True, counts=True)
    specs = {spec.name: spec for spec in checks.specs(KEY)}
    assert list(specs) == [verdict.name for verdict in checks.verdicts(_checked())]
    assert {name for name, spec in specs.items() if spec.blocking} == BLOCKING == {"key_is_unique"}

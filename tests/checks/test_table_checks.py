from __future__ import annotations

from types import SimpleNamespace

import dagster as dg
import pytest

from import_platform.checks.table_checks import as_evaluation, as_result, specs, verdicts
from import_platform.core.repartition import FAILURES_MAX, RepartitionRecord
from import_platform.core.report import SyncReport
from import_platform.pipeline.inspect import LeafStatus

KEY = dg.AssetKey(["shop", "orders"])


def _status(rows, **leaves):
    return SimpleNamespace(rows=rows, leaves={name: LeafStatus(1, bytes_, 1) for name, bytes_ in leaves.items()})


def _passed(before, after, rows_rejected=0):
    report = SyncReport("shop/orders", rows_rejected=rows_rejected)
    return {v.name: v.passed for v in verdicts(report, before, after, partition_max_bytes=100)}


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
    assert _passed(before, after)["keeps_its_rows"] is passed


@pytest.mark.parametrize(("count", "passed"), [(0, True), (1, False)])
def test_a_rejected_row_is_told(count, passed):
    assert _passed(None, _status(1), count)["nothing_rejected"] is passed


@pytest.mark.parametrize(("leaves", "passed"), [({}, True), ({"a": 100, "b": 3}, True), ({"a": 1, "b": 101}, False)])
def test_a_partition_over_the_limit_is_told(leaves, passed):
    assert _passed(None, _status(1, **leaves))["partitions_fit"] is passed


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
    report, after = SyncReport("shop/orders"), _status(1, a=1, b=101)
    *_, fit = verdicts(report, None, after, partition_max_bytes=100, record=record)
    assert (fit.passed, as_result(fit, KEY).severity.name, as_evaluation(fit, KEY).severity.name) == (
        passed, severity, severity,
    )  # fmt: skip
    assert sentence in fit.sentence


def test_every_spec_has_its_verdict_and_a_failed_one_is_a_warning():
    found = verdicts(SyncReport("shop/orders", rows_rejected=3), None, None, partition_max_bytes=1)
    assert [spec.name for spec in specs(KEY)] == [verdict.name for verdict in found]
    assert {as_result(v, KEY).severity for v in found} == {dg.AssetCheckSeverity.WARN}
    assert (
        [as_evaluation(v, KEY).passed for v in found]
        == [as_result(v, KEY).passed for v in found]
        == [True, False, True]
    )

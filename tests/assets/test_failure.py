"""Errors at Dagster's edge: retried when that can help, one sentence otherwise, never a driver's words."""

from __future__ import annotations

import dagster as dg
import pytest

from import_platform import errors
from import_platform.assets.failure import OUTAGE_PAUSES_SECONDS, RACE_PAUSES_SECONDS, for_unexpected, retry_or_failure
from import_platform.core.report import SyncReport

REPORT = SyncReport("shop/orders", rows_read=7)


def _answer(error, *, retries=0, patient=True):
    return retry_or_failure(error, REPORT, retries=retries, patient=patient)


@pytest.mark.parametrize("kind", [errors.SourceUnavailable, errors.StoreUnavailable, errors.TableBusy])
def test_an_outage_is_waited_for_with_growing_pauses(kind):
    asked = [_answer(kind("it went away"), retries=n) for n in range(4)]
    assert [a.seconds_to_wait for a in asked[:3]] == list(OUTAGE_PAUSES_SECONDS)
    assert isinstance(asked[3], dg.Failure)


@pytest.mark.parametrize("kind", [errors.SourceUnavailable, errors.StoreUnavailable, errors.MemoryBudgetExceeded])
def test_a_person_at_a_terminal_is_told_of_an_outage_at_once(kind):
    assert isinstance(_answer(kind("it went away"), patient=False), dg.Failure)


@pytest.mark.parametrize("kind", [errors.CommitConflict, errors.CommitOutcomeUnknown, errors.Overtaken])
@pytest.mark.parametrize("patient", [True, False])
def test_a_lost_race_is_tried_again_for_everybody(kind, patient):
    assert _answer(kind("lost"), patient=patient).seconds_to_wait == RACE_PAUSES_SECONDS[0]


def test_a_spent_budget_is_tried_once_more():
    assert isinstance(_answer(errors.MemoryBudgetExceeded("full"), retries=0), dg.RetryRequested)
    assert isinstance(_answer(errors.MemoryBudgetExceeded("full"), retries=1), dg.Failure)


@pytest.mark.parametrize("kind", [errors.ConfigError, errors.SourceRejected, errors.InvariantBroken])
def test_what_only_a_person_can_mend_fails_with_its_facts(kind):
    failure = _answer(kind("it is wrong", remedy="Mend it.", column="id", count=3))
    assert failure.description == "it is wrong (column 'id', count 3). Mend it."
    assert not failure.allow_retries
    assert failure.metadata["count"].value == 3
    assert failure.metadata["rows_read"].value == 7
    assert failure.metadata["error_class"].value == kind.__name__


def test_an_unexpected_error_shows_where_and_not_what():
    try:
        int("hunter2")
    except ValueError as error:
        failure = for_unexpected(error)
    assert failure.description.startswith("internal error: ValueError at test_failure.py:")
    assert "hunter2" not in f"{failure.description} {failure.metadata}"


def test_every_class_of_error_has_an_answer():
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ImportPlatformError)
    ]
    assert len(kinds) > 10
    assert all(isinstance(_answer(kind("x")), dg.Failure | dg.RetryRequested) for kind in kinds)

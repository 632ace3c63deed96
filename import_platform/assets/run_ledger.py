"""When the tables of a Dagster run go from their documents into the ledger: once, after the last of them."""

from __future__ import annotations

import threading
import time
from typing import Any

from import_platform.core.report import Observer
from import_platform.core.run_record import RunOrder
from import_platform.io.lake import Lake
from import_platform.pipeline.ledger import fold_ledger
from import_platform.resources.executors import is_one_process
from import_platform.resources.naming import BILLABLE_TAG

FOLD_EVERY_SECONDS = 60.0
"""A run of many tables shows its first ones while it works on the others."""

_lock = threading.Lock()
_done: dict[str, set[str]] = {}
_folded_at: dict[str, float] = {}


def order_of(run: Any) -> RunOrder:
    """What the run's tags say of who pays."""
    told = run.tags.get(BILLABLE_TAG)
    return RunOrder(None if told is None else told == "true", run.run_id)


def fold_after_last(context: Any, lake: Lake, observer: Observer, table: str) -> None:
    """Folds when this step was the last table of its run in this process, or when a minute has passed.

    A step in a process of its own folds for itself. What is left behind by a kill is folded by the next run.
    """
    run_id = context.run.run_id
    with _lock:
        done = _done.setdefault(run_id, set())
        done.add(table)
        last = not is_one_process(context) or len(done) >= _tables(context)
        if last:
            _done.pop(run_id)
        begun = _folded_at.setdefault(run_id, time.monotonic())
        due = last or time.monotonic() - begun > FOLD_EVERY_SECONDS
        if due:
            _folded_at[run_id] = time.monotonic()
        if last:
            _folded_at.pop(run_id)
    if due:
        fold_ledger(lake, observer)


def _tables(context: Any) -> int:
    """Of the run: those that its config names, or one for each of its steps."""
    named = context.run.run_config.get("tables")
    plan = context.get_step_execution_context().execution_plan
    return len(named) if isinstance(named, list) and named else len(plan.step_keys_to_execute)

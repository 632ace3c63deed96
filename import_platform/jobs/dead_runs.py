"""Runs whose process was killed: they stay STARTED and keep their tables' pools until somebody ends them.

Dagster's monitor needs a daemon and knows only runs that a launcher started; this works for the command line's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import dagster as dg

from import_platform.resources.naming import GONE, HOST_TAG
from import_platform.resources.process import is_gone, process_tags

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.5


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Ends the unfinished runs of this host whose process is gone, frees their pools, and returns their ids."""
    mine = {HOST_TAG: process_tags()[HOST_TAG]}
    statuses = [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=statuses, tags=mine)):
        if is_gone(run.tags):
            instance.report_run_failed(
                run,
                f"{GONE} (killed, or out of memory). "
                "What it had checkpointed is kept; the next sync goes on from there.",
            )
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def wait_for_pools(
    instance: dg.DagsterInstance, pools: Iterable[str], *, stop: Callable[[], bool], wait_seconds: float = WAIT_SECONDS
) -> dict[str, str]:
    """Waits until no run holds any of the pools, at most `wait_seconds`; pools still held, with the run that
    holds each.
    """
    deadline = time.monotonic() + wait_seconds
    wanted = list(pools)
    while True:
        held = _held(instance, wanted)
        if not held or stop() or time.monotonic() >= deadline:
            return held
        time.sleep(_POLL_SECONDS)
        end_dead_runs(instance)


def _held(instance: dg.DagsterInstance, pools: list[str]) -> dict[str, str]:
    """Pools held by unfinished runs. A slot whose run has ended or vanished is freed on the way."""
    held: dict[str, str] = {}
    for pool, info in instance.event_log_storage.get_concurrency_infos(pools).items():
        for run_id in sorted(info.active_run_ids):
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                held[pool] = run_id
            else:
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return held

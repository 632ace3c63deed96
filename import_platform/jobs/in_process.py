"""Runs in this process but through Dagster, so that the UI shows run and log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import dagster as dg

from import_platform.core.report import Status, SyncReport
from import_platform.jobs.dead_runs import end_dead_runs
from import_platform.resources.home import open_instance
from import_platform.resources.naming import REPOSITORY_TAGS
from import_platform.resources.process import process_tags
from import_platform.resources.project import read_settings
from import_platform.resources.session import Session, session

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The terminal shows progress and reports; Dagster's own lines are kept in the run's log."""
Report = TypeVar("Report", bound=SyncReport)


@contextmanager
def history() -> Iterator[dg.DagsterInstance]:
    """Dagster's history of this project, without runs whose process is gone: they would hold their pools for ever."""
    instance = open_instance(read_settings().home, keep_output=False)
    try:
        end_dead_runs(instance)
        yield instance
    finally:
        instance.dispose()


def came_through(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    state: Session,
    *,
    assets: Sequence[dg.AssetKey] | None = None,
    run_config: Mapping[str, Any] | None = None,
) -> bool:
    """Whether the run succeeded; what its steps did stands in the session. `assets` None means all of the
    job, `run_config` None QUIET."""
    try:
        with session(state):
            return job.execute_in_process(
                instance=instance,
                asset_selection=list(assets) if assets is not None else None,
                run_config=QUIET if run_config is None else run_config,
                tags={**process_tags(), **REPOSITORY_TAGS},
                raise_on_error=False,
            ).success
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        state.interrupted = True
        return False


def failed_behind(report: Report, done: str) -> Report:
    """Of a run that failed behind its last step's work, which says nothing of that. `done` is what had been done."""
    if report.status is Status.FAILED:
        return report
    return replace(report, status=Status.FAILED, error=f"{done}, but the run failed behind it; see its log")

"""A declared grouping started from this process but run through Dagster, so that the UI shows run and log."""

from __future__ import annotations

import dagster as dg

from import_platform.core.grouping import GroupReport
from import_platform.core.report import Observer, Silent, Status
from import_platform.errors import Interrupted
from import_platform.jobs.in_process import came_through, failed_behind, history
from import_platform.resources.session import Session


def launch_group(
    name: str, definitions: dg.Definitions, key: dg.AssetKey, observer: Observer | None = None
) -> GroupReport:
    """Groups what changed; the report of a failed run says why.

    Raises:
        Interrupted: stopped; the set before still counts, and spans that are done stay done.
    """
    state = Session(observer or Silent(), patient=False)
    with history() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        succeeded = came_through(job, instance, state, assets=[key])
    if state.interrupted:
        raise Interrupted("stopped; the groups are as they were", remedy="Group again; it goes on from there.")
    told = state.reports.get(name)
    if not isinstance(told, GroupReport):
        error = told.error if told is not None else None
        return GroupReport(name, status=Status.FAILED, error=error or "the run ended before its turn; see its log")
    return told if succeeded else failed_behind(told, "grouped")

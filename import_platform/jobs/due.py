"""Which tables a schedule's tick selects: due by their cron, and held by no other run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dagster as dg
from dagster._utils.schedules import schedule_execution_time_iterator

from import_platform.core.table import DeclaredTable
from import_platform.resources.naming import asset_key, in_parts_job, maintain_job, sync_now_job
from import_platform.resources.platform import SourceConfig

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

SPARE_TIME = timedelta(hours=1)
"""One slow or skipped tick is no alarm."""


@dataclass(frozen=True)
class Tick:
    """A tick's choice; `skip_reason` is set exactly when `tables` is empty."""

    tables: tuple[str, ...]
    skip_reason: str | None


def cron_of(config: SourceConfig, table: DeclaredTable) -> str | None:
    return table.schedule or config.schedule


def fires(cron: str, at: datetime) -> bool:
    """True if the cron (UTC) has a tick in exactly this minute."""
    minute = at.astimezone(UTC).replace(second=0, microsecond=0)
    return next(schedule_execution_time_iterator(minute.timestamp(), cron, "UTC")) == minute


def interval(cron: str, at: datetime) -> timedelta:
    """The longest pause between ticks among the next ten, so that `0 8 * * 1-5` counts its weekend."""
    ticks = schedule_execution_time_iterator(at.timestamp(), cron, "UTC")
    times = [next(ticks) for _ in range(10)]
    return max(later - earlier for earlier, later in pairwise(times))


def stale_after(cron: str, at: datetime) -> timedelta:
    """How old a table's last sync may be: two of its schedule's longest pauses and an hour."""
    return 2 * interval(cron, at) + SPARE_TIME


def choose_tables(due: Iterable[str], held: Mapping[str, str]) -> Tick:
    """The due tables that no run holds. `held` maps a table to the run that holds it."""
    wanted = tuple(due)
    idle = tuple(table for table in wanted if table not in held)
    if not wanted:
        return Tick((), "no table is due at this tick")
    if not idle:
        runs = sorted({held[table][:8] for table in wanted})
        return Tick((), f"every due table is still being worked on by run {', '.join(runs)}")
    return Tick(idle, None)


def held_tables(instance: dg.DagsterInstance, source: str, tables: Collection[str]) -> dict[str, str]:
    """Tables of the source that a queued or running run is about, with the run's id."""
    keys = {asset_key(source, table): table for table in tables}
    in_parts = {in_parts_job(source, table): table for table in tables}
    held: dict[str, str] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=ACTIVE)):
        if run.job_name in (sync_now_job(source), maintain_job(source)):
            named = run.run_config.get("tables")
            chosen = named if isinstance(named, list) and named else tables
            held |= {table: run.run_id for table in chosen if table in tables}
        elif run.job_name in in_parts:
            held[in_parts[run.job_name]] = run.run_id
        else:
            held |= {keys[key]: run.run_id for key in run.asset_selection or () if key in keys}
    return held

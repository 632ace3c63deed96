"""What Dagster knows of many tables at once: when each was last brought up to date, and when it will be again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._utils.schedules import schedule_execution_time_iterator

from import_platform.core.report import Status
from import_platform.jobs.due import held_tables, stale_after
from import_platform.jobs.last_sync import last_sync
from import_platform.resources.naming import asset_key, sync_job

Table = tuple[str, str]

DAEMON_SECONDS = 300.0
"""A daemon that did not say that it lives for so long has ended; it says so every half minute."""


@dataclass(frozen=True)
class Outlook:
    """Of one table. `synced_at` is the end of the last sync that left nothing to do; None where there was none;
    it set rows apart where `with_rejects`.

    `next_sync_at` is None without a schedule, or with one that a person switched off; so is `is_stale` without one.
    """

    synced_at: datetime | None = None
    next_sync_at: datetime | None = None
    is_stale: bool | None = None
    is_running: bool = False
    with_rejects: bool = False


def outlooks(instance: dg.DagsterInstance, crons: Mapping[Table, str | None], *, now: datetime) -> dict[Table, Outlook]:
    """One per table of `crons`, which has each table's cron in UTC. Queries: a few per source, none per table but for
    those whose last event was of a partition."""
    synced = _synced(instance, crons)
    running = _running(instance, crons)
    stopped = _stopped_schedules(instance)
    ticks = {cron: (next_tick(cron, now), stale_after(cron, now)) for cron in _distinct(crons.values())}
    found = {}
    for table, cron in crons.items():
        at, status = synced.get(table, (None, None))
        rejects = status is Status.DONE_WITH_REJECTS
        if cron is None or cron not in ticks:
            found[table] = Outlook(at, is_running=table in running, with_rejects=rejects)
            continue
        tick, patience = ticks[cron]
        is_off = sync_job(table[0]) in stopped
        stale = at is not None and now - at > patience
        found[table] = Outlook(at, None if is_off else tick, stale, table in running, rejects)
    return found


def next_tick(cron: str, now: datetime) -> datetime:
    """The first time after `now` at which the cron (UTC) fires."""
    ticks = schedule_execution_time_iterator(now.timestamp(), cron, "UTC")
    return next(tick for tick in ticks if tick > now).astimezone(UTC)


def scheduler_lives(instance: dg.DagsterInstance, *, now: datetime) -> bool:
    """True where a daemon said lately that it starts what is scheduled."""
    heartbeat = instance.get_daemon_heartbeats().get("SCHEDULER")
    return heartbeat is not None and now.timestamp() - heartbeat.timestamp < DAEMON_SECONDS


def _distinct(crons: Iterable[str | None]) -> set[str]:
    return {cron for cron in crons if cron is not None and _is_cron(cron)}


def _is_cron(cron: str) -> bool:
    try:
        next(schedule_execution_time_iterator(0.0, cron, "UTC"))
    except Exception:  # noqa: BLE001  whatever Dagster dislikes of it; `check` says what
        return False
    return True


def _synced(instance: dg.DagsterInstance, tables: Collection[Table]) -> dict[Table, tuple[datetime, Status]]:
    keys = {asset_key(*table): table for table in tables}
    records = instance.get_asset_records(list(keys))
    synced = {keys[record.asset_entry.asset_key]: last_sync(instance, record) for record in records}
    return {table: found for table, found in synced.items() if found is not None}


def _running(instance: dg.DagsterInstance, tables: Collection[Table]) -> set[Table]:
    by_source: dict[str, list[str]] = {}
    for source, table in tables:
        by_source.setdefault(source, []).append(table)
    return {(source, table) for source, names in by_source.items() for table in held_tables(instance, source, names)}


def _stopped_schedules(instance: dg.DagsterInstance) -> set[str]:
    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    return {state.instigator_name for state in states if state.status is InstigatorStatus.STOPPED}

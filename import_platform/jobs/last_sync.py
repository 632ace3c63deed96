"""When a table was last synced, as Dagster's events tell it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from import_platform.core.report import UP_TO_DATE, Status

LOOK_BACK = 50
"""Materializations looked at where the newest is that of a partition; a sync writes at most so many of them."""

UNDER_WAY = UP_TO_DATE | {Status.CHECKPOINTED}
"""One that ended at its time limit goes on by itself: such a table is long, not late."""


def last_sync_at(
    instance: dg.DagsterInstance,
    record: dg.AssetRecord,
    *,
    ended: frozenset[Status] = UP_TO_DATE,
    since: datetime | None = None,
) -> datetime | None:
    """When the last sync that ended as one of `ended` did so; None where none is found among the last LOOK_BACK events.

    With `since`, an event of any kind before it is answer enough, and saves the query for the events behind it.
    """
    newest = record.asset_entry.last_materialization
    if newest is None:
        return None
    at = datetime.fromtimestamp(newest.timestamp, UTC)
    if since is not None and at < since:
        return at
    return next((_time(event) for event in _newest_first(instance, record, newest) if _is_sync(event, ended)), None)


def last_sync(instance: dg.DagsterInstance, record: dg.AssetRecord) -> tuple[datetime, Status] | None:
    """When the last sync that left nothing to do ended, and how."""
    newest = record.asset_entry.last_materialization
    events = _newest_first(instance, record, newest) if newest is not None else iter(())
    found = next((event for event in events if _is_sync(event, UP_TO_DATE)), None)
    if found is None or found.asset_materialization is None:
        return None
    return _time(found), Status(str(found.asset_materialization.metadata["status"].value))


def _newest_first(
    instance: dg.DagsterInstance, record: dg.AssetRecord, newest: dg.EventLogEntry
) -> Iterator[dg.EventLogEntry]:
    yield newest
    for found in instance.fetch_materializations(record.asset_entry.asset_key, limit=LOOK_BACK).records:
        yield found.event_log_entry


def _is_sync(event: dg.EventLogEntry, ended: frozenset[Status]) -> bool:
    made = event.asset_materialization
    status = made.metadata.get("status") if made is not None else None
    return made is not None and made.partition is None and status is not None and str(status.value) in ended


def _time(event: dg.EventLogEntry) -> datetime:
    return datetime.fromtimestamp(event.timestamp, UTC)

"""Which tables are behind their schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from import_platform.core.report import Status
from import_platform.jobs.due import interval
from import_platform.resources.naming import asset_key, table_id

SPARE_TIME = timedelta(hours=1)
LOOK_BACK = 50
"""Events looked at where the newest are of partitions; a sync writes at most so many of them."""
_CURRENT = {str(Status.DONE), str(Status.UNCHANGED), str(Status.CHECKPOINTED)}
"""A sync that ended at its time limit goes on by itself: such a table is long, not stale."""


def stale_tables(instance: dg.DagsterInstance, crons: Mapping[tuple[str, str], str], *, now: datetime) -> set[str]:
    """Ids of the tables whose last sync lies further back than two of their schedule's longest pauses and an hour.

    A table that was never synced is not stale: its first sync fails or comes, and both are told elsewhere.
    """
    keys = {asset_key(*table): table for table in crons}
    patience = {cron: 2 * interval(cron, now) + SPARE_TIME for cron in set(crons.values())}
    found = set()
    for record in instance.get_asset_records(list(keys)):
        table = keys[record.asset_entry.asset_key]
        oldest_allowed = now - patience[crons[table]]
        at = _synced_at(instance, record, since=oldest_allowed)
        if at is not None and at < oldest_allowed:
            found.add(table_id(*table))
    return found


def _synced_at(instance: dg.DagsterInstance, record: dg.AssetRecord, *, since: datetime) -> datetime | None:
    """When the last sync ended, or, as far as that is enough to know, something before `since`."""
    last = record.asset_entry.last_materialization
    if last is None:
        return None
    at = datetime.fromtimestamp(last.timestamp, UTC)
    if at < since or _is_sync(last):
        return at
    events = instance.fetch_materializations(record.asset_entry.asset_key, limit=LOOK_BACK).records
    times = [datetime.fromtimestamp(e.timestamp, UTC) for e in events if _is_sync(e.event_log_entry)]
    return max(times, default=None)


def _is_sync(event: dg.EventLogEntry) -> bool:
    made = event.asset_materialization
    status = made.metadata.get("status") if made is not None else None
    return made is not None and made.partition is None and status is not None and str(status.value) in _CURRENT

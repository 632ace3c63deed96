"""Which tables are behind their schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from import_platform.jobs.due import stale_after
from import_platform.jobs.last_sync import UNDER_WAY, last_sync_at
from import_platform.resources.naming import asset_key, table_id


def stale_tables(instance: dg.DagsterInstance, crons: Mapping[tuple[str, str], str], *, now: datetime) -> set[str]:
    """Ids of the tables whose last sync lies further back than `stale_after` allows.

    A table that was never synced is not stale: its first sync fails or comes, and both are told elsewhere.
    """
    keys = {asset_key(*table): table for table in crons}
    patience = {cron: stale_after(cron, now) for cron in set(crons.values())}
    found = set()
    for record in instance.get_asset_records(list(keys)):
        table = keys[record.asset_entry.asset_key]
        oldest_allowed = now - patience[crons[table]]
        at = last_sync_at(instance, record, ended=UNDER_WAY, since=oldest_allowed)
        if at is not None and at < oldest_allowed:
            found.add(table_id(*table))
    return found

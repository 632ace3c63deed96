"""A table deleted whole, so that its next sync makes it anew: with another layout, key or types, if those are declared.

A mark stands beside the staging until the deletion is through. A killed one is finished by whoever comes next.
"""

from __future__ import annotations

from datetime import UTC, datetime

from import_platform.io.lake import Lake
from import_platform.io.releases import forget_feeds_of


def drop_table(lake: Lake, source: str, table: str) -> None:
    """Deletes the table's log, its files and all that is staged of it. The ledger and its incidents stay.

    The log goes first: from then on there is no table, and files are orphans. Nobody else may write the table at the
    time; the pool of its runs sees to that.
    """
    path, staging = lake.table_path(source, table), lake.staging_path(source, table)
    lake.store.put(_mark(lake, source, table), datetime.now(UTC).isoformat().encode())
    forget_feeds_of(lake.store, source, table)
    lake.store.remove_folder(f"{path}/_delta_log")
    lake.store.remove_folder(path)
    for folder in ("attempts", "state", "tombstones", "lease", "checks"):
        lake.store.remove_folder(f"{staging}/{folder}")
    lake.store.delete([_mark(lake, source, table)])


def finish_drop(lake: Lake, source: str, table: str) -> bool:
    """Goes on with a deletion that was killed; True where there was one."""
    if lake.store.size_bytes(_mark(lake, source, table)) is None:
        return False
    drop_table(lake, source, table)
    return True


def _mark(lake: Lake, source: str, table: str) -> str:
    return f"{lake.staging_path(source, table)}/dropping"

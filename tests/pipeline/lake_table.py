"""What tests of splits, merges back and compactions share: a table as the lake has it, and rivals that commit first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from import_platform.io.delta import Commit, Snapshot
from import_platform.pipeline.context import LakeTable, open_lake_table
from import_platform.pipeline.relayout import Relayouted
from import_platform.pipeline.split import plan_split, split_leaf
from tests.pipeline.synced_table import ROOMY, SyncedTable

JANUARY = datetime(2025, 1, 1, tzinfo=UTC)


def in_lake(table: SyncedTable) -> LakeTable:
    return open_lake_table(table.lake, "s", table.source.name)


def split(table: SyncedTable | LakeTable, leaf: str, limit_bytes: int = 1000, **options: Any) -> Relayouted:
    opened = in_lake(table) if isinstance(table, SyncedTable) else table
    plan = plan_split(opened, leaf, limit_bytes=limit_bytes)
    return split_leaf(opened, plan, **({"budget": ROOMY} | options))


def commits_after(opened: LakeTable, rivals: Iterable[Callable[[], Any]]) -> LakeTable:
    """The table, whose next commits each come after one of the rivals."""
    log, waiting = opened.log, iter(rivals)
    commit = log.commit

    def late(base: Snapshot, what: Commit) -> None:
        rival = next(waiting, None)
        if rival is not None:
            rival()
        commit(base, what)

    log.commit = late  # type: ignore[method-assign]
    return opened


def files_on_disk(table: SyncedTable) -> set[str]:
    """Of the table's folder in its lake, wherever that is."""
    root = table.lake.table_path("s", table.source.name)
    paths = (entry.path.removeprefix(f"{root}/") for entry in table.lake.store.entries(root))
    return {path for path in paths if path.endswith(".parquet") and not path.startswith("_delta_log/")}


def files_in_log(table: SyncedTable) -> set[str]:
    snapshot = table.log.snapshot()
    return set() if snapshot is None else set(snapshot.files["path"].to_list())


def version_rows(table: SyncedTable, version: int) -> pl.DataFrame:
    frame = pl.read_delta(table.uri, version=version, storage_options=table.lake.store.storage_options).drop(
        "_partition"
    )
    return frame.sort(frame.columns, nulls_last=False)


def timed(instants: list[datetime | None], **columns: pa.Array) -> pa.Table:
    """Rows `id`, `created`, `updated` with the given instants of creation, and further columns."""
    count = len(instants)
    return pa.table({
        "id": pa.array(range(count), pa.int64()),
        "created": pa.array(instants, pa.timestamp("us", "UTC")),
        "updated": pa.array([JANUARY + timedelta(seconds=i) for i in range(count)], pa.timestamp("us", "UTC")),
        **columns,
    })  # fmt: skip

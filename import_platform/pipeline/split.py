"""Splitting a leaf that outgrew its limit, and coarsening leaves that are far under it, in place from the lake."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl
import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.core.layout import covers, validate
from import_platform.core.split import SplitPlan, begin_split
from import_platform.errors import ConfigError
from import_platform.io.delta import Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.pipeline.context import LakeTable
from import_platform.pipeline.counting import assigned, count_files, grown
from import_platform.pipeline.relayout import Gathered, Relayout, Relayouted, Scattered
from import_platform.pipeline.scatter import OnRows, ignore_rows

COUNT_BATCH_BYTES = 4 << 20


def plan_split(table: LakeTable, leaf: str, *, limit_bytes: int) -> SplitPlan:
    """Decides the split of a leaf by counting its rows per child, reading only the columns that place a row.

    Raises:
        ConfigError: the table has no such leaf.
    """
    snapshot = table.snapshot
    files = _files_of(snapshot, [leaf])
    if snapshot is None or files.is_empty():
        raise ConfigError(
            "the table has no such leaf",
            table=table.id,
            leaf=leaf,
            remedy="See its leaves with: import-platform status",
        )
    paths, others = files["path"].to_list(), snapshot.leaves - {leaf}

    def count(targets: Sequence[str], interior: Collection[str]) -> Mapping[str, int]:
        return count_files(table, snapshot.schema, paths, others | set(targets), interior)

    plan = begin_split(leaf, rows=int(files["rows"].sum()), size_bytes=int(files["size_bytes"].sum()))
    return grown(plan, table.identity, snapshot.schema, count, limit_bytes=limit_bytes)


def split_leaf(
    table: LakeTable,
    plan: SplitPlan,
    *,
    budget: MemoryBudget,
    watch: MemoryWatch | None = None,
    on_rows: OnRows = ignore_rows,
) -> Relayouted:
    """Carries out a split in one commit. An unsplittable plan changes nothing. Memory: see Relayout.

    Raises:
        CommitConflict: a busy table won every race (try later).
    """
    if plan.unsplittable or plan.targets == [plan.leaf]:
        return Relayouted()

    def place(batch: pa.RecordBatch, snapshot: Snapshot) -> pl.Series:
        others = snapshot.leaves - {plan.leaf}
        return assigned(table.identity, batch, others | set(plan.targets), plan.interior)

    def select(snapshot: Snapshot) -> Sequence[str]:
        return _files_of(snapshot, [plan.leaf])["path"].to_list()

    how = Scattered(place, plan.targets)
    return Relayout(table, select, how, kind="split", budget=budget, watch=watch, on_rows=on_rows).run()


def coarsen(
    table: LakeTable,
    parent: str,
    *,
    budget: MemoryBudget,
    watch: MemoryWatch | None = None,
    on_rows: OnRows = ignore_rows,
) -> Relayouted:
    """Merges every leaf that `parent` covers back into it, in one commit; rows come out in key order.

    Raises:
        ConfigError: the name is no node of this table's tree.
        CommitConflict: a busy table won every race (try later).
    """
    validate(parent, table.identity.partition)

    def select(snapshot: Snapshot) -> Sequence[str]:
        below = [leaf for leaf in snapshot.leaves if leaf != parent and covers(parent, leaf, table.identity.partition)]
        return _files_of(snapshot, below)["path"].to_list()

    how = Gathered(parent)
    return Relayout(table, select, how, kind="coarsen", budget=budget, watch=watch, on_rows=on_rows).run()


def _files_of(snapshot: Snapshot | None, leaves: Collection[str]) -> pl.DataFrame:
    if snapshot is None:
        return pl.DataFrame(schema={"path": pl.String, "rows": pl.Int64, "size_bytes": pl.Int64})
    return snapshot.files.filter(pl.col("leaf").is_in(list(leaves))).sort("modified_ms", "path")

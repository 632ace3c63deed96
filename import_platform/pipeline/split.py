"""Splitting a leaf that outgrew its limit, and coarsening leaves that are far under it, in place from the lake."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl
import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.core.identity import Identity
from import_platform.core.layout import assign, covers, validate
from import_platform.core.split import SplitPlan, begin_split, counted, opened, placing_columns
from import_platform.core.table import HashPartition
from import_platform.errors import ConfigError
from import_platform.io.delta import Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import conform, read_batches
from import_platform.pipeline.context import LakeTable
from import_platform.pipeline.leaves import placing_frame
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
    plan = begin_split(leaf, rows=int(files["rows"].sum()), size_bytes=int(files["size_bytes"].sum()))
    return grown(table, snapshot, files["path"].to_list(), plan, limit_bytes=limit_bytes)


def grown(
    table: LakeTable, snapshot: Snapshot, paths: Sequence[str], plan: SplitPlan, *, limit_bytes: int
) -> SplitPlan:
    """The plan with every open target taken apart until none is left that should and can be."""
    identity, dtype = table.identity, column_type(table.identity, snapshot)
    while plan.open:
        targets, interior = opened(plan, identity.partition, dtype)
        rows = count_rows(table, snapshot, paths, targets, interior)
        plan = counted(plan, rows, interior, identity.partition, dtype, limit_bytes=limit_bytes)
    return plan


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


def count_rows(
    table: LakeTable,
    snapshot: Snapshot,
    paths: Sequence[str],
    targets: Sequence[str] | None,
    interior: Collection[str],
) -> dict[str, int]:
    """Rows of the files per target; None counts every leaf that turns up.

    Rows of a keyless table may hash elsewhere since a column was added; those are not counted.
    """
    columns = placing_columns(table.identity.partition, table.identity.primary_key)
    schema = snapshot.schema if columns is None else pa.schema([snapshot.schema.field(name) for name in columns])
    leaves = (snapshot.leaves - set(interior)) | set(targets or ())
    counts = dict.fromkeys(targets or (), 0)
    for path in paths:
        for _, batch in read_batches(
            table.store, f"{table.path}/{path}", columns=columns, limit_bytes=COUNT_BATCH_BYTES
        ):
            placed = assigned(table.identity, conform(batch, schema), leaves, interior)
            for leaf, count in placed.value_counts().iter_rows():
                if targets is None or leaf in counts:
                    counts[leaf] = counts.get(leaf, 0) + count
    return counts


def assigned(
    identity: Identity, batch: pa.RecordBatch, leaves: Collection[str], interior: Collection[str]
) -> pl.Series:
    """The leaf of every row, from the columns that decide it."""
    frame = placing_frame(batch, identity)
    return assign(frame, identity.partition, primary_key=identity.primary_key, leaves=leaves, interior=interior)


def column_type(identity: Identity, snapshot: Snapshot) -> pa.DataType | None:
    """Of the partition column; None where there is none."""
    if isinstance(identity.partition, HashPartition):
        return None
    return snapshot.schema.field(identity.partition.column).type

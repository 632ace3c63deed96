"""Rows per leaf, counted from nothing but the columns that place them, and splits decided by such counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import polars as pl
import pyarrow as pa

from import_platform.core.identity import Identity
from import_platform.core.layout import assign
from import_platform.core.split import SplitPlan, counted, opened, placing_columns
from import_platform.core.table import HashPartition
from import_platform.io.parquet import conform, read_batches
from import_platform.pipeline.leaves import TableFiles, placing_frame

COUNT_BATCH_BYTES = 4 << 20

Count = Callable[[Sequence[str], Collection[str]], Mapping[str, int]]
"""Rows per leaf, given targets and the interior nodes above them."""


def grown(plan: SplitPlan, identity: Identity, schema: pa.Schema, count: Count, *, limit_bytes: int) -> SplitPlan:
    """The plan with every open target taken apart until none is left that should and can be.

    Rows of a keyless table may hash elsewhere since a column was added; those are in no target and not counted.
    """
    dtype = column_type(identity, schema)
    while plan.open:
        targets, interior = opened(plan, identity.partition, dtype)
        found = count(targets, interior)
        rows = {target: found.get(target, 0) for target in targets}
        plan = counted(plan, rows, interior, identity.partition, dtype, limit_bytes=limit_bytes)
    return plan


def count_files(
    table: TableFiles, schema: pa.Schema, paths: Sequence[str], leaves: Collection[str], interior: Collection[str]
) -> Counter[str]:
    """Rows of the files per leaf that they would go to. Memory: one batch of the placing columns."""
    columns = placing_columns(table.identity.partition, table.identity.primary_key)
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    found: Counter[str] = Counter()
    for path in paths:
        batches = read_batches(table.store, f"{table.path}/{path}", columns=columns, limit_bytes=COUNT_BATCH_BYTES)
        found += count_batches((conform(batch, wanted) for _, batch in batches), table.identity, leaves, interior)
    return found


def count_batches(
    batches: Iterable[pa.RecordBatch], identity: Identity, leaves: Collection[str], interior: Collection[str]
) -> Counter[str]:
    """Rows of the batches per leaf; they need the columns that place a row only."""
    found: Counter[str] = Counter()
    for batch in batches:
        found.update(dict(assigned(identity, batch, leaves, interior).value_counts().iter_rows()))
    return found


def assigned(
    identity: Identity, batch: pa.RecordBatch, leaves: Collection[str], interior: Collection[str]
) -> pl.Series:
    """The leaf of every row, from the columns that decide it."""
    frame = placing_frame(batch, identity)
    return assign(frame, identity.partition, primary_key=identity.primary_key, leaves=leaves, interior=interior)


def column_type(identity: Identity, schema: pa.Schema) -> pa.DataType | None:
    """Of the partition column; None where there is none."""
    return None if isinstance(identity.partition, HashPartition) else schema.field(identity.partition.column).type

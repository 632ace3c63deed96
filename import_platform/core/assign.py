"""Rows to leaves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from import_platform.core.column_range import integer_expr, micros_expr
from import_platform.core.hashing import key_hashes
from import_platform.core.leaf import ALL, BITS_MAX, GRANULARITIES, NULL, ancestors, base_of, bits_of, number_base, with_bits
from import_platform.core.table import PARTITION_COLUMN, HashPartition, NumberPartition, PartitionSpec


def assign(
    frame: pl.DataFrame,
    partition: PartitionSpec,
    *,
    primary_key: Sequence[str],
    leaves: Collection[str],
    interior: Collection[str] = (),
) -> pl.Series:
    """The leaf of every row as a String series named `_partition`, never null.

    A row goes to the deepest leaf of `leaves` that covers it, else to the shallowest node at or below the base granularity that
    is no ancestor of a leaf and not in `interior` (nodes that a planned split takes apart). Without primary key the row's
    content is hashed.
    """
    existing = set(leaves)
    above = {node for leaf in [*leaves, *interior] for node in ancestors(leaf, partition)} | set(interior)
    with_hash = {base_of(node) for node in above | existing if bits_of(node)}
    keys = tuple(primary_key) or tuple(name for name in frame.columns if name != PARTITION_COLUMN)
    names = []
    for path, hashed in zip(_paths(frame, partition), key_hashes(frame, keys), strict=True):
        names.append(_place(path, partition, existing, above, with_hash, format(int(hashed), "064b")))
    return pl.Series(PARTITION_COLUMN, names, pl.String)


def _place(path: list[str], partition: PartitionSpec, existing: set[str], above: set[str], with_hash: set[str], bits: str) -> str:
    first = 0
    if isinstance(partition, NumberPartition) and path != [NULL]:
        first = path.index(next(n for n in path if n.startswith(f"n{partition.width}_")))
    elif not isinstance(partition, (HashPartition, NumberPartition)) and path != [NULL]:
        first = GRANULARITIES.index(partition.granularity)
    node = path[-1]
    for depth, node in enumerate(path):
        if node in existing:
            return node
        if node in with_hash:
            break
        if depth >= first and node not in above and not isinstance(partition, HashPartition):
            return node
    start = partition.bits if isinstance(partition, HashPartition) else 1
    for count in range(0 if start == 0 else 1, BITS_MAX + 1):
        deeper = with_bits(node, bits[:count])
        if deeper in existing or (count >= start and deeper not in above):
            return deeper
    raise AssertionError


def _paths(frame: pl.DataFrame, partition: PartitionSpec) -> list[list[str]]:
    if isinstance(partition, HashPartition):
        return [[ALL]] * frame.height
    dtype = frame.schema[partition.column]
    if isinstance(partition, NumberPartition):
        values = frame.select(integer_expr(partition.column, dtype)).to_series().to_list()
        return [[NULL] if v is None else [number_base(10**e, v // 10**e) for e in range(18, -1, -1)] for v in values]
    values = frame.select(micros_expr(partition.column, dtype)).to_series().to_list()
    return [[NULL] if v is None else _instants(v) for v in values]


def _instants(micros: int) -> list[str]:
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H")
    return [text[:4], text[:7], text[:10], text]

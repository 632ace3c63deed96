"""Dagster's partition keys as a projection of the lake's leaves: keys are added, and the most telling ones
turn green.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from import_platform.assets.metadata import leaves_by_base, partition_metadata
from import_platform.core.layout import base_of
from import_platform.pipeline.inspect import LeafStatus, TableStatus
from import_platform.resources.naming import asset_key, partitions_def

LOGGED_MAX = 50
"""An event costs about 35 ms on SQLite; the rest turns green with the next syncs, 50 at a time."""


def bases_to_log(
    before: Mapping[str, LeafStatus],
    after: Mapping[str, LeafStatus],
    green: Collection[str],
    *,
    limit: int = LOGGED_MAX,
) -> list[str]:
    """Bases worth an event: first those never shown green, then the changed ones, by how many bytes and rows
    changed.
    """

    def change(base: str) -> tuple[int, int]:
        old, new = before.get(base), after[base]
        return (new.bytes, new.rows) if old is None else (abs(new.bytes - old.bytes), abs(new.rows - old.rows))

    fresh = [base for base in sorted(after) if base not in green]
    changed = [base for base in after if base in green and before.get(base) != after[base]]
    return [*fresh, *sorted(changed, key=lambda base: (*change(base), base), reverse=True)][:limit]


def record_partitions(
    context: Any,
    source: str,
    table: str,
    *,
    before: TableStatus | None,
    after: TableStatus,
    limit_bytes: int | None = None,
    skip: Sequence[str] = (),
) -> None:
    """Adds the lake's bases to the table's partition keys and logs materializations of at most 50 of them.

    `skip` are keys that the step materializes itself, `limit_bytes` what a leaf may hold.
    """
    bases = leaves_by_base(after.leaves)
    key, instance = asset_key(source, table), context.instance
    add_keys(instance, source, table, bases)
    green = instance.get_materialized_partitions(key)
    below: dict[str, dict[str, LeafStatus]] = {}
    for name, leaf in after.leaves.items():
        below.setdefault(base_of(name), {})[name] = leaf
    for base in bases_to_log(leaves_by_base(before.leaves) if before else {}, bases, green | set(skip)):
        if base not in skip:
            metadata = partition_metadata(below[base], after.identity.partition, limit_bytes=limit_bytes)
            context.log_event(dg.AssetMaterialization(asset_key=key, partition=base, metadata=metadata))


def add_keys(instance: dg.DagsterInstance, source: str, table: str, keys: Collection[str]) -> list[str]:
    """The keys that were new, in order."""
    name = partitions_def(source, table).name
    assert name is not None
    known = set(instance.get_dynamic_partitions(name))
    new = sorted(key for key in keys if key not in known)
    if new:
        instance.add_dynamic_partitions(name, new)
    return new

"""Deciding which leaves of a table are split or merged back, and when to stop trying. Pure.

A leaf is split above the limit; leaves below one node are merged back when together they are under a quarter of it. A
table therefore has to grow or shrink four times before the same rows are rewritten the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

import polars as pl

from import_platform.core.layout import ALL, NULL, ancestors, base_of, bits_of, validate
from import_platform.core.leaf import GRANULARITIES, granularity_of, width_and_index
from import_platform.core.table import HashPartition, NumberPartition, PartitionSpec
from import_platform.errors import ConfigError

COARSEN_SHARE = 4
COARSEN_LEAVES = 8
"""Fewer leaves than this below a node cost readers nothing worth a rewrite."""
QUIET = timedelta(days=7)
"""Leaves written to more recently than this are left alone: what grows is not merged back."""
LEAVES_MAX = 2000
"""More leaves than this are merged even above the declared granularity: the UI and every log reader pay per leaf."""

FAILURES_MAX = 5
FIRST_PAUSE = timedelta(minutes=10)
"""Pauses after failures: 10 minutes, then four times longer each; after the fifth only growth or a person re-arms."""
GROWTH = 2
"""An unsplittable leaf, and a table that failed for good, is tried again once it is this many times as large."""


@dataclass(frozen=True)
class Leaf:
    """One leaf as the log has it. `modified_ms` is the time of its newest file."""

    size_bytes: int
    rows: int
    files: int
    modified_ms: int


def leaves_of(files: pl.DataFrame) -> dict[str, Leaf]:
    """leaf -> its totals, of a snapshot's files."""
    totals = files.group_by("leaf").agg(
        pl.col("size_bytes").sum(), pl.col("rows").sum(), pl.len().alias("files"), pl.col("modified_ms").max()
    )
    return {str(leaf): Leaf(size, rows, count, ms) for leaf, size, rows, count, ms in totals.sort("leaf").iter_rows()}


@dataclass(frozen=True)
class RepartitionRecord:
    """What earlier repartitions of a table found out; durable beside its staged chunks.

    `unsplittable` maps leaves of one key to their bytes then. `failures` counts attempts begun since the last one that
    ended well, so a killed one counts too; `largest_bytes` is the largest leaf to be split at the last attempt.
    """

    unsplittable: Mapping[str, int] = field(default_factory=dict)
    failures: int = 0
    begun_at: datetime | None = None
    largest_bytes: int = 0

    def to_json(self) -> bytes:
        begun_at = self.begun_at.isoformat() if self.begun_at else None
        return json.dumps(asdict(self) | {"begun_at": begun_at}, sort_keys=True).encode()

    def beginning(self, largest_bytes: int, *, now: datetime) -> RepartitionRecord:
        return replace(self, failures=self.failures + 1, begun_at=now, largest_bytes=largest_bytes)

    def ended_well(self) -> RepartitionRecord:
        return replace(self, failures=0, begun_at=None, largest_bytes=0)

    def with_unsplittable(self, leaf: str, size_bytes: int) -> RepartitionRecord:
        return replace(self, unsplittable={**self.unsplittable, leaf: size_bytes})


def record_from_json(data: bytes) -> RepartitionRecord:
    value = json.loads(data)
    begun_at = value["begun_at"]
    return RepartitionRecord(**value | {"begun_at": datetime.fromisoformat(begun_at) if begun_at else None})


def oversized(leaves: Mapping[str, Leaf], record: RepartitionRecord, *, limit_bytes: int) -> list[str]:
    """Leaves to split, largest first: over the limit, and not known to be unsplittable at about this size."""
    over = [
        name
        for name, leaf in leaves.items()
        if leaf.size_bytes > limit_bytes and leaf.size_bytes >= GROWTH * record.unsplittable.get(name, 0)
    ]
    return sorted(over, key=lambda name: (-leaves[name].size_bytes, name))


def pause_reason(record: RepartitionRecord, largest_bytes: int, *, now: datetime) -> str | None:
    """Why a table that failed before is not tried now; None when it is its turn."""
    if not record.failures or record.begun_at is None:
        return None
    if record.failures >= FAILURES_MAX:
        if largest_bytes and largest_bytes >= GROWTH * record.largest_bytes:
            return None
        return f"{record.failures} attempts failed; run it by hand to see why: import-platform repartition"
    until = record.begun_at + FIRST_PAUSE * 4 ** (record.failures - 1)
    return f"attempt {record.failures} failed; next one after {until:%Y-%m-%d %H:%M} UTC" if now < until else None


def coarsenable(leaves: Mapping[str, Leaf], partition: PartitionSpec, *, limit_bytes: int, now: datetime) -> list[str]:
    """Nodes whose leaves are worth merging into one, none above another, in order.

    Below a node: many leaves, together far under the limit, none written to lately. Nodes above the declared
    granularity only while the table has more than LEAVES_MAX leaves.
    """
    quiet_ms = (now - QUIET).timestamp() * 1000
    totals: dict[str, tuple[int, int, int]] = {}
    for name, leaf in leaves.items():
        for node in ancestors(name, partition):
            count, size, newest = totals.get(node, (0, 0, 0))
            totals[node] = (count + 1, size + leaf.size_bytes, max(newest, leaf.modified_ms))
    crowded = len(leaves) > LEAVES_MAX
    fit = {
        node
        for node, (count, size, newest) in totals.items()
        if count >= COARSEN_LEAVES
        and size * COARSEN_SHARE <= limit_bytes
        and newest < quiet_ms
        and (crowded or at_or_below_base(node, partition))
    }
    return sorted(node for node in fit if not fit.intersection(ancestors(node, partition)))


def at_or_below_base(node: str, partition: PartitionSpec) -> bool:
    """True unless the node is wider than the declared granularity, width or number of hash leaves."""
    base = base_of(node)
    if isinstance(partition, HashPartition):
        return len(bits_of(node)) >= partition.bits
    if base in (ALL, NULL):
        return True
    if isinstance(partition, NumberPartition):
        return width_and_index(base)[0] <= partition.width
    return GRANULARITIES.index(granularity_of(base)) >= GRANULARITIES.index(partition.granularity)


def retired_keys(keys: Sequence[str], bases: Sequence[str], partition: PartitionSpec) -> list[str]:
    """Partition keys that a change of layout left behind: their rows are now under other keys, or no row ever will be.

    Keys of ranges that the lake holds nothing of stay: the source may, and a backfill can load them.
    """
    present = set(bases)
    above = {node for base in bases for node in ancestors(base, partition)}
    return [
        key
        for key in keys
        if key not in present
        and (not _is_key(key, partition) or key in above or any(node in present for node in ancestors(key, partition)))
    ]


def _is_key(key: str, partition: PartitionSpec) -> bool:
    try:
        validate(key, partition)
    except ConfigError:
        return False
    return True

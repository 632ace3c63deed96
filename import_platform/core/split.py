"""Deciding a split: which children a leaf becomes, and when it is left alone. Pure.

A split goes down one level, then again only in those children that are still over half the limit, so a 1.6 GB month
with one 0.8 GB day becomes days, and hours for that day alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from import_platform.core.layout import base_of, bits_of, children, covers, parent
from import_platform.core.leaf import with_bits
from import_platform.core.table import Granularity, HashPartition, PartitionSpec

ONE_KEY_BITS = 12
"""Bits a leaf may grow without its rows falling apart before it is taken for one key: 2**-12 of the leaves of two keys
would be misjudged, and they are looked at again when they grow."""


@dataclass(frozen=True)
class SplitPlan:
    """The split of one leaf as far as it is decided.

    `rows` maps the present targets to their rows; `interior` holds every node already taken apart, the leaf first.
    `open` are targets still over half the limit that can go deeper: count again with their children. `stuck` says over
    how many bits the rows of a target have not parted.
    """

    leaf: str
    total_rows: int
    total_bytes: int
    rows: Mapping[str, int]
    interior: tuple[str, ...]
    open: tuple[str, ...]
    stuck: Mapping[str, int] = field(default_factory=dict)

    @property
    def targets(self) -> list[str]:
        return list(self.rows)

    @property
    def unsplittable(self) -> bool:
        """True when nothing is left to try and all rows still share one target: one key, or one row."""
        return not self.open and sum(count > 0 for count in self.rows.values()) <= 1

    def bytes_of(self, target: str) -> int:
        """Expected bytes at rest, by the leaf's average row."""
        return self.rows[target] * self.total_bytes // max(self.total_rows, 1)


def begin_split(leaf: str, *, rows: int, size_bytes: int) -> SplitPlan:
    """A plan whose only target is the leaf itself, to be opened."""
    return SplitPlan(leaf, rows, size_bytes, {leaf: rows}, (), (leaf,))


def opened(plan: SplitPlan, partition: PartitionSpec, dtype: pa.DataType | None) -> tuple[list[str], tuple[str, ...]]:
    """The targets to count rows for next, and the interior nodes with them."""
    finest = finest_granularity(dtype)
    kept = [target for target in plan.rows if target not in plan.open]
    below = [child for target in plan.open for child in children(target, partition, finest=finest)]
    return kept + below, (*plan.interior, *plan.open)


def counted(
    plan: SplitPlan,
    rows: Mapping[str, int],
    interior: tuple[str, ...],
    partition: PartitionSpec,
    dtype: pa.DataType | None,
    *,
    limit_bytes: int,
) -> SplitPlan:
    """The plan after counting: empty targets vanish, those still over half the limit are open.

    Rows that would not part over ONE_KEY_BITS bits are one key: they go back to the node where the bits began.
    """
    present = {target: count for target, count in rows.items() if count}
    stuck = {target: _stuck(plan, target, count, partition) for target, count in present.items()}
    for target in [target for target, bits in stuck.items() if bits >= ONE_KEY_BITS]:
        node = with_bits(base_of(target), bits_of(target)[: -stuck.pop(target)])
        present[node] = present.pop(target)
        interior = tuple(inner for inner in interior if not covers(node, inner, partition))
    finest = finest_granularity(dtype)
    next_plan = replace(plan, rows=present, interior=interior, open=(), stuck=stuck)
    still = tuple(
        target
        for target, count in present.items()
        if target in stuck
        and count > 1
        and next_plan.bytes_of(target) * 2 > limit_bytes
        and children(target, partition, finest=finest)
    )
    return replace(next_plan, open=still)


def _stuck(plan: SplitPlan, target: str, count: int, partition: PartitionSpec) -> int:
    """Bits over which these very rows have stayed together."""
    above = parent(target, partition)
    if above in plan.open:
        return plan.stuck.get(above, 0) + 1 if bits_of(target) and plan.rows[above] == count else 0
    return plan.stuck.get(target, 0)


def finest_granularity(dtype: pa.DataType | None) -> Granularity:
    """Dates end at the day; timestamps at the hour."""
    return Granularity.DAY if dtype is not None and pa.types.is_date(dtype) else Granularity.HOUR


def placing_columns(partition: PartitionSpec, primary_key: tuple[str, ...]) -> list[str] | None:
    """The columns that decide a row's leaf; None for all of them (the content hash of a keyless table)."""
    column = None if isinstance(partition, HashPartition) else partition.column
    if not primary_key:
        return None
    return list(dict.fromkeys([*([column] if column else []), *primary_key]))

"""Rows to leaves, a whole batch at a time: integer arithmetic per row, names only per distinct node."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

from import_platform.core.column_range import check_partition_column, integer_expr, micros_expr
from import_platform.core.hashing import key_hashes
from import_platform.core.leaf import GRANULARITIES, WIDTH_EXPONENT_MAX
from import_platform.core.placement import STRIDE, STRIDE_BITS, Codes, NodeLevel, Numbers, Placement, placement
from import_platform.core.table import (
    PARTITION_COLUMN,
    Granularity,
    HashPartition,
    NumberPartition,
    PartitionSpec,
    TimePartition,
)

_MICROS_PER_HOUR: Final = 3_600_000_000
_DESCEND: Final = np.iinfo(np.int32).min
_ABSENT: Final = np.iinfo(np.int64).min

Rows = npt.NDArray[np.intp]


def assign(
    frame: pl.DataFrame,
    partition: PartitionSpec,
    *,
    primary_key: Sequence[str],
    leaves: Collection[str],
    interior: Collection[str] = (),
) -> pl.Series:
    """The leaf of every row, as a String series `_partition` without nulls.

    A row goes to the deepest leaf of `leaves` that covers it, else to the shallowest node at or below the base level
    that is no ancestor of a leaf. Nodes in `interior`, which a split under way takes apart, are leaves no more: their
    rows go one level further down, as `split_children` says, even where that is above the base level.
    Without a primary key the hash is that of all columns of the frame but `_partition`, so the same columns must be
    passed every time. Other columns than these and the partition column are not looked at and may be left out.

    Memory: about 60 bytes a row, plus the canonical key text where hash bits decide. The first call with a set of
    leaves prepares it (2,000 leaves: 20 ms), later calls with the same set reuse that.

    Raises:
        ConfigError: a leaf is not one of this partition, or the column's type does not suit it.
    """
    finest = Granularity.HOUR
    if not isinstance(partition, HashPartition):
        dtype = frame.schema[partition.column]
        check_partition_column(partition, dtype)
        finest = Granularity.DAY if dtype == pl.Date else Granularity.HOUR
    plan = placement(partition, frozenset(leaves), frozenset(interior), finest)
    placing = _Placing(plan, frame.height)
    if not isinstance(partition, HashPartition):
        placing.walk(_values(frame, partition), partition)
    keys = tuple(primary_key) or tuple(name for name in frame.columns if name != PARTITION_COLUMN)
    placing.follow_bits(frame.select(cs.by_name(*keys)))
    return placing.spelled()


class _Placing:
    """The codes of a batch while they are being found."""

    def __init__(self, plan: Placement, height: int) -> None:
        self.plan = plan
        self.codes: Codes = np.full(height, plan.root, np.int32)
        self.names = [pl.Series(plan.names, dtype=pl.String)]
        self.names_count = len(plan.names)

    def walk(self, values: Numbers, partition: TimePartition | NumberPartition) -> None:
        """Pass by pass down from the base level; each hands on the rows of the nodes that have to be opened."""
        rows: Rows | slice = slice(None)
        if len(values) and values.min() == _ABSENT:
            rows = np.flatnonzero(values != _ABSENT)
            values = values[rows]
        for unit, levels in _passes(partition):
            if not len(values):
                return
            nodes, inverse = _distinct(values // unit)
            decided = self._decide(nodes, levels, partition)
            self.codes[rows] = decided[inverse]
            opened = decided == _DESCEND
            if not opened.any():
                return
            remaining = np.flatnonzero(opened[inverse])
            rows = remaining if isinstance(rows, slice) else rows[remaining]
            values = values[remaining]

    def _decide(self, nodes: Numbers, levels: Sequence[NodeLevel], partition: TimePartition | NumberPartition) -> Codes:
        """The code of each node, from the coarsest level down; _DESCEND where none of these levels decides."""
        decided = np.full(len(nodes), _DESCEND, np.int32)
        for level in levels:
            open_ = np.flatnonzero(decided == _DESCEND)
            numbers = _at_level(nodes[open_], level, levels[-1])
            at_or_below_base = _at_or_below_base(level, partition)
            codes, known, free = self.plan.at(level).lookup(numbers, at_or_below_base=at_or_below_base)
            decided[open_[known]] = codes[known]
            decided[open_[free]] = self._new_names(numbers[free], level)
        return decided

    def _new_names(self, numbers: Numbers, level: NodeLevel) -> Codes:
        distinct, inverse = np.unique(numbers, return_inverse=True)
        if not len(distinct):
            return np.empty(0, np.int32)
        codes = self.names_count + inverse
        self.names.append(_spell(distinct, level))
        self.names_count += len(distinct)
        return codes.astype(np.int32)

    def follow_bits(self, keys: pl.DataFrame) -> None:
        """Replaces the trie tables among the codes by the leaves that the rows' hashes lead to."""
        rows = np.flatnonzero(self.codes < 0)
        if not len(rows):
            return
        if 2 * len(rows) > keys.height:  # hashing a few rows in vain is cheaper than copying most of a wide batch
            hashes = key_hashes(keys, keys.columns)[rows]
        else:
            hashes = key_hashes(keys[rows], keys.columns)
        while len(rows):
            tables = (-1 - self.codes[rows]).astype(np.int64)
            found = self.plan.trie[tables * STRIDE + (hashes >> np.uint64(64 - STRIDE_BITS)).astype(np.int64)]
            self.codes[rows] = found
            deeper = found < 0
            rows, hashes = rows[deeper], hashes[deeper] << np.uint64(STRIDE_BITS)

    def spelled(self) -> pl.Series:
        names = pl.concat(self.names) if len(self.names) > 1 else self.names[0]
        return names.gather(pl.Series(self.codes)).rename(PARTITION_COLUMN)


def _values(frame: pl.DataFrame, partition: TimePartition | NumberPartition) -> Numbers:
    """Microseconds or whole numbers per row, _ABSENT where the row belongs to `null`."""
    express = integer_expr if isinstance(partition, NumberPartition) else micros_expr
    value = express(partition.column, frame.schema[partition.column])
    return frame.select(value.fill_null(_ABSENT)).to_series().to_numpy()


def _passes(partition: TimePartition | NumberPartition) -> list[tuple[int, tuple[NodeLevel, ...]]]:
    """What to divide the values by, and the levels that can be told from the quotients, coarse to fine."""
    if isinstance(partition, TimePartition):
        return [(24 * _MICROS_PER_HOUR, GRANULARITIES[:3]), (_MICROS_PER_HOUR, GRANULARITIES[3:])]
    widths = [10**exponent for exponent in range(WIDTH_EXPONENT_MAX, -1, -1)]
    first = widths.index(partition.width)
    return [(partition.width, tuple(widths[: first + 1])), *((width, (width,)) for width in widths[first + 1 :])]


def _at_or_below_base(level: NodeLevel, partition: TimePartition | NumberPartition) -> bool:
    if isinstance(level, int) or isinstance(partition, NumberPartition):
        return isinstance(level, int) and isinstance(partition, NumberPartition) and level <= partition.width
    return GRANULARITIES.index(level) >= GRANULARITIES.index(partition.granularity)


def _at_level(nodes: Numbers, level: NodeLevel, finest: NodeLevel) -> Numbers:
    """The numbers of the nodes' ancestors at `level`."""
    if level == finest:
        return nodes
    if isinstance(level, int) and isinstance(finest, int):
        return nodes // (level // finest)
    unit = "Y" if level is Granularity.YEAR else "M"
    return nodes.astype("datetime64[D]").astype(f"datetime64[{unit}]").astype(np.int64)


def _spell(numbers: Numbers, level: NodeLevel) -> pl.Series:
    if isinstance(level, int):
        return pl.select(pl.lit(f"n{level}_") + pl.Series(numbers).cast(pl.String)).to_series()
    if level is Granularity.HOUR:
        instants, form = pl.Series(numbers * _MICROS_PER_HOUR).cast(pl.Datetime("us")), "%Y-%m-%dT%H"
    else:
        unit = {Granularity.YEAR: "Y", Granularity.MONTH: "M", Granularity.DAY: "D"}[level]
        days = numbers.astype(f"datetime64[{unit}]").astype("datetime64[D]").astype(np.int32)
        instants, form = pl.Series(days).cast(pl.Date), {"Y": "%Y", "M": "%Y-%m", "D": "%Y-%m-%d"}[unit]
    return instants.dt.strftime(form)


def _distinct(values: Numbers) -> tuple[Numbers, npt.NDArray[np.intp]]:
    """The sorted distinct values and where each row finds its own among them."""
    least, most = int(values.min()), int(values.max())
    if most - least > 4 * len(values) + 1024:
        return np.unique(values, return_inverse=True)
    offsets = values - least
    seen = np.zeros(most - least + 1, np.bool_)
    seen[offsets] = True
    return np.flatnonzero(seen) + least, (np.cumsum(seen) - 1)[offsets]

"""The leaves of a table prepared for placing many rows at once: sorted numbers per level and one trie of hash bits.

Nodes of a level are numbered, so that a batch is placed by integer arithmetic and only the names it needs are spelled:
years and months since 1970, days and hours since 1970-01-01, and for numbers the index. A code is an index into
`names`; a negative code is a table of the trie (`-1 - table`), to be followed with the row's hash.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from import_platform.core.leaf import (
    ALL,
    BITS_MAX,
    NULL,
    ancestors,
    base_of,
    bits_of,
    children,
    granularity_of,
    split_children,
    validate,
    width_and_index,
    with_bits,
)
from import_platform.core.table import Granularity, HashPartition, PartitionSpec

STRIDE_BITS: Final = 6
"""Bits one trie table decides. Two thousand bases with one bit each then take half a megabyte."""
STRIDE: Final = 1 << STRIDE_BITS

NodeLevel = Granularity | int
"""A level of the tree without bits: a granularity, or the width of a number leaf."""
Numbers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LevelNodes:
    """Nodes of one level, sorted: `known` have a code, `above` lie over a leaf, `opened` below a node under split."""

    known: Numbers
    codes: Codes
    above: Numbers
    opened: Numbers

    def lookup(self, nodes: Numbers, *, at_or_below_base: bool) -> tuple[Codes, Mask, Mask]:
        """Per node: its code, whether it has one, and whether it is free to become a leaf."""
        place, known = _find(self.known, nodes)
        codes = self.codes[place] if known.any() else np.zeros(len(nodes), np.int32)
        free = ~known & ~_find(self.above, nodes)[1]
        return codes, known, free if at_or_below_base else free & _find(self.opened, nodes)[1]


def _find(sorted_: Numbers, nodes: Numbers) -> tuple[npt.NDArray[np.intp], Mask]:
    if not len(sorted_):
        return np.zeros(len(nodes), np.intp), np.zeros(len(nodes), np.bool_)
    place = np.minimum(np.searchsorted(sorted_, nodes), len(sorted_) - 1)
    return place, sorted_[place] == nodes


_NO_NUMBERS: Final[Numbers] = np.empty(0, np.int64)
_NO_NODES: Final = LevelNodes(_NO_NUMBERS, np.empty(0, np.int32), _NO_NUMBERS, _NO_NUMBERS)


@dataclass(frozen=True)
class Placement:
    """The leaves of a table, ready for `assign`. `root` is the code of `all` for a hash partition, else of `null`."""

    names: tuple[str, ...]
    root: int
    levels: dict[NodeLevel, LevelNodes]
    trie: Codes

    def at(self, level: NodeLevel) -> LevelNodes:
        return self.levels.get(level, _NO_NODES)


@dataclass
class _Builder:
    existing: frozenset[str]
    above: frozenset[str]
    interior: frozenset[str]
    first_bits: int
    names: list[str] = field(default_factory=list)
    tables: list[Codes] = field(default_factory=list)

    def code(self, base: str) -> int:
        """The code of a base that is a leaf or carries hash bits below."""
        return self._name(base) if base in self.existing else self._table(base, "")

    def _name(self, leaf: str) -> int:
        self.names.append(leaf)
        return len(self.names) - 1

    def _table(self, base: str, bits: str) -> int:
        """A table deciding the next STRIDE_BITS bits below `bits`."""
        number = len(self.tables)
        table = np.empty(STRIDE, np.int32)
        self.tables.append(table)
        self._fill(base, bits, table, (0, STRIDE))
        return -1 - number

    def _fill(self, base: str, bits: str, table: Codes, span: tuple[int, int]) -> None:
        node, (start, stop) = with_bits(base, bits), span
        first = len(bits) >= self.first_bits or with_bits(base, bits[:-1]) in self.interior
        free = first and node not in self.above
        if node in self.existing or free or len(bits) == BITS_MAX:
            table[start:stop] = self._name(node)
        elif stop - start == 1:
            table[start] = self._table(base, bits)
        else:
            middle = (start + stop) // 2
            self._fill(base, bits + "0", table, (start, middle))
            self._fill(base, bits + "1", table, (middle, stop))


@lru_cache(maxsize=64)
def placement(
    partition: PartitionSpec, leaves: frozenset[str], interior: frozenset[str], finest: Granularity
) -> Placement:
    """Prepares the leaves once; the batches of a sync share the result.

    Raises:
        ConfigError: a leaf is not one of this partition.
    """
    for name in leaves | interior:
        validate(name, partition)
    leaves -= interior
    above = frozenset(interior).union(*(ancestors(name, partition) for name in leaves | interior))
    hashed = {base_of(name) for name in leaves | above if bits_of(name)}
    covered = {base for name in leaves | above if not bits_of(name) for base in ancestors(name, partition)}
    by_bits = {base for base in interior - covered if _splits_by_bits(base, partition, finest)}
    opened = {
        child
        for base in interior - by_bits
        if not bits_of(base) and base not in hashed
        for child in children(base, partition, finest=finest)
    }
    hashed |= by_bits
    first_bits = partition.bits if isinstance(partition, HashPartition) else 0
    builder = _Builder(leaves, above, interior, first_bits)
    root_base = ALL if isinstance(partition, HashPartition) else NULL
    root = builder.code(root_base)
    levels = {}
    if not isinstance(partition, HashPartition):
        plain = {leaf for leaf in leaves if not bits_of(leaf)}
        over = {base for base in above if not bits_of(base)}
        levels = _levels(builder, (plain | hashed) - {NULL}, over - {NULL}, opened)
    trie = np.concatenate(builder.tables) if builder.tables else np.empty(0, np.int32)
    return Placement(tuple(builder.names), root, levels, trie)


def _splits_by_bits(base: str, partition: PartitionSpec, finest: Granularity) -> bool:
    level = split_children(base, partition, finest=finest)
    return not bits_of(base) and level is not None and level.bits is not None


def _levels(
    builder: _Builder, known: Collection[str], above: Collection[str], opened: Collection[str]
) -> dict[NodeLevel, LevelNodes]:
    known_at, above_at, opened_at = (_by_level(bases) for bases in (known, above, opened))
    levels = {}
    for level in known_at.keys() | above_at.keys() | opened_at.keys():
        numbers, bases = known_at.get(level, (_NO_NUMBERS, []))
        codes = np.array([builder.code(base) for base in bases], np.int32)
        over, free = (at.get(level, (_NO_NUMBERS, []))[0] for at in (above_at, opened_at))
        levels[level] = LevelNodes(numbers, codes, over, free)
    return levels


def _by_level(bases: Collection[str]) -> dict[NodeLevel, tuple[Numbers, list[str]]]:
    """The numbers of the bases in order, and the bases in that order, per level."""
    numbered: dict[NodeLevel, list[tuple[int, str]]] = {}
    for base in bases:
        level, number = node_number(base)
        numbered.setdefault(level, []).append((number, base))
    ordered = {level: sorted(pairs) for level, pairs in numbered.items()}
    return {
        level: (np.array([number for number, _ in pairs], np.int64), [base for _, base in pairs])
        for level, pairs in ordered.items()
    }


def node_number(base: str) -> tuple[NodeLevel, int]:
    """Level and number of a datetime or number base other than `null`."""
    if base.startswith("n"):
        return width_and_index(base)
    level = granularity_of(base)
    year, month = int(base[:4]) - 1970, int(base[5:7] or 1) - 1
    if level is Granularity.YEAR:
        return level, year
    if level is Granularity.MONTH:
        return level, year * 12 + month
    day = date.fromisoformat(base[:10]).toordinal() - date(1970, 1, 1).toordinal()
    return level, day if level is Granularity.DAY else day * 24 + int(base[11:])

"""Names of leaves and the tree they form. A name alone says which rows its leaf holds.

    datetime   2025 > 2025-01 > 2025-01-13 > 2025-01-13T05      UTC
    number     n<width>_<index>: floor(value / width) == index   width 10**0 .. 10**18, split into ten
    hash       all
    null       rows of a datetime or number partition whose value is NULL, unparseable or absurd

Any of these may carry bits of the key hash, most significant first: `all.h0`, `2025-01-13.h10`. Below a bit only bits.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Collection
from dataclasses import dataclass

from import_platform.core.table import Granularity, HashPartition, NumberPartition, PartitionSpec, TimePartition
from import_platform.errors import ConfigError, InvariantBroken

ALL = "all"
NULL = "null"
NUMBER_MAX = 9 * 10**18
"""Numbers outside [-NUMBER_MAX, NUMBER_MAX) go to `null`; the bound fits 64 bits, so any database accepts it."""
WIDTH_EXPONENT_MAX = 18  # 10**18 is the widest power of ten below that
BITS_MAX = 32
"""Past 2**32 leaves a leaf holds one key: more bits would not make it smaller."""

GRANULARITIES = tuple(Granularity)
_TIME_LENGTH = {Granularity.YEAR: 4, Granularity.MONTH: 7, Granularity.DAY: 10, Granularity.HOUR: 13}
_TIME_OF_LENGTH = {length: granularity for granularity, length in _TIME_LENGTH.items()}
_TIME = re.compile(r"([1-9]\d{3})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01])(?:T([01]\d|2[0-3]))?)?)?", re.ASCII)
_NUMBER = re.compile(r"n(10*)_(0|-?[1-9][0-9]*)", re.ASCII)
_BITS = re.compile(rf"[01]{{1,{BITS_MAX}}}", re.ASCII)


@dataclass(frozen=True)
class Level:
    """What one split step makes of a leaf; exactly one field is set. People read `day`, `width 100`, `1 hash bits`."""

    granularity: Granularity | None = None
    width: int | None = None
    bits: int | None = None

    def __str__(self) -> str:
        if self.granularity is not None:
            return self.granularity.value
        return f"width {self.width}" if self.width is not None else f"{self.bits} hash bits"


def base_of(leaf: str) -> str:
    """The name without its hash bits: the Dagster partition key that the leaf belongs to."""
    return leaf.partition(".h")[0]


def bits_of(leaf: str) -> str:
    """The hash bits of a name, most significant first; "" where it has none."""
    return leaf.partition(".h")[2]


def with_bits(base: str, bits: str) -> str:
    return f"{base}.h{bits}" if bits else base


def validate(leaf: str, partition: PartitionSpec) -> None:
    """Raises ConfigError for a name that no leaf of this partition can have."""
    base, dot, bits = leaf.partition(".h")
    if _is_base(base, partition) and (not dot or _BITS.fullmatch(bits)):
        return
    raise ConfigError("not a partition of this table", leaf=leaf[:100], remedy=f"Allowed: {_allowed(partition)}.")


def _is_base(base: str, partition: PartitionSpec) -> bool:
    if isinstance(partition, HashPartition):
        return base == ALL
    if base == NULL:
        return True
    if isinstance(partition, NumberPartition):
        number = _NUMBER.fullmatch(base)
        if number is None or len(number[1]) > WIDTH_EXPONENT_MAX + 1 or len(number[2]) > 20:
            return False
        return -NUMBER_MAX <= int(number[1]) * int(number[2]) < NUMBER_MAX
    time = _TIME.fullmatch(base)
    return time is not None and (time[3] is None or int(time[3]) <= calendar.monthrange(int(time[1]), int(time[2]))[1])


def _allowed(partition: PartitionSpec) -> str:
    if isinstance(partition, HashPartition):
        return "all, or all.h followed by hash bits such as all.h01"
    if isinstance(partition, TimePartition):
        return "2025, 2025-01, 2025-01-13, 2025-01-13T05 or null, each with hash bits (2025-01.h01) or without"
    return "n<width>_<index> such as n1000_-3 (width a power of ten) or null, each with hash bits (n10_5.h1) or without"


def granularity_of(base: str) -> Granularity:
    """The level of a datetime base that is not `null`."""
    return _TIME_OF_LENGTH[len(base)]


def width_and_index(base: str) -> tuple[int, int]:
    """The two numbers of a number base that is not `null`."""
    width, _, index = base[1:].partition("_")
    return int(width), int(index)


def number_base(width: int, index: int) -> str:
    return f"n{width}_{index}"


def parent_base(base: str, partition: PartitionSpec) -> str | None:
    """The base one level up; None at a root (`all`, `null`, a year, the widest number)."""
    if base in (ALL, NULL):
        return None
    if isinstance(partition, NumberPartition):
        width, index = width_and_index(base)
        return number_base(width * 10, index // 10) if width < 10**WIDTH_EXPONENT_MAX else None
    return base[: len(base) - 3] if len(base) > 4 else None


def parent(leaf: str, partition: PartitionSpec) -> str | None:
    """The node one level up, which a coarsening of the leaf and its siblings leaves behind; None at a root."""
    bits = bits_of(leaf)
    return with_bits(base_of(leaf), bits[:-1]) if bits else parent_base(leaf, partition)


def ancestors(leaf: str, partition: PartitionSpec) -> list[str]:
    """Every node above the leaf, nearest first, without the leaf itself."""
    nodes = []
    node = parent(leaf, partition)
    while node is not None:
        nodes.append(node)
        node = parent(node, partition)
    return nodes


def covers(ancestor: str, leaf: str, partition: PartitionSpec) -> bool:
    """True if every row of `leaf` belongs to `ancestor` too; a name covers itself."""
    return ancestor == leaf or ancestor in ancestors(leaf, partition)


def overlaps(base: str, leaf: str, partition: PartitionSpec) -> bool:
    """True if a row of the base can be in the leaf, whichever is finer: what a backfill of the base looks at."""
    return covers(base, base_of(leaf), partition) or covers(base_of(leaf), base, partition)


def sort_key(leaf: str) -> tuple[str, int, int, str]:
    """Orders leaves by their rows (numbers by value, then width), hash bits within their base, `null` last."""
    base = base_of(leaf)
    if _NUMBER.fullmatch(base):
        width, index = width_and_index(base)
        return "", index * width, -width, bits_of(leaf)
    return ("~" if base == NULL else base), 0, 0, bits_of(leaf)


def split_children(leaf: str, partition: PartitionSpec, *, finest: Granularity = Granularity.HOUR) -> Level | None:
    """The level one split down; None past the last hash bit. `finest` ends the levels of time: DAY for date columns."""
    base, bits = base_of(leaf), bits_of(leaf)
    if bits or base in (ALL, NULL):
        return Level(bits=len(bits) + 1) if len(bits) < BITS_MAX else None
    if isinstance(partition, NumberPartition):
        width, _ = width_and_index(base)
        return Level(width=width // 10) if width > 1 else Level(bits=1)
    depth = GRANULARITIES.index(granularity_of(base))
    return Level(granularity=GRANULARITIES[depth + 1]) if depth < GRANULARITIES.index(finest) else Level(bits=1)


def children(leaf: str, partition: PartitionSpec, *, finest: Granularity = Granularity.HOUR) -> list[str]:
    """Every child that one split can make of the leaf, in order; together they hold exactly its rows."""
    level = split_children(leaf, partition, finest=finest)
    if level is None:
        return []
    if level.bits is not None:
        return [with_bits(base_of(leaf), bits_of(leaf) + bit) for bit in "01"]
    if level.width is not None:
        _, index = width_and_index(leaf)
        return [number_base(level.width, index * 10 + digit) for digit in range(10)]
    if level.granularity is Granularity.MONTH:
        return [f"{leaf}-{month:02}" for month in range(1, 13)]
    if level.granularity is Granularity.DAY:
        return [f"{leaf}-{day:02}" for day in range(1, calendar.monthrange(int(leaf[:4]), int(leaf[5:]))[1] + 1)]
    return [f"{leaf}T{hour:02}" for hour in range(24)]


def check_prefix_free(leaves: Collection[str], partition: PartitionSpec) -> None:
    """Raises InvariantBroken when two leaves could hold the same row.

    That is when one covers another, or when a base has both hash bits and finer bases below it.
    """
    distinct = set(leaves)
    bases_with_bits = {base_of(leaf): leaf for leaf in distinct if bits_of(leaf)}
    for leaf in distinct:
        for node in ancestors(leaf, partition):
            other = node if node in distinct else bases_with_bits.get(node) if node != base_of(leaf) else None
            if other is not None:
                raise InvariantBroken("two leaves of one table overlap", leaf=leaf, other=other)

"""The leaves of a table as bars for people: few enough to be looked at, whatever their number. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from import_platform.core.leaf import ancestors, parent, sort_key
from import_platform.core.table import HashPartition, NumberPartition, PartitionSpec, TimePartition

_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Sizes(Protocol):
    """What is known of one leaf; bytes are at rest."""

    @property
    def rows(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def files(self) -> int: ...


@dataclass(frozen=True)
class Bar:
    """One leaf, or the `leaves` below one node, or what is left over (`others`); `largest_bytes` is of one leaf."""

    name: str
    leaves: int
    rows: int
    bytes: int
    files: int
    largest_bytes: int


def bars(leaves: Mapping[str, Sizes], partition: PartitionSpec, *, bars_max: int) -> list[Bar]:
    """A bar per leaf, in the order of their rows. While there are too many, those of the finest level share the bar of
    their parent; what is too much even then ends in one bar for others, the smallest ones."""
    groups = {leaf: [leaf] for leaf in leaves}
    while len(groups) > bars_max:
        depths = {node: len(ancestors(node, partition)) for node in groups}
        deepest = max(depths.values())
        if deepest == 0:
            break
        above: dict[str, list[str]] = {}
        for node, below in groups.items():
            above.setdefault((parent(node, partition) or node) if depths[node] == deepest else node, []).extend(below)
        groups = above
    made = [_bar(node, [leaves[leaf] for leaf in below]) for node, below in groups.items()]
    made.sort(key=lambda bar: sort_key(bar.name))
    if len(made) <= bars_max:
        return made
    large = {bar.name for bar in sorted(made, key=lambda bar: -bar.largest_bytes)[: bars_max - 1]}
    rest = [leaves[leaf] for bar in made if bar.name not in large for leaf in groups[bar.name]]
    return [*(bar for bar in made if bar.name in large), _bar("others", rest)]


def _bar(name: str, below: list[Sizes]) -> Bar:
    return Bar(
        name,
        len(below),
        rows=sum(leaf.rows for leaf in below),
        bytes=sum(leaf.bytes for leaf in below),
        files=sum(leaf.files for leaf in below),
        largest_bytes=max(leaf.bytes for leaf in below),
    )


def blocks(value: int, full: int, *, width: int) -> str:
    """A bar of block characters, an eighth of a column exact; something that is not nothing shows."""
    eighths = min(round(value * width * 8 / max(full, 1)), width * 8)
    eighths = max(eighths, 1) if value else eighths
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


def described(partition: PartitionSpec) -> str:
    """`month of created_at`, `1,000,000 values of id each`, `16 by hash of the key`, `one for all rows`."""
    match partition:
        case TimePartition(column, granularity):
            return f"{granularity.value} of {column}"
        case NumberPartition(column, width):
            return f"{width:,} values of {column} each"
        case HashPartition(bits):
            return f"{2**bits} by hash of the key" if bits else "one for all rows"

"""`status SOURCE/TABLE`: the leaves of one table against their limit, from its Delta log alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from import_platform.cli.terminal import Terminal, grid
from import_platform.core.budget import format_bytes
from import_platform.core.identity import partition_as_dict
from import_platform.core.leaf import sort_key
from import_platform.core.leaf_chart import Bar, bars, blocks, described
from import_platform.core.repartition import RepartitionRecord, pause_reason
from import_platform.core.wording import counted
from import_platform.io.lake import Lake
from import_platform.pipeline.inspect import TableStatus
from import_platform.pipeline.repartition import read_record

BARS_MAX = 48
BAR_WIDTH = 30
CLOSE_TO_LIMIT = 0.8
FAR_BELOW_LIMIT = 0.1
"""Under this share of the limit bars would all look empty, so they are drawn against the largest leaf instead."""


@dataclass(frozen=True)
class LeafMap:
    """A table's leaves, the limit of one, and what repartitions of the table have found out."""

    status: TableStatus
    limit_bytes: int
    record: RepartitionRecord

    @property
    def largest_bytes(self) -> int:
        return max((leaf.bytes for leaf in self.status.leaves.values()), default=0)

    @property
    def over(self) -> list[str]:
        return [name for name, leaf in self.status.leaves.items() if leaf.bytes > self.limit_bytes]


def leaf_map(lake: Lake, status: TableStatus, *, limit_bytes: int) -> LeafMap:
    source, _, table = status.table.partition("/")
    return LeafMap(status, limit_bytes, read_record(lake.store, lake.table_path(source, table)))


def as_json(found: LeafMap) -> dict[str, Any]:
    """What `--json` says beyond the table's own row; every leaf, in the order of their rows."""
    leaves: Mapping[str, Any] = found.status.leaves
    return {
        "partition": partition_as_dict(found.status.identity.partition),
        "primary_key": list(found.status.identity.primary_key),
        "partition_max_bytes": found.limit_bytes,
        "repartition_failures": found.record.failures,
        "leaf_map": [
            {
                "leaf": name,
                **asdict(leaves[name]),
                "over_limit": leaves[name].bytes > found.limit_bytes,
                "unsplittable": name in found.record.unsplittable,
            }
            for name in sorted(leaves, key=sort_key)
        ],
    }


def show(screen: Terminal, found: LeafMap) -> None:
    status = found.status
    share = found.largest_bytes / max(found.limit_bytes, 1)
    screen.out.print()
    screen.out.print(Text.assemble((status.table, "bold"), "   ", described(status.identity.partition)))
    screen.out.print(
        f"{counted(status.rows, 'row')}, {format_bytes(status.bytes)} in {counted(status.files, 'file')} and "
        f"{counted(len(status.leaves), 'leaf')}; the largest has {share:.0%} of the limit of "
        f"{format_bytes(found.limit_bytes)}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    screen.out.print()
    if status.leaves:
        _print_bars(screen, found, bars(status.leaves, status.identity.partition, bars_max=BARS_MAX))
    for line in _remarks(found):
        screen.out.print(Text(line, style="yellow"), soft_wrap=True)


def _print_bars(screen: Terminal, found: LeafMap, shown: list[Bar]) -> None:
    grouped = any(bar.leaves > 1 for bar in shown)
    full = max(found.largest_bytes, found.limit_bytes)
    if found.largest_bytes < found.limit_bytes * FAR_BELOW_LIMIT:
        full = found.largest_bytes
    drawn = "against the limit" if full >= found.limit_bytes else "against the largest leaf"
    names = ["leaf", *(["leaves", "largest"] if grouped else []), "rows", "bytes", "files", drawn, "share"]
    table = grid(names[0], *names[1:], left=frozenset({drawn}))
    for bar in shown:
        style = _style(bar.largest_bytes / max(found.limit_bytes, 1))
        group = [f"{bar.leaves:,}", format_bytes(bar.largest_bytes)] if grouped else []
        table.add_row(
            Text(bar.name, style=style if style != "green" else ""),
            *group,
            f"{bar.rows:,}",
            format_bytes(bar.bytes),
            f"{bar.files:,}",
            _drawn(bar.largest_bytes, full, found.limit_bytes, style),
            Text(f"{bar.largest_bytes / max(found.limit_bytes, 1):.0%}", style=style if style != "green" else ""),
        )
    screen.out.print(table)


def _drawn(value: int, full: int, limit_bytes: int, style: str) -> Text:
    """The bar on a track that ends at the limit; what is past the limit is drawn beyond it."""
    filled = blocks(value, full, width=BAR_WIDTH)
    end = min(round(limit_bytes * BAR_WIDTH / max(full, 1)), BAR_WIDTH)
    return Text.assemble((filled, style), ("·" * max(end - len(filled), 0), "dim"))


def _style(share: float) -> str:
    if share > 1:
        return "red"
    return "yellow" if share >= CLOSE_TO_LIMIT else "green"


def _remarks(found: LeafMap) -> list[str]:
    """What a person may want to do something about."""
    lines = []
    splittable = [name for name in found.over if name not in found.record.unsplittable]
    if splittable:
        many = counted(len(splittable), "leaf")
        lines.append(f"{many} over the limit; the sensor splits them, or now: "
                     f"import-platform repartition {found.status.table}")  # fmt: skip
    whole = [name for name in found.over if name in found.record.unsplittable]
    if whole:
        lines.append(f"one key fills {', '.join(whole[:5])}{', ..' if len(whole) > 5 else ''}: it cannot be split")
    reason = pause_reason(found.record, found.largest_bytes, now=datetime.now(UTC))
    return [*lines, *([f"repartition: {reason}"] if reason else [])]

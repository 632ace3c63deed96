"""A grouping as its owner declared it: ordered rows, one row per key with lists, made anew when the rows change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from import_platform.core.groups import GroupBy
from import_platform.core.report import SyncReport
from import_platform.core.table import Labels


@dataclass(frozen=True)
class DeclaredGrouping:
    """Rows of `files` (a pattern of Parquet files) or of `table` (source, table of the lake), grouped into `output`.

    `columns` None: everything but the key becomes a list. `shares` are parts of 1 by name; keys beyond them are left
    out. `sort` orders the rows on disk first.
    """

    name: str
    output: str
    by: tuple[str, ...]
    order_by: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    files: str | None = None
    table: tuple[str, str] | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    sort: bool = False
    schedule: str | None = None
    labels: Labels = field(default_factory=Labels)

    def group_by(self, found: Sequence[str]) -> GroupBy:
        """`found` are the columns of the rows."""
        return GroupBy(self.by, self.order_by, self.columns or tuple(name for name in found if name not in self.by))


@dataclass
class GroupReport(SyncReport):
    """`rows_read` rows are `groups` groups, each a row in `files` files but for those left out, whose keys fall into no
    share. A resumed run counts all its spans."""

    out: str = ""
    groups: int = 0
    groups_left_out: int = 0
    files: int = 0
    spans_resumed: int = 0
    violations: int = 0

    def as_json(self) -> dict[str, Any]:
        """What `import-platform group` tells, with or without a declaration."""
        return {
            "grouping": self.table,
            "status": self.status.value,
            "out": self.out,
            "rows": self.rows_read,
            "groups": self.groups,
            "groups_written": self.groups - self.groups_left_out,
            "groups_left_out": self.groups_left_out,
            "violations": self.violations,
            "files": self.files,
            "spans_resumed": self.spans_resumed,
            "seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "error": self.error,
        }


def order_problem(by: Sequence[str], order_by: Sequence[str], columns: Sequence[str]) -> str:
    """What is wrong with the columns of a grouping; empty where they can be meant."""
    ordered = [*by, *order_by]
    if not by or len(set(ordered)) < len(ordered):
        return "by and order_by need the columns of the order, each once"
    if set(columns) & set(by):
        return "a column of the key cannot become a list too"
    return ""


def shares_problem(shares: Sequence[tuple[str, float]]) -> str:
    """What is wrong with the parts that keys are split into."""
    if any(not 0 < share <= 1 for _, share in shares):
        return "a share is a number above 0, and 1 at most"
    if sum(share for _, share in shares) > 1 + 1e-9 or len({name for name, _ in shares}) < len(shares):
        return "the shares are more than everything, or one stands there twice"
    return ""

"""The partition tree: which leaf a row belongs to, which rows a leaf holds, and how leaves relate.

One import for callers. The parts: `leaf` (names, their tree), `column_range` (predicates), `assign` (rows to leaves).
"""

from __future__ import annotations

from import_platform.core.assign import assign
from import_platform.core.column_range import (
    EVERYTHING,
    ColumnRange,
    can_push_down,
    column_range,
    in_range,
    range_expr,
)
from import_platform.core.leaf import (
    ALL,
    NULL,
    Level,
    ancestors,
    base_of,
    bits_of,
    check_prefix_free,
    children,
    covers,
    overlaps,
    parent,
    sort_key,
    split_children,
    validate,
)

coarsen = parent
"""What a coarsening of a leaf and its siblings leaves behind."""

__all__ = [
    "ALL",
    "EVERYTHING",
    "NULL",
    "ColumnRange",
    "Level",
    "ancestors",
    "assign",
    "base_of",
    "bits_of",
    "can_push_down",
    "check_prefix_free",
    "children",
    "coarsen",
    "column_range",
    "covers",
    "in_range",
    "overlaps",
    "parent",
    "range_expr",
    "sort_key",
    "split_children",
    "validate",
]

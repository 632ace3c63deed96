"""What a table's files say about its next merge. Pure; `core/advice.py` says what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

DELTA_RS_FACTOR = 2.3
DELTA_RS_BASE_BYTES = 150 << 20
"""A merge of deltalake 1.6.6 joins with every file that it scans and holds those in which no change was seen yet to
the end. Its peak above start, over the Arrow size of the scanned files, was 1.9, 2.2 and 1.8 for 3.2 million rows of
nine numbers (230 MB; 20,000 keys that are new, in one file, everywhere), and 1.8, 2.0 and 2.3 for 480,000 rows of 560
characters (312 MB). A literal partition in its condition makes it scan one leaf; without, it scans the table."""

_Counts = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class RowGroup:
    """One row group of a file. `decoded_bytes` is told from the footer: the width of numbers and instants, and of text
    the uncompressed size, which dictionaries make too small. `low` and `high` bound the first key column, raw."""

    path: str
    rows: int
    decoded_bytes: int
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class SourceStatistics:
    """What discovery last learned of the table, ISO 8601; `rows` is the source's own estimate, -1 for unknown."""

    rows: int
    columns: int
    primary_key: tuple[str, ...]
    discovered_at: str


@dataclass(frozen=True)
class Findings:
    """`files` as in a snapshot; `row_groups` of the files whose footer was read; `filtered_paths` have a key filter.

    `predicted_bytes` is the peak of the flush that waits, else of one with a single chunk; `unsplittable` leaves are
    filled by one key or row.
    """

    table: str
    first_key: str | None
    is_stable: bool
    files: pl.DataFrame
    row_groups: Sequence[RowGroup]
    filtered_paths: frozenset[str]
    limit_bytes: int
    budget_bytes: int = 0
    predicted_bytes: int = 0
    unsplittable: frozenset[str] = frozenset()
    source: SourceStatistics | None = None

    @property
    def mean_overlaps(self) -> float | None:
        """Of how many files, on average, the bounds hold a key of a file beside its own; None without such bounds."""
        counts = overlaps(self.files, self.first_key) if self.first_key is not None else None
        return None if counts is None else float(np.mean(counts)) if len(counts) else 0.0

    @property
    def prunable_share(self) -> float | None:
        """Of the table's bytes, what bounds alone rule out for a key of an average row; None without such bounds."""
        return prunable_share(self.files, self.first_key) if self.first_key is not None else None

    @property
    def ordered_share(self) -> float | None:
        """Of the files whose row groups have bounds, those that are in key order; None where none has any."""
        return ordered_share(self.row_groups)

    @property
    def widest_row_group_bytes(self) -> int:
        return max((group.decoded_bytes for group in self.row_groups), default=0)

    @property
    def decoded_bytes(self) -> int:
        """Of the whole table: what the footers say, the files whose footer was not read like the others."""
        return _decoded_bytes(self.files, self.row_groups)

    @property
    def largest_leaf(self) -> tuple[str, int]:
        """Name and bytes at rest."""
        leaves = self.files.group_by("leaf").agg(pl.col("size_bytes").sum()).sort("size_bytes", "leaf", descending=True)
        return (leaves["leaf"][0], leaves["size_bytes"][0]) if leaves.height else ("", 0)

    @property
    def delta_rs_leaf_bytes(self) -> int:
        """What a merge by delta-rs into the largest leaf would hold."""
        leaf, at_rest = self.largest_leaf
        share = at_rest / max(int(self.files["size_bytes"].sum()), 1)
        return delta_rs_bytes(int(self.decoded_bytes * share)) if leaf else DELTA_RS_BASE_BYTES

    @property
    def delta_rs_table_bytes(self) -> int:
        """What a merge by delta-rs without a literal partition would hold."""
        return delta_rs_bytes(self.decoded_bytes)


def delta_rs_bytes(decoded_bytes: int) -> int:
    """The peak of a merge by delta-rs that scans files of this decoded size; see DELTA_RS_FACTOR."""
    return DELTA_RS_BASE_BYTES + int(DELTA_RS_FACTOR * decoded_bytes)


def overlaps(files: pl.DataFrame, column: str) -> _Counts | None:
    """Per file, how many others have bounds of the column that meet its own; None where a file has no bounds."""
    bounds = _bounds(files, column)
    if bounds is None:
        return None
    begun, ended = bounds
    return begun - ended - 1


def prunable_share(files: pl.DataFrame, column: str) -> float | None:
    """Of the bytes, the share in files whose bounds do not meet those of an average row's file."""
    bounds = _bounds(files, column)
    if bounds is None or not files.height:
        return None if bounds is None else 0.0
    begun, ended = bounds
    low, high = (files[f"{end}.{column}"] for end in ("min", "max"))
    sizes = files["size_bytes"].to_numpy()
    by_low = np.concatenate([[0], np.cumsum(sizes[low.arg_sort().to_numpy()])])
    by_high = np.concatenate([[0], np.cumsum(sizes[high.arg_sort().to_numpy()])])
    met = by_low[begun] - by_high[ended]
    rows = np.maximum(files["rows"].fill_null(0).to_numpy(), 1)
    return float(1 - np.average(met / max(sizes.sum(), 1), weights=rows))


def ordered_share(groups: Sequence[RowGroup]) -> float | None:
    """Of the files with bounded row groups, the share whose row groups follow each other without overlap."""
    by_file: dict[str, list[RowGroup]] = {}
    for group in groups:
        by_file.setdefault(group.path, []).append(group)
    told = [found for found in by_file.values() if all(group.low is not None for group in found)]
    if not told:
        return None
    return sum(all(a.high <= b.low for a, b in pairwise(found)) for found in told) / len(told)


def _bounds(files: pl.DataFrame, column: str) -> tuple[_Counts, _Counts] | None:
    """Per file: files that begin at or before its end, and files that end before its beginning."""
    names = f"min.{column}", f"max.{column}"
    if not set(names) <= set(files.columns) or files.select(names).null_count().sum_horizontal().item():
        return None
    low, high = files[names[0]], files[names[1]]
    begun = low.sort().search_sorted(high, side="right").to_numpy().astype(np.int64)
    ended = high.sort().search_sorted(low, side="left").to_numpy().astype(np.int64)
    return begun, ended


def _decoded_bytes(files: pl.DataFrame, groups: Sequence[RowGroup]) -> int:
    read = files.filter(pl.col("path").is_in(list({group.path for group in groups})))
    known = sum(group.decoded_bytes for group in groups)
    at_rest = int(read["size_bytes"].sum())
    return int(known * int(files["size_bytes"].sum()) / at_rest) if at_rest else 0

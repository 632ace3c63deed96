"""What a table's files say about its next merge, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from import_platform.core.budget import MIB, format_bytes
from import_platform.core.maintenance import compactable

WIDE_ROW_GROUP_BYTES = 64 * MIB
OVERLAPS_MANY = 3.0


@dataclass(frozen=True)
class RowGroup:
    """One row group of a file; `decoded_bytes` is the footer's uncompressed size, which dictionaries make too small."""

    path: str
    rows: int
    decoded_bytes: int


@dataclass(frozen=True)
class Findings:
    """`files` as in a snapshot; `row_groups` of the files whose footer was read; `filters` says which have a filter."""

    table: str
    first_key: str | None
    is_stable: bool
    files: pl.DataFrame
    row_groups: Sequence[RowGroup]
    filtered_paths: frozenset[str]
    limit_bytes: int

    @property
    def mean_overlaps(self) -> float | None:
        """Of how many files, on average, the bounds hold a key of a file beside its own; None without such bounds."""
        counts = overlaps(self.files, self.first_key) if self.first_key is not None else None
        return None if counts is None else float(np.mean(counts)) if len(counts) else 0.0

    @property
    def widest_row_group_bytes(self) -> int:
        return max((group.decoded_bytes for group in self.row_groups), default=0)


def overlaps(files: pl.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """Per file, how many others have bounds of the column that meet its own; None where a file has no bounds."""
    names = f"min.{column}", f"max.{column}"
    if not set(names) <= set(files.columns) or files.select(names).null_count().sum_horizontal().item():
        return None
    low, high = files[names[0]], files[names[1]]
    begun = low.sort().search_sorted(high, side="right").to_numpy().astype(np.int64)
    ended = high.sort().search_sorted(low, side="left").to_numpy().astype(np.int64)
    return begun - ended - 1


def advice(found: Findings) -> list[str]:
    """What to do, in the order of effect; nothing when all is well."""
    leaves = found.files.group_by("leaf").agg(pl.col("size_bytes").sum()).sort("size_bytes", descending=True)
    over = leaves.filter(pl.col("size_bytes") > found.limit_bytes)
    said = []
    if over.height:
        said.append(
            f"{over.height} of {leaves.height} leaves are over {format_bytes(found.limit_bytes)}, the largest is "
            f"{over['leaf'][0]} with {format_bytes(over['size_bytes'][0])}: import-platform repartition {found.table}"
        )
    if found.widest_row_group_bytes > WIDE_ROW_GROUP_BYTES:
        widest = max(found.row_groups, key=lambda group: group.decoded_bytes)
        said.append(
            f"a row group of {format_bytes(widest.decoded_bytes)} in {widest.path} is read in slices; other readers "
            "hold it whole. A backfill of its partition writes small ones"
        )
    small = compactable(found.files)
    if small:
        count = sum(len(paths) for paths in small.values())
        said.append(f"{count} small files in {len(small)} leaves: import-platform maintain {found.table}")
    mean = found.mean_overlaps
    if found.first_key is not None and not found.is_stable and (mean is None or mean > OVERLAPS_MANY):
        said.append(
            f"bounds of {found.first_key} rule few files out, so every flush asks key filters or reads keys. If a "
            "row's partition never changes, say partition: {stable: true} and only its own leaf is looked at"
        )
    return said

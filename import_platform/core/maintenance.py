"""Deciding maintenance: which files of which leaves are worth compacting. Pure."""

from __future__ import annotations

import polars as pl

SMALL_FILE_BYTES = 32 << 20
COMPACT_FILES = 8
"""A leaf is compacted when it has this many files under SMALL_FILE_BYTES: half as many again as the merge folds in by
itself, so maintenance looks only at what syncs leave behind."""


def compactable(files: pl.DataFrame) -> dict[str, list[str]]:
    """leaf -> paths of its small files, for the leaves that have enough of them, in name order."""
    small = (
        files.filter(pl.col("size_bytes") < SMALL_FILE_BYTES)
        .sort("leaf", "path")
        .group_by("leaf", maintain_order=True)
        .agg("path")
        .filter(pl.col("path").list.len() >= COMPACT_FILES)
    )
    return {str(leaf): paths for leaf, paths in small.iter_rows()}

"""Deciding a merge: which files can hold a row's key, which are rewritten, and what goes into which leaf.

Pure: files as a frame (path, leaf, size_bytes, rows, min.*, max.*), keys as frames, plans as values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from import_platform.core.splice import NONE, Positions, Replaced

Mask = np.ndarray[Any, np.dtype[np.bool_]]

ROW = "row"
"""Ordinal of a source row among the rows of a flush, in arrival order."""

FOLD_FILE_BYTES = 16 << 20
FOLD_FILES = 4
"""A leaf that gets new rows and already has this many files under FOLD_FILE_BYTES takes them along into the new file,
so frequent small syncs do not pile up files; a row is rewritten O(log n) times on the way, as in a size-tiered LSM."""

FOLD_DECODED_BYTES = 256 << 20
"""Rows that compress a hundredfold would otherwise be decoded by the gigabyte each time, for files that stay small."""


@dataclass(frozen=True)
class Rewrite:
    """One output of a merge: the surviving rows of `inputs` (path -> sorted row positions that go away), with those at
    the positions of `replaced` exchanged for source rows, then, if `incoming`, the leaf's other source rows.

    With `children` the leaf is taken apart: its rows go to those leaves instead.
    """

    leaf: str
    inputs: Mapping[str, Positions]
    incoming: bool
    children: tuple[str, ...] = ()
    replaced: Mapping[str, Replaced] = field(default_factory=dict)


@dataclass(frozen=True)
class MergePlan:
    """What a merge will do to one snapshot. Counts are of files; `updated_rows` of source rows found in the lake.

    `predicted_bytes` is what the whole process is expected to hold at most while it is carried out. Of the considered
    files `filtered_files` were ruled out by key filters of `filter_bytes`, and of `probed_files` the keys were read.
    """

    rewrites: tuple[Rewrite, ...]
    dropped: tuple[str, ...]
    considered_files: int
    probed_files: int
    updated_rows: int
    removed_rows: int
    leaves: tuple[str, ...] = field(default=())
    filtered_files: int = 0
    filter_bytes: int = 0
    predicted_bytes: int = 0

    @property
    def removes(self) -> list[str]:
        return [*self.dropped, *(path for rewrite in self.rewrites for path in rewrite.inputs)]


def last_versions(keys: pl.DataFrame, primary_key: Sequence[str], cursor: str | None) -> pl.DataFrame:
    """One row per key: the greatest cursor value wins (NULL is least), then the latest arrival.

    `keys` has the key columns, the cursor column if any, and ROW; NULL equals NULL. Memory: about three times `keys`.
    """
    if keys.select(pl.struct(primary_key).n_unique()).item() == keys.height:
        return keys
    order = [cursor, ROW] if cursor is not None else [ROW]
    return keys.sort(order, nulls_last=False, maintain_order=True).unique(primary_key, keep="last", maintain_order=True)


def repeated(keys: pl.DataFrame, primary_key: Sequence[str]) -> Mask:
    """Rows whose key may come more than once: all those that do, and once in billions another.

    Told by 64-bit hashes, so that the exact and hungry comparison of `last_versions` sees only these rows. Memory: 24
    bytes a row.
    """
    hashes = keys.select(primary_key).hash_rows().to_numpy()
    ordered = np.sort(hashes)
    twice = ordered[:-1][ordered[1:] == ordered[:-1]]
    at = np.searchsorted(twice, hashes)
    return np.asarray(twice[np.minimum(at, len(twice) - 1)] == hashes) if len(twice) else np.zeros(len(hashes), bool)


def ascends(keys: pl.DataFrame, primary_key: Sequence[str]) -> bool:
    """True when the keys come strictly ascending by a single column without nulls: unique, and sorted already.

    That is how connectors read a table with a simple key, and it is seen without hashing a single key.
    """
    if len(primary_key) != 1:
        return keys.height < 2
    column = keys[primary_key[0]]
    return column.null_count() == 0 and bool((column.slice(1) > column.slice(0, max(column.len() - 1, 0))).all())


def candidate_files(
    files: pl.DataFrame, sorted_keys: pl.Series | None, *, leaves: Collection[str] | None, upto: pl.Series | None = None
) -> pl.DataFrame:
    """The files that can hold one of the keys, judged by the log's bounds of the first key column.

    `sorted_keys` are the values of that column, nulls first; None where nobody knows. With `upto` they are the low ends
    of spans of keys, as `disjoint` makes them, and `upto` their high ends. `leaves`, if given, are the only ones
    searched.
    """
    if leaves is not None:
        files = files.filter(pl.col("leaf").is_in(list(leaves)))
    if sorted_keys is None:
        return files
    low_name, high_name = f"min.{sorted_keys.name}", f"max.{sorted_keys.name}"
    starts = sorted_keys.alias("key").drop_nulls()  # a name of a source may look like a pattern to Polars
    if low_name not in files.columns or high_name not in files.columns or starts.len() < sorted_keys.len():
        return files
    ends = starts if upto is None else upto
    lows, highs = files[low_name].cast(starts.dtype, strict=False), files[high_name].cast(starts.dtype, strict=False)
    first = pl.Series("first", ends.search_sorted(lows, side="left"))  # the first span that does not end before
    after = pl.Series("after", starts.search_sorted(highs, side="right"))  # and the first that begins behind
    return files.filter((first < after) | lows.is_null() | highs.is_null())


def disjoint(spans: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The spans (low, high) in order, those that meet as one."""
    found: list[tuple[Any, Any]] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def keys_in_bounds(keys: pl.DataFrame, column: str, low: object, high: object) -> pl.DataFrame:
    """The slice of `keys` (sorted by `column`, nulls first) that a file with these bounds can hold; no copy."""
    if low is None or high is None or keys[column].null_count():
        return keys
    values = keys[column]
    first = int(values.search_sorted(pl.Series([low]).cast(values.dtype), side="left")[0])
    after = int(values.search_sorted(pl.Series([high]).cast(values.dtype), side="right")[0])
    return keys.slice(first, after - first)


def put_back(
    hits: Mapping[str, Replaced],
    leaf_of: Mapping[str, str],
    spans: Mapping[str, tuple[int, int]],
    where: Positions,
) -> tuple[dict[str, Replaced], Mask]:
    """Source rows that take the place of their old version: those whose leaf is still that of the file.

    So files keep their order and their bounds, and an update makes no new file. `hits` has the source row per position,
    `spans` first row and count of each leaf among the placed rows, `where` the placed row of a source row, -1 for one
    that is not written. Returns the replacements per file, and which placed rows are left for new files.
    """
    left = np.ones(sum(count for _, count in spans.values()), dtype=bool)
    back: dict[str, Replaced] = {}
    for path in sorted(hits):
        start, count = spans.get(leaf_of[path], (0, 0))
        found = hits[path]
        placed = where[found.rows]
        fits = (placed >= start) & (placed < start + count)
        at = np.flatnonzero(fits)
        # Where the lake has a key twice, which only a foreign writer can bring about, the second copy goes away.
        at = at[left[placed[at]]]
        at = at[np.sort(np.unique(placed[at], return_index=True)[1])]
        left[placed[at]] = False
        if at.size:
            back[path] = Replaced(found.positions[at], found.rows[at])
    return back, left


def plan_rewrites(
    files: pl.DataFrame,
    hits: Mapping[str, Positions],
    dropped: Collection[str],
    incoming_leaves: Sequence[str],
    *,
    splits: Mapping[str, Sequence[str]] | None = None,
    replaced: Mapping[str, Replaced] | None = None,
    row_bytes: float = 0.0,
) -> tuple[Rewrite, ...]:
    """The rewrites that take `hits` out of their files, exchange the rows `replaced` in theirs, and put the source rows
    of `incoming_leaves` into those.

    `row_bytes` is what a row decodes to. `splits` maps leaves that are taken apart to their children; all their files
    are rewritten.

    Files in `dropped` disappear whole and are no input. Small files of a leaf that gets rows are folded in (see
    FOLD_FILES); every other touched file is rewritten by itself, so that its order survives.
    """
    apart = []
    for leaf, children in (splits or {}).items():
        paths = files.filter((pl.col("leaf") == leaf) & ~pl.col("path").is_in(list(dropped)))["path"].to_list()
        if paths:
            inputs = {path: hits.get(path, NONE) for path in paths}
            apart.append(Rewrite(leaf, inputs, incoming=False, children=tuple(children)))
    taken = {path for rewrite in apart for path in rewrite.inputs} | set(dropped)
    folds = _folds(files.filter(~pl.col("path").is_in(list(dropped))), incoming_leaves, row_bytes)
    back = replaced or {}
    rewrites = [
        _rewrite(leaf, [path for path in folds.get(leaf, []) if path not in taken], hits, back, incoming=True)
        for leaf in incoming_leaves
    ]
    taken.update(path for rewrite in rewrites for path in rewrite.inputs)
    leaf_of = dict(zip(files["path"], files["leaf"], strict=True))
    touched = dict.fromkeys([*hits, *back])
    alone = [_rewrite(leaf_of[path], [path], hits, back, incoming=False) for path in touched if path not in taken]
    return (*apart, *alone, *rewrites)


def _rewrite(
    leaf: str,
    paths: Sequence[str],
    hits: Mapping[str, Positions],
    back: Mapping[str, Replaced],
    *,
    incoming: bool,
) -> Rewrite:
    replaced = {path: back[path] for path in paths if path in back}
    return Rewrite(leaf, {path: hits.get(path, NONE) for path in paths}, incoming, replaced=replaced)


def _folds(files: pl.DataFrame, leaves: Sequence[str], row_bytes: float) -> dict[str, list[str]]:
    small = (
        files.filter(pl.col("leaf").is_in(list(leaves)) & (pl.col("size_bytes") < FOLD_FILE_BYTES))
        .sort("size_bytes", "path")
        .with_columns(pl.col("size_bytes").cum_sum().over("leaf").alias("total"), pl.len().over("leaf").alias("n"))
        .filter((pl.col("n") >= FOLD_FILES) & (pl.col("total") < 2 * FOLD_FILE_BYTES))
        .filter(pl.col("rows").cum_sum().over("leaf") * row_bytes < FOLD_DECODED_BYTES)
    )
    return {str(leaf): paths for leaf, paths in small.group_by("leaf", maintain_order=True).agg("path").iter_rows()}

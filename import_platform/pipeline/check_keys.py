"""Whether the primary key holds in the lake: unique and without nulls. Reads key columns, of changed files only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from import_platform.core.arrow import empty_table
from import_platform.core.budget import MemoryBudget
from import_platform.core.check_state import BIG_EVERY, BIG_ROWS, CheckState, FileGroup, file_groups
from import_platform.core.table import HashPartition
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import read_batches
from import_platform.pipeline.context import LakeTable
from import_platform.pipeline.keys import numbered

HASH_BYTES = 24
"""Per row: its hash as gathered, as one array, and what sorting takes."""

BATCH_BYTES = 4 << 20
SUSPECTS_MAX = 10_000
"""Hashes that occur twice and are looked at by value. More duplicates than this are told as `at least`."""

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class KeyFindings:
    """`duplicates` keys that several rows have, `nulls` rows with a null in the key, of the `rows` looked at now;
    `rows_left` are for another sync. `leaves` names some leaves with a fault."""

    duplicates: int = 0
    nulls: int = 0
    rows: int = 0
    rows_left: int = 0
    leaves: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class KeyCheck:
    """One look at the keys of a table. Mutable: it lives for one call.

    Peak memory: `most_bytes`, and a batch of key columns. It ends between two groups of files once `seconds` are over,
    and goes on with the next sync.
    """

    table: LakeTable
    budget: MemoryBudget
    watch: MemoryWatch
    stop: Callable[[], bool]
    seconds: float

    @property
    def most_bytes(self) -> int:
        """What `run` holds at most: of a small table little, so that it need not wait for its neighbours."""
        rows = self.table.snapshot.rows if self.table.snapshot is not None else 0
        return min(rows * HASH_BYTES + 2 * BATCH_BYTES, self.budget.merge_bytes)

    def run(self, state: CheckState, *, now: datetime) -> tuple[KeyFindings, CheckState]:
        """What was found, and what to remember. A group with a fault is looked at again by every sync until it has
        none."""
        snapshot = self.table.snapshot
        if snapshot is None or not self.table.identity.primary_key:
            return KeyFindings(), state
        begun = time.monotonic()
        key = self.table.identity.primary_key
        # A leaf of a hash partition is told by the key; any other may hold a stale copy of another leaf's row.
        by_leaf = isinstance(self.table.identity.partition, HashPartition)
        groups = file_groups(snapshot.files, key[0], by_leaf=by_leaf)
        passed = {group.fingerprint for group in groups} & state.passed
        todo = [group for group in groups if group.fingerprint not in passed]
        due = [group for group in todo if not _rests(group, state, now)]
        big = {group.scope: state.big[group.scope] for group in groups if group.scope in state.big}
        found = KeyFindings(rows_left=sum(group.rows for group in todo))
        for some in self._in_passes(due):
            if self.stop() or time.monotonic() - begun > self.seconds:
                break
            part = self._look(some)
            found = _added(found, part)
            if not part.duplicates and not part.nulls:
                passed |= {group.fingerprint for group in some}
            big |= {group.scope: now for group in some if group.rows > BIG_ROWS}
        found = KeyFindings(**{**vars(found), "seconds": round(time.monotonic() - begun, 3)})
        return found, CheckState(**{**vars(state), "passed": frozenset(passed), "big": big})

    @property
    def _rows_at_once(self) -> int:
        return max(self.budget.merge_bytes // HASH_BYTES, 1 << 16)

    def _in_passes(self, groups: Sequence[FileGroup]) -> Iterator[list[FileGroup]]:
        """Small groups together, as many as memory takes; a large one alone."""
        some: list[FileGroup] = []
        for group in groups:
            if some and sum(one.rows for one in some) + group.rows > self._rows_at_once:
                yield some
                some = []
            some.append(group)
        if some:
            yield some

    def _look(self, groups: Sequence[FileGroup]) -> KeyFindings:
        paths = [path for group in groups for path in group.paths]
        rows = sum(group.rows for group in groups)
        passes = -(-rows // self._rows_at_once)
        suspects: list[Hashes] = []
        nulls, in_leaves = 0, set[str]()
        for number in range(passes):
            parts: list[Hashes] = [np.empty(0, np.uint64)]
            for path, keys in self._keys(paths):
                if number == 0 and (bad := _nulls(keys)):
                    nulls += bad
                    in_leaves.add(_leaf(path))
                hashes = keys.hash_rows().to_numpy()
                parts.append(hashes if passes == 1 else hashes[hashes % np.uint64(passes) == number])
            suspects.append(_repeated(parts))
        few = np.concatenate(suspects)[:SUSPECTS_MAX]
        duplicates = 0
        if few.size:
            duplicates, leaves = self._proven(paths, few)
            in_leaves |= leaves
        return KeyFindings(duplicates, nulls, rows, leaves=tuple(sorted(in_leaves)[:5]))

    def _proven(self, paths: Sequence[str], suspects: Hashes) -> tuple[int, set[str]]:
        """How many keys of these hashes several rows have, by value: two keys may share a hash."""
        counts: pl.DataFrame | None = None
        for path, keys in self._keys(paths):
            names = keys.columns
            mine = keys.filter(pl.Series(np.isin(keys.hash_rows().to_numpy(), suspects)))
            if mine.height:
                mine = mine.with_columns(pl.lit(1).alias("n"), pl.lit(_leaf(path)).alias("leaf"))
                both = mine if counts is None else pl.concat([counts, mine])
                counts = both.group_by(names).agg(pl.col("n").sum(), pl.col("leaf").last())
        if counts is None:
            return 0, set()
        twice = counts.filter(pl.col("n") > 1)
        return twice.height, set(twice["leaf"])

    def _keys(self, paths: Sequence[str]) -> Iterator[tuple[str, pl.DataFrame]]:
        """Key columns batch by batch, in the types of the table: old files may have narrower ones."""
        assert self.table.snapshot is not None
        key = list(self.table.identity.primary_key)
        types = numbered(empty_table(self.table.snapshot.schema), key).schema
        for path in paths:
            full = f"{self.table.path}/{path}"
            for _, batch in read_batches(self.table.store, full, columns=key, limit_bytes=BATCH_BYTES):
                with self.watch.breathe():
                    yield path, numbered(batch, key).cast(types)


def _rests(group: FileGroup, state: CheckState, now: datetime) -> bool:
    last = state.big.get(group.scope)
    return group.rows > BIG_ROWS and last is not None and now - last < BIG_EVERY


def _added(found: KeyFindings, part: KeyFindings) -> KeyFindings:
    return KeyFindings(
        found.duplicates + part.duplicates,
        found.nulls + part.nulls,
        found.rows + part.rows,
        found.rows_left - part.rows,
        tuple(dict.fromkeys([*found.leaves, *part.leaves]))[:5],
    )


def _nulls(keys: pl.DataFrame) -> int:
    if not sum(column.null_count() for column in keys):
        return 0
    return int(keys.select(pl.any_horizontal(pl.all().is_null()).sum()).item())


def _repeated(parts: Sequence[Hashes]) -> Hashes:
    every = np.concatenate(parts)
    every.sort()
    return np.unique(every[1:][every[1:] == every[:-1]])[:SUSPECTS_MAX]


def _leaf(path: str) -> str:
    return path.split("/", 1)[0].partition("=")[2]

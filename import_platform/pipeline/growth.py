"""Leaves that a merge is about to push past the limit: they are split in the merge's own commit.

What is over the limit already is the sensor's work, so a leaf that cannot be split is looked at once and not by every
sync.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl
import pyarrow as pa

from import_platform.core.splice import Positions
from import_platform.core.split import SplitPlan, begin_split
from import_platform.io.delta import Snapshot
from import_platform.pipeline.counting import count_files, grown
from import_platform.pipeline.leaves import TableFiles

AT_REST_SHARE = 3
"""A first load has no files to tell how well its rows compress: they are taken to shrink to a third."""

CountIncoming = Callable[[Collection[str], Collection[str]], Counter[str]]
"""Incoming rows per leaf, given all leaves and the interior nodes."""


@dataclass(frozen=True)
class Layout:
    """Leaves that rows are placed in, with nodes that are being taken apart; `splits` are the plans behind them."""

    leaves: frozenset[str]
    interior: frozenset[str] = frozenset()
    splits: Mapping[str, SplitPlan] = field(default_factory=dict, compare=False)


class Target(TableFiles, Protocol):
    """The table that rows go to, with the schema they are written in."""

    @property
    def schema(self) -> pa.Schema: ...


class Growth:
    """Decides splits for one merge; counting is done once for the same files and rows."""

    def __init__(self, table: Target, limit_bytes: int, decoded_bytes: int) -> None:
        self._table = table
        self._limit_bytes = limit_bytes
        self._decoded_bytes = decoded_bytes
        self._known: dict[tuple[str, frozenset[str]], SplitPlan] = {}

    def layout(
        self,
        snapshot: Snapshot | None,
        kept: pl.DataFrame,
        incoming: Mapping[str, int],
        hits: Mapping[str, Positions],
        count_incoming: CountIncoming,
    ) -> Layout:
        """The leaves after the merge. `kept` are the files that stay or are rewritten, `incoming` rows per leaf,
        `hits` rows that go away per file."""
        leaves = snapshot.leaves if snapshot is not None else frozenset[str]()
        splits: dict[str, SplitPlan] = {}
        for leaf, rows in incoming.items():
            files = kept.filter(pl.col("leaf") == leaf)
            total_rows = int(files["rows"].sum()) - sum(hits[p].size for p in files["path"] if p in hits) + rows
            size_bytes = int(total_rows * self._row_bytes(snapshot, files, sum(incoming.values())))
            if int(files["size_bytes"].sum()) <= self._limit_bytes < size_bytes:
                plan = self._plan(leaf, files, total_rows, size_bytes, leaves=leaves, count_incoming=count_incoming)
                if not plan.unsplittable and plan.targets != [leaf]:
                    splits[leaf] = plan
        if not splits:
            return Layout(leaves)
        targets = {target for plan in splits.values() for target in plan.targets}
        interior = {node for plan in splits.values() for node in plan.interior}
        return Layout((leaves - set(splits)) | targets, frozenset(interior), splits)

    def _row_bytes(self, snapshot: Snapshot | None, files: pl.DataFrame, incoming_rows: int) -> float:
        """Expected bytes at rest of a row: as in the leaf, else as in the table, else a share of its decoded bytes."""
        for known in (files, snapshot.files if snapshot is not None else files):
            rows = int(known["rows"].sum())
            if rows:
                return int(known["size_bytes"].sum()) / rows
        return self._decoded_bytes / max(incoming_rows, 1) / AT_REST_SHARE

    def _plan(
        self,
        leaf: str,
        files: pl.DataFrame,
        rows: int,
        size_bytes: int,
        *,
        leaves: frozenset[str],
        count_incoming: CountIncoming,
    ) -> SplitPlan:
        known = (leaf, frozenset(files["path"].to_list()))
        if known not in self._known:
            table, paths, others = self._table, files["path"].to_list(), leaves - {leaf}

            def count(targets: Sequence[str], interior: Collection[str]) -> Mapping[str, int]:
                stored = count_files(table, table.schema, paths, others | set(targets), interior)
                return stored + count_incoming(others | set(targets), interior)

            plan = begin_split(leaf, rows=rows, size_bytes=size_bytes)
            self._known[known] = grown(plan, table.identity, table.schema, count, limit_bytes=self._limit_bytes)
        return self._known[known]

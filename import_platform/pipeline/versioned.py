"""The flush of a table whose rows come in any order of their versions: what is older than the lake changes nothing.

The versions of the staged keys are compared with those of the lake and of the deleted keys that the table remembers;
only the greatest go on to the merge. Keys that end up without a row are remembered by the same commit, so no older file
brings them back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.deleted import marked
from import_platform.core.merge import ROW, candidate_files
from import_platform.core.splice import NONE, Positions
from import_platform.core.state import Attempt, AttemptKind, TableState
from import_platform.core.table import TableSpec
from import_platform.core.versions import EMPTY, GONE, Versions
from import_platform.errors import ConfigError
from import_platform.io.delta import Snapshot
from import_platform.io.key_filter import FILTER_KEYS_MAX, KeyFilters, filter_hashes
from import_platform.io.parquet import conform, read_batches
from import_platform.pipeline.backfill import BackfillFlush, RowsWithout
from import_platform.pipeline.context import OpenTable
from import_platform.pipeline.fitting import evolution_of
from import_platform.pipeline.flush import Flush
from import_platform.pipeline.incoming import Rows

COPIES = 6
"""Of the keys and versions of one pass: as read, joined, grouped and sorted."""
COMPARE_BATCH_BYTES = 4 << 20


@dataclass
class Judged:
    """`left_out` are ordinals of the staged rows that are superseded; `dead` the keys and versions that leave no row
    and were not remembered yet. Mutable: passes add to it."""

    left_out: list[Positions] = field(default_factory=list)
    dead: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def ordinals(self) -> Positions:
        return np.sort(np.concatenate([NONE, *self.left_out]))


class VersionedFlush(Flush):
    """Memory: `merge_bytes` for keys and versions, in passes by hash class where they need more, before that of the
    merge."""

    def __init__(self, table: OpenTable, attempt: Attempt, *args: Any, **kwargs: Any) -> None:
        super().__init__(table, attempt, *args, **kwargs)
        self._state = TableState()
        self._judged: Judged | None = None
        self._judged_at: tuple[int, int] | None = None
        self._left_out: Positions = NONE

    def _attempt_once(self, snapshot: Snapshot | None, state: TableState) -> bool:
        self._state = state
        return super()._attempt_once(snapshot, state)

    @property
    def left_out(self) -> int:
        """Staged rows that are superseded."""
        return int(self._left_out.size)

    def _dropped(self, snapshot: Snapshot | None) -> list[str]:
        at = (snapshot.version if snapshot is not None else -1, self._state.number)
        if self._judged is None or self._judged_at != at:
            self._judged, self._judged_at = self._judge(snapshot), at
            left_out = self._judged.ordinals
            if self._merge is not None and not np.array_equal(left_out, self._left_out):
                self._merge.discard(())
                self._merge = None
            self._left_out = left_out
        return super()._dropped(snapshot)

    def _rows(self) -> Rows:
        return RowsWithout(super()._rows(), self._left_out) if self._left_out.size else super()._rows()

    def _moves_state(self, state: TableState) -> bool:
        return super()._moves_state(state) or bool(self._judged is not None and self._judged.dead)

    def _creates_empty(self) -> bool:
        return super()._creates_empty() or bool(self._judged is not None and self._judged.dead)

    def _tombstones(self, state: TableState) -> tuple[str, ...]:
        assert self._judged is not None
        known = () if self._swaps else state.tombstones
        if not self._judged.dead:
            return known
        return self._table.staging.tombstones.added(known, self._judged.dead, self._judged.dead[0].schema)

    @property
    def _swaps(self) -> bool:
        return self._attempt.kind is AttemptKind.FULL_REFRESH

    def _judge(self, snapshot: Snapshot | None) -> Judged:
        versions, table = self._table.spec.info.versions, self._table
        assert versions is not None
        schema = self._target_schema(snapshot)
        budget = table.context.budget
        staged = _Staged(super()._rows(), schema, versions, table.spec.deleted, limit_bytes=budget.merge_bytes)
        lake = None if self._swaps or snapshot is None else _Lake(table, snapshot, staged)
        judged = Judged()
        for rows in staged.passes():
            newest = versions.newest(rows)
            late = lake.overtaken(newest) if lake is not None else newest.clear().select(versions.keys)
            newest = versions.without(newest, late)
            known = newest.clear().select(versions.keys)
            if not self._swaps:
                late, known = self._remembered(staged, newest)
                newest = versions.without(newest, late)
            judged.left_out.append(versions.superseded(rows, newest).to_numpy().astype(np.int64))
            dead = versions.without(newest.filter(EMPTY), known)
            if dead.height:
                judged.dead.append(staged.as_batch(dead))
        return judged

    def _target_schema(self, snapshot: Snapshot | None) -> pa.Schema:
        return evolution_of(self._table.spec, snapshot).schema

    def _remembered(self, staged: _Staged, newest: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Keys that a later version has deleted, and those whose deletion in this very version is remembered."""
        versions = staged.versions
        late, same = [newest.clear().select(versions.keys)], [newest.clear().select(versions.keys)]
        for batch in self._table.staging.tombstones.batches(self._state.tombstones, staged.schema):
            known = staged.frame(batch).drop(GONE)
            late.append(versions.overtaken(newest, known))
            again = newest.join(known, on=versions.keys + versions.versions, nulls_equal=True)
            same.append(again.select(versions.keys))
        return pl.concat(late).unique(), pl.concat(same).unique()


@dataclass(frozen=True)
class _Staged:
    """Keys and versions of the staged rows, in the types that the lake has or gets."""

    rows: Rows
    whole: pa.Schema
    versions: Versions
    deleted: str | None
    limit_bytes: int

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([self.whole.field(name) for name in self.versions.columns])

    def passes(self) -> Iterator[pl.DataFrame]:
        """The rows with ROW, all of them or by hash classes of their keys."""
        size = sum(int(frame.estimated_size()) + 4 * frame.height for frame in self._frames())
        count = max(1, -(-COPIES * size // max(self.limit_bytes, 1)))
        for number in range(count):
            parts, at = [self._empty], 0
            for frame in self._frames():
                rows = frame.with_row_index(ROW, at)
                at += frame.height
                mine = rows.select(self.versions.keys).hash_rows() % count == number
                parts.append(rows if count == 1 else rows.filter(mine))
            yield pl.concat(parts, rechunk=True)

    def frame(self, batch: pa.RecordBatch) -> pl.DataFrame:
        rows = conform(batch.select(self.versions.columns), self.schema)
        named = zip(self.versions.keys + self.versions.versions, self.versions.key + self.versions.order, strict=True)
        columns = {to: _few(pl.from_arrow(rows.column(name)), name in self.versions.few) for to, name in named}
        has_mark = self.deleted is not None and self.deleted in batch.schema.names
        gone = marked(batch.column(self.deleted)) if has_mark else np.zeros(batch.num_rows, dtype=bool)
        return pl.DataFrame(columns | {GONE: pl.Series(GONE, gone, dtype=pl.Boolean)})

    def as_batch(self, frame: pl.DataFrame) -> pa.RecordBatch:
        """Keys and versions under their own names."""
        named = dict(zip(self.versions.order, self.versions.versions, strict=True))
        named |= dict(zip(self.versions.key, self.versions.keys, strict=True))
        arrays = []
        for name in self.versions.columns:
            series = frame[named[name]]
            plain = series.cast(pl.String) if name in self.versions.few else series
            arrays.append(plain.to_arrow().cast(self.schema.field(name).type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _frames(self) -> Iterator[pl.DataFrame]:
        mark = [self.deleted] if self.deleted is not None else []
        for batch in self.rows.batches([*dict.fromkeys([*self.versions.columns, *mark])]):
            yield self.frame(batch)

    @property
    def _empty(self) -> pl.DataFrame:
        return self.frame(pa.RecordBatch.from_pylist([], self.schema)).with_row_index(ROW)


def _few(values: Any, has_few: bool) -> pl.Series:  # noqa: FBT001  of a column, never spelled out
    series = pl.Series(values=values)
    return series.cast(pl.Categorical) if has_few else series


class _Lake:
    """The versions that the lake has of staged keys, looked for in files that can hold one."""

    def __init__(self, table: OpenTable, snapshot: Snapshot, staged: _Staged) -> None:
        self._table = table
        self._snapshot = snapshot
        self._staged = staged
        self._filters = KeyFilters(table.store, table.path)

    def overtaken(self, newest: pl.DataFrame) -> pl.DataFrame:
        """Staged keys of which the lake has a later version."""
        versions, staged = self._staged.versions, self._staged
        nothing = newest.clear().select(versions.keys)
        if not newest.height:
            return nothing
        first = newest[versions.keys[0]].sort(nulls_last=False).alias(versions.key[0])
        paths = candidate_files(self._snapshot.files, first, leaves=None)["path"].to_list()
        few = not versions.is_set and newest.height <= FILTER_KEYS_MAX
        hashes = np.sort(filter_hashes(newest, versions.keys)) if few else None

        def look(path: str) -> list[pl.DataFrame]:
            verdict = self._filters.look(path, hashes) if hashes is not None else None
            if verdict is not None and not verdict.possible:
                return []
            full, found = f"{self._table.path}/{path}", []
            for _, batch in read_batches(
                self._table.store, full, columns=versions.columns, limit_bytes=COMPARE_BATCH_BYTES
            ):
                with self._table.context.watch.breathe():
                    rows = staged.frame(conform(batch, staged.schema)).drop(GONE)
                    found.append(versions.overtaken(newest, rows))
            return found

        with ThreadPoolExecutor(min(os.cpu_count() or 1, 4), thread_name_prefix="versions") as pool:
            met = [frame for frames in pool.map(look, paths) for frame in frames]
        return pl.concat([nothing, *met]).unique()


def flush_of(attempt: Attempt, spec: TableSpec) -> type[Flush]:
    """How the chunks of an attempt get into the table."""
    if attempt.replaces_range:
        return BackfillFlush
    return VersionedFlush if spec.info.versions is not None else Flush


def by_number(table: OpenTable) -> OpenTable:
    """For files read again: the rows of a key go by the numbers of their files where the table declares no versions."""
    info, spec = table.spec.info, table.spec
    has_own_places = info.deleted is not None  # its marks are of lost rows, and no two files share a key
    if info.versions is not None or has_own_places or spec.cursor is None:
        return table
    versions = Versions(spec.primary_key, (spec.cursor,))
    return replace(table, spec=replace(spec, info=replace(info, versions=versions)))


def refuse_versions(table: OpenTable, what: str) -> None:
    """Raises ConfigError for a table whose older rows must not come back, where `what` would bring them."""
    if table.spec.info.versions is not None:
        raise ConfigError(
            f"{what} would bring back rows of older versions, or deleted ones, in this table",
            table=table.id,
            remedy=f"Read its files again: import-platform backfill {table.id} --file '*'.",
        )

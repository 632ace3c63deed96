"""The flush of a backfill: it replaces a range, and yields row by row to what is newer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from import_platform.core.merge import MergePlan
from import_platform.core.splice import Positions
from import_platform.core.state import Attempt
from import_platform.io.delta import Snapshot
from import_platform.io.parquet import without_rows
from import_platform.pipeline.context import OpenTable
from import_platform.pipeline.flush import Flush
from import_platform.pipeline.incoming import Rows
from import_platform.pipeline.newer_rows import NewerRows, Start


@dataclass(frozen=True)
class RowsWithout:
    """The same rows but for those at the ordinals `left_out`, which are sorted."""

    rows: Rows
    left_out: Positions

    @property
    def decoded_bytes(self) -> int:
        return self.rows.decoded_bytes

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        at = 0
        for batch in self.rows.batches(columns):
            kept = without_rows(batch, at, self.left_out)
            at += batch.num_rows
            if kept.num_rows:
                yield kept


class BackfillFlush(Flush):
    """A flush whose range may change under it. A table without key or cursor reads its range again instead."""

    def __init__(self, table: OpenTable, attempt: Attempt, *args: Any, **kwargs: Any) -> None:
        super().__init__(table, attempt, *args, **kwargs)
        self._overtaken: Positions | None = None
        self._newer: NewerRows | None = None
        cursor = table.spec.cursor
        if table.spec.primary_key and cursor is not None:
            files = table.log.paths_at(attempt.start_version) if attempt.start_version >= 0 else frozenset[str]()
            start = Start(frozenset(attempt.range_files), files)
            self._partly = self._newer = NewerRows(table, attempt.key, cursor, start=start, rows=super()._rows())

    def _dropped(self, snapshot: Snapshot | None) -> list[str]:
        if self._newer is None or snapshot is None:
            return super()._dropped(snapshot)
        judged = self._newer.judge(snapshot)
        if judged.vanished.size:
            raise self._range_changed()
        if self._overtaken is None or not np.array_equal(judged.overtaken, self._overtaken):
            self._overtaken = judged.overtaken
            if self._merge is not None:
                self._merge.discard(())
            self._merge = None
        return judged.dropped

    def _check_moves(self, snapshot: Snapshot | None, plan: MergePlan) -> None:
        if self._newer is None:
            super()._check_moves(snapshot, plan)

    def _rows(self) -> Rows:
        staged = super()._rows()
        return staged if self._overtaken is None or not self._overtaken.size else RowsWithout(staged, self._overtaken)

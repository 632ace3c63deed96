"""A backfill against what other writers committed since its pass over the source began, row by row.

Of a row that both have, the one with the greater cursor value stays; the pass's where they are equal. A row of the
range that the pass has not seen goes away only if the lake had that very version when the pass began, because then the
source has lost it; otherwise a sync has brought it meanwhile, and it stays. A row of the pass that the lake had then
and has no more was deleted meanwhile, and nothing says which of the two is newer: such a pass must begin anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.merge import ROW, last_versions
from import_platform.core.splice import Positions
from import_platform.io.delta import Snapshot
from import_platform.io.parquet import conform, read_batches
from import_platform.pipeline.context import LakeTable
from import_platform.pipeline.incoming import Rows
from import_platform.pipeline.replace_range import PartlyInRange, range_files, whole_files

COMPARE_BATCH_BYTES = 4 << 20
UNSEEN_ROWS = 1 << 20
"""Rows that the pass has not seen are looked up in the files of its start so many at a time."""

_NONE: Positions = np.empty(0, np.int64)


@dataclass(frozen=True)
class Start:
    """The lake when the pass began: the files of its range, and every file (None where nobody knows any more)."""

    range_files: frozenset[str]
    files: frozenset[str] | None


@dataclass(frozen=True)
class Judged:
    """`dropped` files go away whole, and of others the rows `gone`; `overtaken` are ordinals of the pass's rows that
    are older than what the lake has, and `vanished` those that others deleted from it since the start."""

    dropped: list[str]
    gone: dict[str, Positions]
    overtaken: Positions
    vanished: Positions


class NewerRows(PartlyInRange):
    """Judges one pass against the lake as it is at a commit. A file is compared once, however many rounds are lost.

    Memory while comparing: key and cursor of the pass's rows, of one batch, and of UNSEEN_ROWS rows not seen.
    """

    def __init__(self, table: LakeTable, key: str, cursor: str, *, start: Start, rows: Rows) -> None:
        super().__init__(table, key)
        self._cursor = cursor
        self._start = start
        self._rows = rows
        self._gone: dict[str, Positions] = {}
        self._overtaken: dict[str, Positions] = {}
        self._met: dict[str, Positions] = {}
        self._judged: tuple[int, Judged] | None = None

    def rows(self, snapshot: Snapshot) -> dict[str, Positions]:
        return self.judge(snapshot).gone

    def judge(self, snapshot: Snapshot) -> Judged:
        """What becomes of the range's rows in this snapshot, and of the pass's."""
        if self._judged is None or self._judged[0] != snapshot.version:
            self._judged = (snapshot.version, self._decided(snapshot))
        return self._judged[1]

    def _decided(self, snapshot: Snapshot) -> Judged:
        inside = range_files(self._table, snapshot, self._key)
        whole = set(whole_files(self._table, snapshot, self._key))
        fresh = [path for path in inside if path not in self._start.range_files]
        moved = self._newer_elsewhere(snapshot, inside)
        removed = self._removed(snapshot)
        if any(path not in self._met for path in [*fresh, *moved, *removed]):
            self._compare(snapshot, [path for path in fresh if path not in self._met], whole, [*moved, *removed])
        left = self._met_in([*fresh, *moved])
        gone = {path: rows for path, rows in super().rows(snapshot).items() if path in self._start.range_files}
        gone |= {path: self._gone[path] for path in fresh}
        rows = dict(snapshot.files.select("path", "rows").iter_rows())
        dropped = [p for p in inside if (p in whole and p not in gone) or (p in gone and gone[p].size == rows[p])]
        return Judged(
            dropped,
            {path: positions for path, positions in gone.items() if positions.size and path not in dropped},
            np.unique(np.concatenate([_NONE, *(self._overtaken[path] for path in [*fresh, *moved])])),
            np.setdiff1d(self._met_in(removed), left),
        )

    def _met_in(self, paths: Sequence[str]) -> Positions:
        """Ordinals of the pass's keys that the files have."""
        return np.unique(np.concatenate([_NONE, *(self._met[path] for path in paths)]))

    def _removed(self, snapshot: Snapshot) -> list[str]:
        """Files of the start that are gone, those of the range alone where rows never move."""
        known = self._start.files or frozenset[str]()
        before = self._start.range_files if self._table.identity.partition.stable else self._start.range_files | known
        return sorted(before - set(snapshot.files["path"]))

    def _newer_elsewhere(self, snapshot: Snapshot, inside: Collection[str]) -> list[str]:
        """Files outside the range that are newer than the start: a row of the pass may have moved there since."""
        if self._table.identity.partition.stable:
            return []
        old = {*inside, *(self._start.files or ())}
        return snapshot.files.filter(~pl.col("path").is_in(list(old)))["path"].to_list()

    def _compare(self, snapshot: Snapshot, fresh: Sequence[str], whole: Collection[str], other: Sequence[str]) -> None:
        keyed = _Keyed(self._table, self._cursor, snapshot.schema)
        seen = _Seen.of(keyed, self._rows)
        unseen = _Unseen(keyed, sorted(self._start.range_files))
        for path in fresh:
            among = None if path in whole else self.positions(path, snapshot.schema)
            self._gone[path], self._overtaken[path], self._met[path] = seen.against(path, unseen, among=among)
        for path in other:
            if path not in self._met:
                _, self._overtaken[path], self._met[path] = seen.against(path, None, among=None)
        for path, positions in unseen.had().items():
            self._gone[path] = np.union1d(self._gone[path], positions)


@dataclass(frozen=True)
class _Keyed:
    """Reads the key and the cursor of rows, as c0, c1, .. and `cursor`: names of a source may look like patterns."""

    table: LakeTable
    cursor: str
    schema: pa.Schema

    @property
    def on(self) -> list[str]:
        return [f"c{at}" for at in range(len(self.table.identity.primary_key))]

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys([*self.table.identity.primary_key, self.cursor]))

    def frame(self, batch: pa.RecordBatch) -> pl.DataFrame:
        wanted = conform(batch, pa.schema([self.schema.field(name) for name in self.columns]))
        names = dict(zip(self.on, self.table.identity.primary_key, strict=True)) | {"cursor": self.cursor}
        return pl.DataFrame({to: pl.from_arrow(wanted.column(name)) for to, name in names.items()})

    def file(self, path: str) -> Iterator[pl.DataFrame]:
        """The rows of a file of the lake in batches, each with its position `at`."""
        full = f"{self.table.path}/{path}"
        for at, batch in read_batches(self.table.store, full, columns=self.columns, limit_bytes=COMPARE_BATCH_BYTES):
            yield self.frame(batch).with_columns(at=pl.int_range(at, at + batch.num_rows, dtype=pl.Int64))


@dataclass(frozen=True)
class _Seen:
    """The pass's rows: all of them, and the last version of each key with its cursor as `theirs`."""

    keyed: _Keyed
    every: pl.DataFrame
    last: pl.DataFrame

    @classmethod
    def of(cls, keyed: _Keyed, rows: Rows) -> _Seen:
        empty = keyed.frame(pa.RecordBatch.from_pylist([], keyed.schema))
        every = pl.concat([empty, *(keyed.frame(batch) for batch in rows.batches(keyed.columns))]).with_row_index(ROW)
        return cls(keyed, every, last_versions(every, keyed.on, "cursor").rename({"cursor": "theirs"}))

    def against(
        self, path: str, unseen: _Unseen | None, *, among: Positions | None
    ) -> tuple[Positions, Positions, Positions]:
        """Positions of the file's rows that the pass replaces, ordinals of the pass's rows that are overtaken, and of
        the keys that the file has at all.

        Of the range are the rows `among`, None meaning all; those that the pass has not seen go to `unseen`.
        """
        on, replaced, overtaken = self.keyed.on, [_NONE], [self.last.clear().select(self.keyed.on)]
        common = [_NONE]
        for rows in self.keyed.file(path):
            found = rows.join(self.last, on=on, how="left", nulls_equal=True)
            met = pl.col(ROW).is_not_null()
            common.append(found.filter(met)[ROW].to_numpy().astype(np.int64))
            overtaken.append(found.filter(met & _later("cursor", "theirs")).select(on))
            inside = found if among is None else found.filter(pl.Series(np.isin(found["at"].to_numpy(), among)))
            replaced.append(inside.filter(met & ~_later("cursor", "theirs"))["at"].to_numpy())
            if unseen is not None:
                unseen.add(path, inside.filter(~met))
        losers = self.every.join(pl.concat(overtaken), on=on, how="semi", nulls_equal=True)
        return (
            np.sort(np.concatenate(replaced)),
            losers[ROW].to_numpy().astype(np.int64),
            np.unique(np.concatenate(common)),
        )


@dataclass
class _Unseen:
    """Rows of newer files that the pass has not seen, looked up in the files of its start. Mutable: gathers them."""

    keyed: _Keyed
    start_files: Sequence[str]
    _waiting: list[pl.DataFrame] = field(default_factory=list)
    _had: dict[str, list[Positions]] = field(default_factory=dict)

    def add(self, path: str, rows: pl.DataFrame) -> None:
        if rows.height:
            self._waiting.append(rows.select(*self.keyed.on, "cursor", "at", path=pl.lit(path)))
        if sum(part.height for part in self._waiting) >= UNSEEN_ROWS:
            self._look_up()

    def had(self) -> dict[str, Positions]:
        """path -> positions of the rows that the lake had in this version when the pass began."""
        self._look_up()
        return {path: np.concatenate(parts) for path, parts in self._had.items()}

    def _look_up(self) -> None:
        if not self._waiting:
            return
        waiting = pl.concat(self._waiting)
        self._waiting.clear()
        for start in self.start_files:
            for rows in self.keyed.file(start):
                before = rows.select(*self.keyed.on, theirs="cursor")
                same = waiting.join(before, on=self.keyed.on, how="inner", nulls_equal=True)
                for (path,), had in same.filter(~_later("cursor", "theirs")).group_by("path"):
                    self._had.setdefault(str(path), []).append(had["at"].to_numpy())


def _later(column: str, than: str) -> pl.Expr:
    """Whether one cursor value comes after the other; null comes first."""
    left, right = pl.col(column), pl.col(than)
    return (left > right).fill_null(value=False) | (left.is_not_null() & right.is_null())

"""Rejected rows that a pass has resolved: it read their file or the whole table again, or their key came once more.

They stay in the ledger, marked, and are listed no more. Only what a pass has read after the rejection counts, and a
pass is looked at behind its last commit but before its staged chunks go away; so a killed one is made up for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from import_platform.core.lattice import fitted
from import_platform.core.state import Attempt, AttemptKind, Checkpoint
from import_platform.core.versions import Versions, comes_after
from import_platform.errors import ImportPlatformError
from import_platform.io.ledger import RejectedId, open_rejected, resolve_rejected
from import_platform.pipeline.context import OpenTable

READ_ANEW = "the whole table was read again"
FILE_AGAIN = "its file was read again"
IMPORTED = "a row of its key was imported since"
AGAIN = "a row of its key was rejected again since"

_FILE = "_file"
_AT, _CAME = "_settle_at", "_settle_came"
Row = Mapping[str, str | None]


def settle_rejected(table: OpenTable, attempt: Attempt, chunks: Sequence[Checkpoint]) -> None:
    """Marks the rejected rows of a table that a finished pass resolved; `chunks` are all of the pass.

    It costs a look at the ledger where the table has no open ones, else it reads the staged keys. What cannot be
    written is said, and those rows stay listed. Memory: key and version of each open one, and a staged batch.
    """
    try:
        _settle(table, attempt, chunks)
    except (ImportPlatformError, pl.exceptions.PolarsError, OSError) as error:
        # The rows are in the lake: what the ledger for people lacks must not fail their sync.
        said = error.message if isinstance(error, ImportPlatformError) else type(error).__name__
        table.context.observer.note(table.id, f"resolved rows stay in `rejected list`: {said}")


def _settle(table: OpenTable, attempt: Attempt, chunks: Sequence[Checkpoint]) -> None:
    spec = table.spec
    done: dict[RejectedId, str] = {}
    keyed = _Keyed(table.identity.primary_key, spec.info.versions)
    for batch in open_rejected(table.context.lake, spec.source, spec.name, before=attempt.started_at):
        for row in batch.to_pylist():
            id_ = RejectedId(row["attempt"], row["chunk"], row["row_number"])
            values = {**json.loads(row["key"]), **(json.loads(row["row"]) if row["row"] else {})}
            if attempt.kind is AttemptKind.FULL_REFRESH:
                done[id_] = READ_ANEW
            elif _is_of(attempt, values.get(_FILE)):
                done[id_] = FILE_AGAIN
            else:
                keyed.add(id_, values)
    if keyed.ids:
        done |= keyed.imported(table, attempt, chunks) | keyed.rejected_again(table, attempt, chunks)
    resolve_rejected(table.context.lake, spec.source, spec.name, done, attempt=attempt.id, since=attempt.started_at)


def _is_of(attempt: Attempt, name: str | None) -> bool:
    """Whether the pass read the file, or the archive that it is a member of."""
    return name is not None and any(name == file.path or name.startswith(f"{file.path}/") for file in attempt.files)


@dataclass
class _Keyed:
    """Open rows that say which key they are of. Mutable: `add` fills it."""

    key: tuple[str, ...]
    versions: Versions | None
    ids: list[RejectedId] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys([*self.key, *(self.versions.order if self.versions is not None else ())]))

    def add(self, id_: RejectedId, values: Row) -> None:
        if self.key and all(values.get(name) is not None for name in self.columns):
            self.ids.append(id_)
            self.rows.append(values)

    def imported(self, table: OpenTable, attempt: Attempt, chunks: Sequence[Checkpoint]) -> dict[RejectedId, str]:
        """Those whose key came again, and, where rows have versions, in the same or a later one."""
        found: dict[RejectedId, str] = {}
        asked: pl.DataFrame | None = None
        for batch in self._staged(table, attempt, chunks):
            came = pl.DataFrame({name: pl.Series(values=pl.from_arrow(batch.column(name))) for name in self.columns})
            if asked is None or asked.select(self.columns).schema != came.schema:
                asked = self._asked(batch.schema)
            both = asked.join(came, on=self.key, how="inner", suffix=_CAME)
            if self.versions is not None:
                order = self.versions.order
                theirs = [f"{name}{_CAME}" if name not in self.key else name for name in order]
                both = both.filter(~comes_after(order, theirs))
            found |= {self.ids[at]: IMPORTED for at in both[_AT].unique().to_list()}
        return found

    def rejected_again(self, table: OpenTable, attempt: Attempt, chunks: Sequence[Checkpoint]) -> dict[RejectedId, str]:
        if self.versions is not None:
            return {}
        again = set()
        for chunk in chunks:
            for row in table.staging.rejected(attempt.id, chunk):
                values = {**row.key, **(json.loads(row.row) if row.row else {})}
                again.add(tuple(values.get(name) for name in self.key))
        every = zip(self.ids, self.rows, strict=True)
        return {id_: AGAIN for id_, row in every if tuple(row[name] for name in self.key) in again}

    def _staged(self, table: OpenTable, attempt: Attempt, chunks: Sequence[Checkpoint]) -> Iterator[pa.RecordBatch]:
        for chunk in chunks:
            yield from table.staging.batches(attempt.id, chunk, self.columns)

    def _asked(self, schema: pa.Schema) -> pl.DataFrame:
        """The open rows in the types of a chunk, and which they are; those that do not fit are of no key in it."""
        columns = [pl.Series(_AT, range(len(self.ids)), pl.Int64)]
        for name in self.columns:
            texts = pa.array([row[name] for row in self.rows], pa.string())
            columns.append(pl.Series(name, pl.from_arrow(fitted(texts, schema.field(name).type)[0])))
        return pl.DataFrame(columns).drop_nulls(self.columns)

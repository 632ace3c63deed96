"""Columns of a table widened in place: a change of metadata where every reader takes old files as they are, else a
rewrite of just the files that some reader could not read, in the same commit."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.core.budget import MemoryBudget
from import_platform.core.schema import needs_rewrite
from import_platform.io.delta import Commit, Snapshot
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import LeafWriter, WrittenFile, conform, read_batches
from import_platform.pipeline.context import LakeTable
from import_platform.pipeline.relayout import Gathered, Relayout, Relayouted

REWRITE_BATCH_BYTES = 2 << 20


def widen_columns(
    table: LakeTable, fields: Sequence[pa.Field], *, budget: MemoryBudget, watch: MemoryWatch
) -> Relayouted:
    """Gives columns wider types in one commit; readers see the same values before and after.

    Memory: one row group of a file. Raises CommitConflict as a relayout does.
    """
    return _Widening(table, fields, budget=budget, watch=watch).run()


class _Widening(Relayout):
    """A relayout that leaves every row in its leaf and changes the table's columns with its commit."""

    def __init__(
        self, table: LakeTable, fields: Sequence[pa.Field], *, budget: MemoryBudget, watch: MemoryWatch
    ) -> None:
        self._fields = {field.name: field for field in fields}
        self._footers: dict[str, pa.Schema] = {}
        super().__init__(table, self._unreadable, Gathered("all"), kind="widen", budget=budget, watch=watch)

    def _unreadable(self, snapshot: Snapshot) -> Sequence[str]:
        wanted = self._wanted(snapshot)
        if not needs_rewrite(snapshot.schema, wanted):
            return []
        return [path for path in snapshot.files["path"] if needs_rewrite(self._schema_of(path), wanted)]

    def _schema_of(self, path: str) -> pa.Schema:
        if path not in self._footers:
            with self._table.store.open_input(f"{self._table.path}/{path}") as file:
                self._footers[path] = pq.read_schema(file)
        return self._footers[path]

    def _wanted(self, snapshot: Snapshot) -> pa.Schema:
        return pa.schema([self._fields.get(field.name, field) for field in snapshot.schema])

    def _is_done(self, snapshot: Snapshot, inputs: Sequence[str]) -> bool:
        return bool(self._wanted(snapshot) == snapshot.schema)

    def _gather(self, snapshot: Snapshot, paths: Sequence[str]) -> list[WrittenFile]:
        leaves = dict(snapshot.files.select("path", "leaf").iter_rows())
        written: list[WrittenFile] = []
        for path in paths:
            first, schema = self._table.identity.primary_key, self._wanted(snapshot)
            writer = LeafWriter(self._table.store, self._table.path, leaves[path], schema, statistics_first=first)
            full = f"{self._table.path}/{path}"
            for _, batch in read_batches(self._table.store, full, limit_bytes=REWRITE_BATCH_BYTES):
                with self._watch.breathe():
                    writer.write(conform(batch, schema))
            written += writer.close()
        return written

    def _commit(self, base: Snapshot, commit: Commit) -> None:
        self._table.log.commit_schema(base, commit, self._wanted(base))

"""The engine of this project, at the level of a flush: staged rows in, one committed version out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc

from bench.cases import TableAt
from bench.engines.protocol import PARTITION, Conflict
from import_platform.core.budget import budget_of
from import_platform.core.identity import Identity
from import_platform.core.state import TableState
from import_platform.core.table import UNPARTITIONED, Granularity, TimePartition
from import_platform.errors import CommitConflict
from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.memory import MemoryWatch, held_bytes, tame_allocators
from import_platform.io.staging import Staging
from import_platform.io.store import Store
from import_platform.pipeline.merge import Merge, Target

CURSOR = "updated_at"


@dataclass(frozen=True)
class StagedBatch:
    """A batch file as the rows of a flush; `_partition` is left out, for the engine finds the leaf itself."""

    path: Path

    @cached_property
    def schema(self) -> pa.Schema:
        with pa.OSFile(str(self.path)) as file:
            schema = ipc.open_file(file).schema
        return schema.remove(schema.get_field_index(PARTITION))

    @cached_property
    def decoded_bytes(self) -> int:
        return sum(batch.nbytes for batch in self.batches())

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(str(self.path)) as file:
            names = ipc.open_file(file).schema.names
            wanted = [names.index(name) for name in columns or self.schema.names]
            reader = ipc.open_file(file, options=ipc.IpcReadOptions(included_fields=wanted))
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)


class Engine:
    """Merge, state put if absent, compare-and-swap, a look at the result: what a flush does, under the same watch."""

    def __init__(self, table: TableAt, mode: str) -> None:
        self._at = table
        partition = UNPARTITIONED
        if table.partition_column:
            partition = TimePartition(table.partition_column, Granularity.DAY)
        self._identity = Identity(partition, (table.key,))
        self._merge: Merge | None = None

    def prepare(self) -> None:
        """What every sync does first. Store, log and staging are opened on the clock, like everybody's table."""
        tame_allocators()

    def merge(self, batch: Path) -> None:
        with MemoryWatch(self._at.budget_bytes) as watch:
            self._flush(batch, watch)

    def _flush(self, batch: Path, watch: MemoryWatch) -> None:
        lake, _, name = self._at.uri.rpartition("/")
        store = Store(lake, env=self._at.storage_options)
        log = DeltaLog(store, name)
        snapshot = log.snapshot()
        assert snapshot is not None
        staging = Staging(store, f"_staging/{name}")
        state = staging.state(snapshot.transaction)
        if self._merge is None:
            budget = budget_of(self._at.budget_bytes, base_bytes=held_bytes())
            target = Target(store, name, snapshot.schema, self._identity, CURSOR)
            self._merge = Merge(target, StagedBatch(batch), by_key=True, budget=budget, watch=watch)
        merged = self._merge.write(self._merge.plan(snapshot))
        number = max(state.number, staging.last_claimed()) + 1
        while not staging.claim(TableState(number=number, flush=batch.name)):
            number += 1
        try:
            log.commit(snapshot, Commit(merged.adds, merged.plan.removes, number=number))
        except CommitConflict as error:
            raise Conflict from error
        after = log.snapshot()
        assert after is not None
        assert after.version > snapshot.version
        self._merge.discard(merged.adds)

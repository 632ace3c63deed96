"""delta-rs MERGE in three forms: as documented, with a literal partition predicate, and leaf by leaf."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from bench.cases import TableAt
from bench.engines.protocol import PARTITION, Conflict, read_batch


class Engine:
    """`mode`: `default` matches keys only; `literal` names the leaves of the batch; `per-leaf` merges one by one."""

    def __init__(self, table: TableAt, mode: str) -> None:
        self._at = table
        self._mode = mode

    def prepare(self) -> None:
        """Nothing."""

    def merge(self, batch: Path) -> None:
        rows = read_batch(batch)
        leaves = pc.unique(rows[PARTITION]).to_pylist()
        if self._mode == "per-leaf":
            for leaf in leaves:
                self._merge(rows.filter(pc.equal(rows[PARTITION], leaf)), [leaf])
        else:
            self._merge(rows, leaves if self._mode == "literal" else [])

    def _merge(self, rows: pa.Table, leaves: list[str]) -> None:
        key = self._at.key
        predicate = f"t.{key} = s.{key}"
        if leaves:
            names = ", ".join(f"'{leaf}'" for leaf in leaves)
            predicate += f" AND t.{PARTITION} = s.{PARTITION} AND t.{PARTITION} IN ({names})"
        table = DeltaTable(self._at.uri, storage_options=dict(self._at.storage_options))
        merger = table.merge(rows, predicate, source_alias="s", target_alias="t")
        try:
            merger.when_matched_update_all().when_not_matched_insert_all().execute()
        except CommitFailedError as error:
            raise Conflict from error

"""deltalite: a streaming upsert in Rust that needs Python 3.12."""

from __future__ import annotations

from pathlib import Path

import deltalite

from bench.cases import TableAt
from bench.engines.protocol import PARTITION, Conflict, read_batch


class Engine:
    """Every knob at its default; the batch's own partition column says which leaves to look in."""

    def __init__(self, table: TableAt, mode: str) -> None:
        self._at = table

    def prepare(self) -> None:
        """Nothing."""

    def merge(self, batch: Path) -> None:
        rows = read_batch(batch)
        table = deltalite.DeltaLiteTable.open(self._at.uri, storage_options=dict(self._at.storage_options))
        try:
            table.upsert(rows, primary_keys=[self._at.key], partition_key=PARTITION)
        except deltalite.DeltaLiteCommitConflictError as error:
            raise Conflict from error

"""What an engine is to the harness."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pyarrow import ipc

from bench.cases import TableAt

PARTITION = "_partition"


class Conflict(Exception):
    """Another writer committed first and nothing was written; the harness asks again, as a person's script would."""


class Engine(Protocol):
    """Merges batches of rows into one table, by key."""

    def __init__(self, table: TableAt, mode: str) -> None: ...

    def prepare(self) -> None:
        """What is done once per table and not per merge; outside the clock."""

    def merge(self, batch: Path) -> None:
        """Reads the batch (Arrow IPC, with `_partition`) and makes its rows part of the table, durably.

        Raises:
            Conflict: lost against another writer.
        """


def read_batch(path: Path) -> pa.Table:
    """The whole batch in memory."""
    with pa.OSFile(str(path)) as file:
        return ipc.open_file(file).read_all()

"""What the plain file rewrites share: touched files found by the log's statistics, one commit for all of them."""

from __future__ import annotations

import json
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from bench.cases import TableAt
from bench.engines.protocol import PARTITION, Conflict, read_batch


class FileRewrite(ABC):
    """Each file that can hold a key, judged by its bounds, is written again without the batch's keys."""

    def __init__(self, table: TableAt, mode: str) -> None:
        self.at = table

    def prepare(self) -> None:  # noqa: B027  most have nothing to prepare
        """Nothing."""

    @abstractmethod
    def take_keys(self, keys: pa.Table) -> None:
        """Called first, with the key column of the batch."""

    @abstractmethod
    def survivors(self, source: Path, target: Path) -> None:
        """Writes the rows of `source` whose key is not in the batch."""

    def merge(self, batch: Path) -> None:
        rows = read_batch(batch)
        table = DeltaTable(self.at.uri)
        self.take_keys(rows.select([self.at.key]))
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = []
        for file in self._touched(table, rows):
            path, leaf = unquote(file["path"]), {PARTITION: file[f"partition.{PARTITION}"]}
            actions.append(RemoveAction(path, True, now, file["size_bytes"], leaf))
            target = self._new_path(leaf[PARTITION])
            self.survivors(Path(self.at.uri, path), Path(self.at.uri, target))
            actions.append(self._added(target, leaf[PARTITION], now))
        actions += self._incoming(rows, now)
        try:
            table.create_write_transaction(
                actions, "append", table.schema(), [PARTITION], commit_properties=CommitProperties(max_commit_retries=0)
            )
        except CommitFailedError as error:
            raise Conflict from error

    def _touched(self, table: DeltaTable, rows: pa.Table) -> list[dict]:
        bounds = pc.min_max(rows[self.at.key]).as_py()
        files = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        low, high = f"min.{self.at.key}", f"max.{self.at.key}"
        return [f for f in files if f[low] is None or (f[low] <= bounds["max"] and f[high] >= bounds["min"])]

    def _incoming(self, rows: pa.Table, now: int) -> list[AddAction]:
        adds = []
        for leaf in pc.unique(rows[PARTITION]).to_pylist():
            target = self._new_path(leaf)
            mine = rows.filter(pc.equal(rows[PARTITION], leaf)).drop_columns([PARTITION])
            pq.write_table(mine, Path(self.at.uri, target), compression="zstd", compression_level=1)
            adds.append(self._added(target, leaf, now))
        return adds

    def _new_path(self, leaf: str) -> str:
        Path(self.at.uri, f"{PARTITION}={leaf}").mkdir(exist_ok=True)
        return f"{PARTITION}={leaf}/{uuid.uuid4().hex}.parquet"

    def _added(self, path: str, leaf: str, now: int) -> AddAction:
        full = Path(self.at.uri, path)
        statistics = json.dumps({"numRecords": pq.read_metadata(full).num_rows})
        return AddAction(path, full.stat().st_size, {PARTITION: leaf}, now, True, statistics)

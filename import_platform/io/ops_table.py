"""A Delta table of `_ops/`, written in batches by several processes at once and kept to a bounded number of files.

Every change is a compare-and-swap on the version that it was worked out from (`max_commit_retries=0`). Compaction is
our own: two overlapping `optimize.compact()` of deltalake 1.6.6 double every row, retries or not.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from import_platform.errors import StoreUnavailable
from import_platform.io.lake import Lake
from import_platform.io.statistics import statistics_json

FILES_MAX = 48
"""More active files than this are merged at the next batch, whoever writes it."""

SMALL_FILE_BYTES = 4 << 20
COMPACTED_BYTES = 8 << 20
"""At rest: what one compaction reads, about 100 MB decoded."""

TRIES = 20
BACKOFF_SECONDS = 0.05
KEPT_VERSIONS = timedelta(days=1)
_CLOCK = timedelta(seconds=1)
"""Bounds in the log are cut to milliseconds."""

_ONCE = CommitProperties(max_commit_retries=0)
_CONFIGURATION = {
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 1 days",
    "delta.enableExpiredLogCleanup": "true",
}


class OpsTable:
    """`_ops/<name>`. Rows are in the order of `time_column`, file by file, which is how old ones are found.

    Raises StoreUnavailable where the lake does not answer or others win every round; nothing is written by half.
    """

    def __init__(self, lake: Lake, name: str, schema: pa.Schema, *, time_column: str, partition: str = "") -> None:
        self._store = lake.store
        self._path = f"_ops/{name}"
        self._schema = schema
        self._time = time_column
        self._partition = partition
        self.uri = f"{lake.uri}/{self._path}"

    def append_new(self, rows: pa.Table, *, key: str, since: datetime) -> int:
        """Appends the rows whose `key` the table lacks and returns how many. Whoever wrote one before put a time of
        `since` or later beside it."""

        def append(table: DeltaTable) -> int:
            known = self._keys(table, key, since)
            new = rows.filter(pc.invert(pc.is_in(rows.column(key), known)))
            if new.num_rows:
                write_deltalake(table, new, mode="append", commit_properties=_ONCE)
            return int(new.num_rows)

        return self._retried(append)

    def replace(self, rows: Callable[[], pa.Table], *, predicate: str | None = None) -> None:
        """Puts what `rows` gives in the place of the rows that meet the predicate, of all where there is none.

        `rows` is asked after the version to replace is known, in each round anew.
        """

        def replace(table: DeltaTable) -> int:
            found = rows()
            write_deltalake(table, found, mode="overwrite", predicate=predicate, commit_properties=_ONCE)
            return int(found.num_rows)

        self._retried(replace)

    def read(self, columns: Sequence[str], *, since: datetime | None = None) -> pa.Table:
        """These columns of all rows, or of the files that hold rows of `since` and later. Empty without a table."""
        table = self._open()
        parts = [] if table is None else self._parts(table, columns, since)
        empty = self._schema.empty_table().select(list(columns))
        return pa.concat_tables([empty, *parts])

    def versions(self) -> int | None:
        """The newest version; None where there is no table."""
        table = self._open()
        return None if table is None else int(table.version())

    def tend(self, *, keep_since: datetime | None = None) -> None:
        """Merges small files, drops those with nothing of `keep_since` or later, deletes what no version of the last
        day names. Costs nothing to speak of while there is nothing to do."""
        if self._open() is None:
            return
        if keep_since is not None:
            self._retried(lambda table: self._forget(table, keep_since))
        if self._partition == "":
            while self._retried(self._compact):
                pass
        table = self._open()
        if table is not None:
            hours = int(KEPT_VERSIONS.total_seconds() // 3600)
            table.vacuum(retention_hours=hours, enforce_retention_duration=False, dry_run=False, full=True)

    def is_scattered(self) -> bool:
        table = self._open()
        return table is not None and len(table.file_uris()) > FILES_MAX

    def _retried(self, change: Callable[[DeltaTable], int]) -> int:
        reason: BaseException | None = None
        for round_ in range(TRIES):
            try:
                return change(self._open() or self._created())
            except (CommitFailedError, DeltaError, OSError) as error:
                self._store.refuse_missing_bucket(error)
                reason = error
                time.sleep(random.uniform(0, BACKOFF_SECONDS * 2 ** min(round_, 5)))
        raise StoreUnavailable(
            "a table of the ledger cannot be written",
            ledger=self.uri,
            reason=str(reason).splitlines()[0][:200],
            remedy="Check the lake; what is missing is written by the next run.",
        ) from reason

    def _open(self) -> DeltaTable | None:
        options = self._store.storage_options
        try:
            known = DeltaTable.is_deltatable(self.uri, storage_options=options)
            return DeltaTable(self.uri, storage_options=options) if known else None
        except (DeltaError, OSError) as error:
            self._store.refuse_missing_bucket(error)
            raise StoreUnavailable(
                "a table of the ledger cannot be read", ledger=self.uri, remedy="Check the lake; then try again."
            ) from error

    def _created(self) -> DeltaTable:
        return DeltaTable.create(
            self.uri,
            Schema.from_arrow(self._schema),
            partition_by=[self._partition] if self._partition else None,
            configuration=_CONFIGURATION,
            storage_options=self._store.storage_options,
        )

    def _keys(self, table: DeltaTable, key: str, since: datetime) -> pa.Array:
        parts = self._parts(table, [key], since)
        return pa.concat_tables([self._schema.empty_table().select([key]), *parts]).column(0).combine_chunks()

    def _parts(self, table: DeltaTable, columns: Sequence[str], since: datetime | None) -> list[pa.Table]:
        """File by file, because Polars' and DuckDB's readers would start engines for a few kilobytes."""
        files = self._files(table)
        if since is not None:
            files = files.filter(pl.col("last").is_null() | (pl.col("last") >= since - _CLOCK))
        return [self._read(path, columns) for path in files["path"]]

    def _read(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        with self._store.open_input(f"{self._path}/{path}") as file:
            found = pq.ParquetFile(file).read(columns=list(columns) if columns is not None else None)
        schema = self._schema if columns is None else pa.schema([self._schema.field(name) for name in columns])
        return found.select(schema.names).cast(schema)

    def _files(self, table: DeltaTable) -> pl.DataFrame:
        """path, size_bytes, and when the last row of each was written, in that order."""
        actions = pl.DataFrame(table.get_add_actions(flatten=True))
        last = f"max.{self._time}"
        instant = pl.Datetime("us", "UTC")
        return actions.select(
            pl.Series("path", [unquote(path) for path in actions["path"]], dtype=pl.String),
            "size_bytes",
            (pl.col(last).cast(instant) if last in actions.columns else pl.lit(None, dtype=instant)).alias("last"),
        ).sort("last", "path", nulls_last=False)

    def _forget(self, table: DeltaTable, keep_since: datetime) -> int:
        old = self._files(table).filter(pl.col("last") < keep_since - _CLOCK)
        if old.height:
            self._commit(table, old["path"].to_list(), [], data_change=True)
        return int(old.height)

    def _compact(self, table: DeltaTable) -> int:
        """Merges the oldest small files, up to COMPACTED_BYTES; returns their number, 0 where one or none is left."""
        small = self._files(table).filter(pl.col("size_bytes") < SMALL_FILE_BYTES)
        some = small.filter(pl.col("size_bytes").cum_sum() <= COMPACTED_BYTES)["path"].to_list()
        if len(some) < 2:
            return 0
        path = f"{uuid.uuid4().hex}.parquet"
        rows = pa.concat_tables([self._read(one) for one in some])
        footers: list[pq.FileMetaData] = []
        with (
            self._store.open_output(f"{self._path}/{path}") as sink,
            pq.ParquetWriter(sink, self._schema, compression="zstd", metadata_collector=footers) as writer,
        ):
            writer.write_table(rows)
        size_bytes = self._store.size_bytes(f"{self._path}/{path}") or 0
        stats = statistics_json(footers[0], self._schema.names)
        try:
            add = AddAction(path, size_bytes, {}, int(time.time() * 1000), data_change=False, stats=stats)
            self._commit(table, some, [add], data_change=False)
        except CommitFailedError:
            with suppress(StoreUnavailable):
                self._store.delete([f"{self._path}/{path}"])
            raise
        return len(some)

    def _commit(
        self, table: DeltaTable, removes: Sequence[str], adds: Sequence[AddAction], *, data_change: bool
    ) -> None:
        now = int(time.time() * 1000)
        removed = [RemoveAction(path, data_change=data_change, deletion_timestamp=now) for path in removes]
        table.create_write_transaction(
            [*removed, *adds],
            mode="append",
            schema=table.schema(),
            partition_by=[self._partition] if self._partition else None,
            commit_properties=_ONCE,
        )

"""The Delta log of one table: snapshots, and commits that are a compare-and-swap on the snapshot of their plan.

Everything here works around something measured in deltalake 1.6.6; each with a regression test:
`max_commit_retries=0` (the default retries double rows after a compaction and miss appends), `unquote` (logged paths
are percent-encoded, actions want them decoded), removes checked against the snapshot (an unknown path is accepted in
silence), the schema asserted before every commit (a changed one is ignored in silence), tables with deletion vectors
refused (removes do not match them).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from import_platform.core.identity import PROPERTY
from import_platform.core.state import APP_ID
from import_platform.core.table import PARTITION_COLUMN
from import_platform.errors import (
    CommitConflict,
    CommitOutcomeUnknown,
    ConfigError,
    InvariantBroken,
    StoreUnavailable,
)
from import_platform.io.commit_facts import run_facts
from import_platform.io.delta_handle import DeltaHandle
from import_platform.io.log_entries import add_entry, info_entry, remove_entry
from import_platform.io.parquet import WrittenFile
from import_platform.io.store import PATIENCE_SECONDS, REQUESTS, TRIES, Store

CHECKPOINT_INTERVAL = 20
T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """One version of a table.

    `files` has a row per active file: path (relative, decoded), leaf, size_bytes, rows, modified_ms and, where known,
    `min.<column>` and `max.<column>`. `schema` is without the partition column. `transaction` is the number of the
    state in force, 0 before the first.
    """

    version: int
    schema: pa.Schema
    properties: Mapping[str, str]
    files: pl.DataFrame
    transaction: int

    @property
    def rows(self) -> int:
        return int(self.files["rows"].sum())

    @property
    def size_bytes(self) -> int:
        return int(self.files["size_bytes"].sum())

    @property
    def leaves(self) -> frozenset[str]:
        return frozenset(self.files["leaf"].unique().to_list())


@dataclass(frozen=True)
class Commit:
    """One atomic change of a table. `number` is the state it makes final, 0 for changes that are none of a sync."""

    adds: Sequence[WrittenFile]
    removes: Sequence[str]
    number: int = 0
    data_change: bool = True
    facts: Mapping[str, str] | None = None

    @property
    def info(self) -> dict[str, str]:
        return {**run_facts(), **(self.facts or {})}


class DeltaLog:
    """Reads and writes the log of the table at `path` in the store."""

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = path
        self.uri = f"{store.uri}/{path}"
        self._handle = DeltaHandle(store, self.uri)

    def snapshot(self) -> Snapshot | None:
        """The newest version; None when the table does not exist. Memory follows the number of files, not rows.

        Raises:
            ConfigError: the table was made by someone else, or uses deletion vectors (import into another name).
        """
        try:
            return _snapshot(self._read(self._handle.newest))
        except TableNotFoundError:
            return None

    def committed_at(self) -> datetime:
        """When the version of the last snapshot was committed, 1970 where its log entry is gone. Reads that entry."""
        table = self._read(self._handle.held)
        history = self._read(lambda: table.history(1)) if table is not None else []
        return datetime.fromtimestamp(history[0]["timestamp"] / 1000 if history else 0, UTC)

    def at(self, version: int) -> Snapshot | None:
        """An older version; None when its log entries are gone. Commits need the newest: see `snapshot`."""
        try:
            return _snapshot(DeltaTable(self.uri, version=version, storage_options=self._store.storage_options))
        except DeltaError:
            return None

    def paths_at(self, version: int) -> frozenset[str] | None:
        """The files of an older version; None when its log entries are gone. A version before the first has none."""
        found = self.at(version) if version >= 0 else None
        return frozenset[str]() if version < 0 else None if found is None else frozenset(found.files["path"])

    def create(self, schema: pa.Schema, commit: Commit, *, identity: str) -> None:
        """Makes the table with its first rows as version 0, in one put-if-absent: no reader sees it empty.

        Written by hand because deltalake's own creation refuses custom properties in the call that also adds files.

        Raises:
            CommitConflict: somebody else created it first.
            InvariantBroken: a file is not there in full.
        """
        self._check_files(commit)
        now = int(time.time() * 1000)
        entries: list[dict[str, object]] = [
            info_entry("CREATE TABLE AS SELECT", commit.info, now),
            {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
            {
                "metaData": {
                    "id": str(uuid.uuid4()),
                    "format": {"provider": "parquet", "options": {}},
                    "schemaString": _delta_schema(schema).to_json(),
                    "partitionColumns": [PARTITION_COLUMN],
                    "createdTime": now,
                    "configuration": {PROPERTY: identity, "delta.checkpointInterval": str(CHECKPOINT_INTERVAL)},
                }
            },
            {"txn": {"appId": APP_ID, "version": commit.number, "lastUpdated": now}},
        ]
        entries += [add_entry(file, now, data_change=True) for file in commit.adds]
        if not self._put_entry(0, entries):
            raise CommitConflict("another writer created the table first", table=self.uri)

    def commit(self, base: Snapshot, commit: Commit) -> None:
        """Adds and removes files as version base + 1, or not at all.

        Raises:
            CommitConflict: another version landed first; nothing happened (reload and plan again).
            CommitOutcomeUnknown: the store gave no clear answer (reload and look at the transaction number).
            InvariantBroken: the commit is not of this snapshot.
        """
        table = self._check(base, commit)
        now = int(time.time() * 1000)
        transactions = [Transaction(APP_ID, commit.number, now)] if commit.number else None
        with self._committing(base):
            table.create_write_transaction(
                _actions(base, commit, now),
                mode="append",
                schema=table.schema(),
                partition_by=[PARTITION_COLUMN],
                commit_properties=CommitProperties(
                    max_commit_retries=0, app_transactions=transactions, custom_metadata=commit.info
                ),
            )

    def commit_identity(self, base: Snapshot, commit: Commit, *, identity: str) -> None:
        """Adds and removes files and replaces the table's identity property, all as version base + 1, or nothing.

        Written by hand because deltalake sets properties in a commit of its own, between which and the files a reader
        would see leaves of one partition under the properties of another.

        Raises:
            CommitConflict, CommitOutcomeUnknown, InvariantBroken: as `commit`.
        """
        self._commit_metadata(base, commit, "REPARTITION", {PROPERTY: identity})

    def commit_schema(self, base: Snapshot, commit: Commit, schema: pa.Schema) -> None:
        """Adds and removes files and gives the columns their new types, all as version base + 1, or nothing.

        Written by hand because deltalake ignores a changed schema in silence. Raises as `commit`.
        """
        self._commit_metadata(base, commit, "CHANGE COLUMN", {}, schema)

    def _commit_metadata(
        self,
        base: Snapshot,
        commit: Commit,
        operation: str,
        properties: Mapping[str, str],
        schema: pa.Schema | None = None,
    ) -> None:
        table = self._check(base, commit)
        now = int(time.time() * 1000)
        metadata = table.metadata()
        leaves = dict(base.files.select("path", "leaf").iter_rows())
        entries: list[dict[str, object]] = [
            info_entry(operation, commit.info, now),
            {
                "metaData": {
                    "id": str(metadata.id),
                    "format": {"provider": "parquet", "options": {}},
                    "schemaString": table.schema().to_json() if schema is None else _delta_schema(schema).to_json(),
                    "partitionColumns": [PARTITION_COLUMN],
                    "createdTime": metadata.created_time,
                    "configuration": {**metadata.configuration, **properties},
                }
            },
        ]
        if commit.number:
            entries.append({"txn": {"appId": APP_ID, "version": commit.number, "lastUpdated": now}})
        entries += [remove_entry(path, leaves[path], now, data_change=commit.data_change) for path in commit.removes]
        entries += [add_entry(file, now, data_change=commit.data_change) for file in commit.adds]
        if not self._put_entry(base.version + 1, entries):
            raise CommitConflict("another writer committed first", table=self.uri, version=base.version + 1)

    def _put_entry(self, version: int, entries: Sequence[Mapping[str, object]]) -> bool:
        log = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
        return self._store.put_if_absent(f"{self._path}/_delta_log/{version:020d}.json", log.encode())

    def holds(self, version: int, mark: str) -> bool | None:
        """Whether that version is the commit whose facts contain the (unique) mark; None while there is none.

        For a commit that was reported lost: a store that retried it may have refused its own first try.
        """
        entry = self._store.get(f"{self._path}/_delta_log/{version:020d}.json")
        return None if entry is None else mark.encode() in entry

    @contextmanager
    def _committing(self, base: Snapshot) -> Iterator[None]:
        try:
            yield
        except CommitFailedError as error:
            raise CommitConflict("another writer committed first", table=self.uri, version=base.version + 1) from error
        except (DeltaError, OSError) as error:
            raise CommitOutcomeUnknown(
                "the commit was not acknowledged",
                table=self.uri,
                reason=_one_line(error),
                remedy="Run the sync again; it looks at the log first.",
            ) from error

    def _read(self, request: Callable[[], T]) -> T:
        """What deltalake answers; asked again where an answer of a remote store broke off, which deltalake does not do.

        Raises TableNotFoundError, ConfigError where the bucket is missing, and StoreUnavailable where it was an outage.
        """
        started = time.monotonic()
        for left in range(TRIES - 1, -1, -1):
            try:
                return request()
            except TableNotFoundError:
                raise
            except (DeltaError, OSError) as error:  # OSError: what deltalake raises where the store does not answer
                self._store.refuse_missing_bucket(error)
                if self._store.is_local or not left or time.monotonic() - started > PATIENCE_SECONDS:
                    raise StoreUnavailable(
                        "the table's log cannot be read",
                        table=self.uri,
                        reason=_one_line(error),
                        remedy="Check the lake; the next run goes on.",
                    ) from error
            time.sleep(0.1 * (TRIES - left))
        raise AssertionError("the last try returns or raises")

    def _check(self, base: Snapshot, commit: Commit) -> DeltaTable:
        table = self._loaded(base)
        missing = set(commit.removes) - set(base.files["path"])
        if missing:
            raise InvariantBroken("a commit removes files that are not in its snapshot", count=len(missing))
        if commit.number and commit.number <= base.transaction:
            raise InvariantBroken("a commit repeats a transaction number", found=commit.number, last=base.transaction)
        self._check_files(commit)
        return table

    def _loaded(self, base: Snapshot) -> DeltaTable:
        table = self._read(self._handle.held)
        if table is None or table.version() != base.version:
            raise InvariantBroken("a commit was planned on another snapshot than the loaded one", table=self.uri)
        return table

    def _check_files(self, commit: Commit) -> None:
        paths = [f"{self._path}/{file.path}" for file in commit.adds]
        with ThreadPoolExecutor(1 if self._store.is_local else REQUESTS, thread_name_prefix="check") as pool:
            for file, size_bytes in zip(commit.adds, pool.map(self._store.size_bytes, paths), strict=True):
                if size_bytes != file.size_bytes:
                    raise InvariantBroken("a file to be committed is missing or has another size", path=file.path)

    def add_columns(self, base: Snapshot, fields: Sequence[pa.Field]) -> None:
        """Adds nullable columns as a commit of its own; the caller reloads and plans again. Raises as `commit`."""
        table = self._loaded(base)
        delta = [Field(f.name, Schema.from_arrow(pa.schema([f])).fields[0].type, nullable=True) for f in fields]
        with self._committing(base):
            table.alter.add_columns(delta, commit_properties=CommitProperties(max_commit_retries=0))

    def dead_files(self, older_than: timedelta) -> set[str]:
        """Data files that no version younger than `older_than` names: expired tombstones and orphans."""
        table, hours = self._read(self._handle.held), int(older_than.total_seconds() // 3600)
        if table is None:
            return set()
        found = self._read(lambda: table.vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True))
        return {unquote(path) for path in found}


def _delta_schema(schema: pa.Schema) -> Schema:
    return Schema.from_arrow(pa.schema([*schema, pa.field(PARTITION_COLUMN, pa.string())]))


def _actions(base: Snapshot, commit: Commit, now_ms: int) -> list[AddAction | RemoveAction]:
    sizes = {path: (size, leaf) for path, size, leaf in base.files.select("path", "size_bytes", "leaf").iter_rows()}
    actions: list[AddAction | RemoveAction] = [
        RemoveAction(
            path=path,
            data_change=commit.data_change,
            deletion_timestamp=now_ms,
            size=sizes[path][0],
            partition_values={PARTITION_COLUMN: sizes[path][1]},
        )
        for path in commit.removes
    ]
    actions += [
        AddAction(
            path=file.path,
            size=file.size_bytes,
            partition_values={PARTITION_COLUMN: file.leaf},
            modification_time=now_ms,
            data_change=commit.data_change,
            stats=file.statistics,
        )
        for file in commit.adds
    ]
    return actions


def _snapshot(table: DeltaTable) -> Snapshot:
    protocol = table.protocol()
    if "deletionVectors" in (protocol.reader_features or []) or "columnMapping" in (protocol.reader_features or []):
        raise ConfigError(
            "the table uses deletion vectors or column mapping",
            table=table.table_uri,
            remedy="Import into another table name, or purge and downgrade this one.",
        )
    if table.metadata().partition_columns != [PARTITION_COLUMN]:
        raise ConfigError(
            "the folder holds a Delta table of someone else",
            table=table.table_uri,
            remedy="Move it away or import into another lake.",
        )
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    leaf = f"partition.{PARTITION_COLUMN}"
    bounds = [name for name in actions.columns if name.startswith(("min.", "max."))]
    files = actions.select(
        pl.Series("path", [unquote(path) for path in actions["path"]], dtype=pl.String),
        pl.col(leaf).cast(pl.String).alias("leaf") if leaf in actions.columns else pl.lit("all").alias("leaf"),
        pl.col("size_bytes").cast(pl.Int64),
        pl.col("num_records").cast(pl.Int64).alias("rows"),
        pl.col("modification_time").cast(pl.Int64).alias("modified_ms"),
        *bounds,
    )
    schema = pa.schema(table.schema().to_arrow())
    return Snapshot(
        version=table.version(),
        schema=schema.remove(schema.get_field_index(PARTITION_COLUMN)),
        properties=dict(table.metadata().configuration),
        files=files,
        transaction=table.transaction_version(APP_ID) or 0,
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).replace("\x1b[31m↳\x1b[0m", "").split())[:200]  # its longer messages are drawn as trees

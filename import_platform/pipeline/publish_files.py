"""Tables of the lake as Parquet or CSV files in a folder, on disk or S3: a whole set each time, the last one archived.

A set is a folder of its own under the folder; `_published.json` names the set that counts and is replaced in one step,
so whoever asks it reads all of the old rows or all of the new. What a killed run left is deleted by the next.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from import_platform.core.publication import PublishReport, ToFolder
from import_platform.core.report import Stage, Status
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.delta import DeltaLog
from import_platform.io.memory import MemoryWatch
from import_platform.io.parquet import ROW_GROUP_BYTES, TARGET_FILE_BYTES
from import_platform.io.store import Store
from import_platform.pipeline.lake_changes import LakeChanges
from import_platform.pipeline.publish import Publishing

MANIFEST = "_published.json"
COPY_BYTES = 4 << 20
_SET = re.compile(r"v[0-9]{10}-[0-9a-f]{8}")


def publish_files(work: Publishing, name: str, to: ToFolder) -> PublishReport:
    """Writes every row of the newest version, unless the folder has that version already. One publisher at a time.

    Memory: a row group of 16 MiB and its encoding. Raises ConfigError, StoreUnavailable, Interrupted; after any of them
    the set before still counts.
    """
    started = time.monotonic()
    snapshot = DeltaLog(work.lake.store, work.lake.table_path(work.source, name)).snapshot()
    table = f"{work.source}/{name}"
    if snapshot is None:
        raise ConfigError(
            "the table is not in the lake yet", table=table, remedy=f"Import it first: import-platform sync {table}"
        )
    changes = LakeChanges(work.lake, work.source, name, snapshot, merge_bytes=work.budget.merge_bytes)
    store = Store(to.folder, setting="publish.folder")
    report = PublishReport(table, delta_version=snapshot.version, target=to.folder)
    with MemoryWatch(work.budget.total_bytes) as watch:
        _Folder(work, store, to, report, watch).publish(changes)
    report.seconds, report.peak_memory_bytes = round(time.monotonic() - started, 3), watch.peak_bytes
    return report


@dataclass
class _Folder:
    work: Publishing
    store: Store
    to: ToFolder
    report: PublishReport
    watch: MemoryWatch

    def publish(self, changes: LakeChanges) -> None:
        manifest = self._manifest()
        self._put_away(manifest)
        mark = {"lake_id": changes.id(), "version": changes.snapshot.version, "format": self.to.format}
        if all(manifest.get(name) == value for name, value in mark.items()):
            return
        name = f"v{changes.snapshot.version:010d}-{uuid.uuid4().hex[:8]}"
        files = self._written(changes, name)
        entry = {
            **mark,
            "table": self.report.table,
            "set": name,
            "files": files,
            "rows": self.report.rows_read,
            "previous": manifest.get("set"),
        }
        self.store.put(MANIFEST, json.dumps(entry, indent=1).encode())
        self._put_away(entry)
        self.report.status, self.report.how = Status.DONE, "files"
        self.report.rows_inserted, self.report.files_added = self.report.rows_read, len(files)

    def _manifest(self) -> dict[str, Any]:
        data = self.store.get(MANIFEST)
        manifest: dict[str, Any] = json.loads(data) if data else {}
        if manifest and manifest.get("table") != self.report.table:
            raise ConfigError(
                "another table is published to this folder",
                folder=self.to.folder,
                other=manifest.get("table"),
                remedy="Publish to another folder.",
            )
        return manifest

    def _put_away(self, manifest: dict[str, Any]) -> None:
        """Archives the set before the one that counts, and deletes what a killed run left."""
        for name in self.store.folders(""):
            if not _SET.fullmatch(name) or name == manifest.get("set"):
                continue
            if name == manifest.get("previous") and self.to.archive is not None:
                archive = Store(self.to.archive, setting="publish.archive")
                for entry in list(self.store.entries(name)):
                    self._copy(entry.path, archive)
            self.store.remove_folder(name)

    def _copy(self, path: str, archive: Store) -> None:
        with self.store.open_input(path) as source, archive.open_output(path) as sink:
            while data := source.read(COPY_BYTES):
                sink.write(data)

    def _written(self, changes: LakeChanges, name: str) -> list[str]:
        """Paths of finished files; one at least, so that a table without rows still shows its columns."""
        schema = changes.snapshot.schema
        paths: list[str] = []
        batches = changes.rows(changes.whole())
        batch = next(batches, None)
        while batch is not None or not paths:
            path = f"{name}/part-{len(paths):05d}.{self.to.format}"
            with self.store.open_output(path) as sink:
                with _WRITERS[self.to.format](sink, schema) as writer:
                    batch = self._fill(writer, sink, batch, batches)
                self.report.bytes_written += sink.tell()
            paths.append(path)
        return paths

    def _fill(
        self, writer: Any, sink: pa.NativeFile, batch: pa.RecordBatch | None, batches: Iterator[pa.RecordBatch]
    ) -> pa.RecordBatch | None:
        while batch is not None and sink.tell() < TARGET_FILE_BYTES:
            if self.work.stop():
                raise Interrupted("stopped before the end; the set before still counts", remedy="Publish again.")
            with self.watch.breathe():
                writer.write(batch)
            self.report.rows_read += batch.num_rows
            self.report.bytes_read += batch.nbytes
            rows, bytes_ = self.report.rows_read, self.report.bytes_read
            self.work.observer.progress(self.report.table, Stage.READING, rows=rows, bytes_=bytes_, total_rows=None)
            batch = next(batches, None)
        return batch


@dataclass
class _Parquet:
    sink: pa.NativeFile
    schema: pa.Schema
    pending: list[pa.RecordBatch] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.file = pq.ParquetWriter(self.sink, self.schema, compression="zstd", compression_level=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._drain()
        self.file.close()

    def write(self, batch: pa.RecordBatch) -> None:
        self.pending.append(batch)
        if sum(each.nbytes for each in self.pending) >= ROW_GROUP_BYTES:
            self._drain()

    def _drain(self) -> None:
        if self.pending:
            table = pa.Table.from_batches(self.pending)
            self.file.write_table(table, row_group_size=table.num_rows)
        self.pending = []


@dataclass
class _Csv:
    """RFC 4180 with a header: null is empty, an empty text is quoted, binary is hex."""

    sink: pa.NativeFile
    schema: pa.Schema

    def __enter__(self) -> Self:
        self.binary = [field.name for field in self.schema if pa.types.is_binary(field.type)]
        fields = [
            pa.field(field.name, pa.string() if field.name in self.binary else field.type) for field in self.schema
        ]
        self.texts = pa.schema(fields)
        self.file = pa_csv.CSVWriter(self.sink, self.texts)
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, batch: pa.RecordBatch) -> None:
        arrays = [
            pl.Series(pl.from_arrow(column)).bin.encode("hex").to_arrow().cast(pa.string())
            if name in self.binary
            else column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        self.file.write(pa.RecordBatch.from_arrays(arrays, schema=self.texts))


_WRITERS: dict[str, Any] = {"parquet": _Parquet, "csv": _Csv}

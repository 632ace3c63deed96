"""Anybody's Parquet files, found by a pattern and read in batches whose memory is bounded by bytes."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from import_platform.errors import ConfigError, StoreUnavailable
from import_platform.io.store import Store

CODED_BYTES = 4
"""A text column of fewer stored bytes a row is a dictionary and codes, which are five times quicker to read as such."""

PROBED_ROWS = 64
"""Rows decoded to learn how wide those of a row group are, because dictionaries hide it from the footer."""

QUOTE = "Quote it, so that the shell leaves it alone, and check the folder."


@dataclass(frozen=True)
class ParquetFiles:
    """Files in name order: what a person calls each, and its path in the store (None: on this machine's disk)."""

    names: tuple[str, ...]
    store: Store | None = None

    def schema(self, name: str) -> pa.Schema:
        """Raises ConfigError for what is no Parquet file."""
        with self._opened(name) as file:
            return file.schema_arrow

    def footer(self, name: str) -> pq.FileMetaData:
        with self._opened(name) as file:
            return file.metadata

    def marks(self) -> list[tuple[str, int, float]]:
        """Name, size and time of change of each file. Raises StoreUnavailable where one is gone by now."""
        if self.store is None:
            return [(name, *_mark_on_disk(name)) for name in self.names]
        paths = {_split(name)[1]: name for name in self.names}
        folder = os.path.commonpath([path.rpartition("/")[0] for path in paths]) if paths else ""
        found = {entry.path: entry for entry in self.store.entries(folder) if entry.path in paths}
        if len(found) < len(paths):
            raise _gone(min(set(paths.values()) - {paths[path] for path in found}))
        return [(name, found[path].size_bytes, found[path].modified_at.timestamp()) for path, name in paths.items()]

    def batches(self, name: str, *, limit_bytes: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(position of the first row, batch) of all columns, in file order. A batch decodes to about `limit_bytes`, by
        the average row of its row group, or is one row.

        Raises:
            ConfigError: the file is damaged, or no Parquet file at all.
        """
        with self._opened(name) as file:
            at = 0
            for index in range(file.num_row_groups):
                rows = _batch_rows(file, index, limit_bytes)
                for batch in file.iter_batches(batch_size=rows, row_groups=[index]):
                    yield at, batch
                    at += batch.num_rows

    def row_group(self, name: str, index: int, *, columns: Sequence[str], limit_bytes: int) -> Iterator[pa.RecordBatch]:
        """The rows of one row group, some columns only, in batches as those of `batches`; same errors. Columns of few
        values come as the dictionaries that they are stored as."""
        with self._opened(name) as file:
            rows = _batch_rows(file, index, limit_bytes, columns)
            coded = _coded(file.metadata.row_group(index), columns)
        with self._opened(name, dictionaries=coded) as file:
            names = list(columns)
            yield from file.iter_batches(batch_size=rows, row_groups=[index], columns=names, use_threads=False)

    @contextmanager
    def _opened(self, name: str, *, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
        options: dict[str, Any] = {"pre_buffer": False, "buffer_size": 1 << 20, "page_checksum_verification": True}
        try:
            with self._input(name) as source:
                yield pq.ParquetFile(source, read_dictionary=list(dictionaries) or None, **options)
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(
                "a file cannot be read as Parquet",
                file=name,
                reason=(str(error).splitlines() or [""])[0][:200],
                remedy="Leave it out of the pattern, or mend it.",
            ) from error

    def _input(self, name: str) -> pa.NativeFile:
        return pa.OSFile(name) if self.store is None else self.store.open_input(_split(name)[1])


def find(pattern: str, *, env: Mapping[str, str] | None = None, remedy: str = QUOTE) -> ParquetFiles:
    """The files that a pattern names, by name: `*`, `?`, `[..]`, `**`; a folder means its *.parquet at any depth.

    `s3://bucket/prefix/*.parquet` is looked for with the usual AWS_* variables; there `*` goes through folders as well.

    Raises:
        ConfigError: nothing matches (`remedy` says what to do), or the address is of neither kind.
    """
    found = _on_s3(pattern, env) if "://" in pattern else _on_disk(pattern)
    if not found.names:
        raise ConfigError(
            "no file matches the pattern",
            found=pattern[:300],
            remedy=remedy,
        )
    return found


def _on_disk(pattern: str) -> ParquetFiles:
    if Path(pattern).is_dir():
        pattern = f"{glob.escape(pattern.rstrip('/'))}/**/*.parquet"
    paths = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207  it may be absolute
    return ParquetFiles(tuple(sorted(path for path in paths if Path(path).is_file())))


def _on_s3(pattern: str, env: Mapping[str, str] | None) -> ParquetFiles:
    if not pattern.startswith("s3://"):
        raise ConfigError(
            "the files are neither on this machine nor on S3",
            found=pattern.split("://", maxsplit=1)[0] + "://",
            remedy="Write a path or s3://bucket/prefix/*.parquet.",
        )
    bucket, path = _split(pattern)
    store = Store(bucket, env=env, setting="the files' bucket")
    if not any(sign in path for sign in "*?["):
        path = path if path.endswith(".parquet") else f"{path.rstrip('/')}/*.parquet".lstrip("/")
    fixed = path[: min((path.find(sign) for sign in "*?[" if sign in path), default=len(path))]
    folder = fixed.rpartition("/")[0]
    names = (entry.path for entry in store.entries(folder))
    return ParquetFiles(tuple(sorted(f"{bucket}/{name}" for name in names if fnmatch.fnmatchcase(name, path))), store)


def _mark_on_disk(name: str) -> tuple[int, float]:
    try:
        stat = Path(name).stat()
    except FileNotFoundError:
        raise _gone(name) from None
    return stat.st_size, stat.st_mtime_ns


def _gone(name: str) -> StoreUnavailable:
    return StoreUnavailable("a file is gone", file=name, remedy="Run it again.")


def _split(address: str) -> tuple[str, str]:
    """s3://bucket, path."""
    bucket, _, path = address.removeprefix("s3://").partition("/")
    return f"s3://{bucket}", path


def _coded(group: pq.RowGroupMetaData, columns: Sequence[str]) -> list[str]:
    chunks = [group.column(i) for i in range(group.num_columns)]
    return [
        chunk.path_in_schema
        for chunk in chunks
        if chunk.path_in_schema in columns
        and chunk.physical_type == "BYTE_ARRAY"
        and "RLE_DICTIONARY" in chunk.encodings
        and chunk.total_uncompressed_size < CODED_BYTES * group.num_rows
    ]


def _batch_rows(file: pq.ParquetFile, index: int, limit_bytes: int, columns: Sequence[str] | None = None) -> int:
    """Rows of the row group that decode to about the limit."""
    group = file.metadata.row_group(index)
    chunks = [group.column(i) for i in range(group.num_columns)]
    sizes = [c.total_uncompressed_size for c in chunks if columns is None or c.path_in_schema.split(".")[0] in columns]
    width = max(sum(sizes) / max(group.num_rows, 1), 1)
    probed = max(1, min(PROBED_ROWS, int(limit_bytes / (2 * width))))
    names = None if columns is None else list(columns)
    first = next(file.iter_batches(batch_size=probed, row_groups=[index], columns=names), None)
    if first is not None and first.num_rows:
        width = max(width, first.nbytes / first.num_rows)
    return max(1, min(int(group.num_rows), int(limit_bytes / width)))

"""One DuckDB file attached read-only in an instance of its own, with a memory limit, and errors in our own words.

What does not fit into the memory limit goes to a folder of the session's own under the system's temporary one (TMPDIR),
which only its owner can read and which is gone after it.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from import_platform.core.budget import MIB
from import_platform.errors import ConfigError, ImportPlatformError, SourceRejected, SourceUnavailable

if TYPE_CHECKING:
    import duckdb

MEMORY_BYTES = 64 * MIB


class OutOfMemory(SourceRejected):
    """The rows asked for do not fit into the memory limit: ask for fewer, or for fewer columns at a time."""


class Session:
    """Statements on one file; made by `open_file`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self._path):
            return self._connection.execute(sql, list(parameters)).fetchall()

    def table(self, sql: str, parameters: Sequence[Any] = ()) -> pa.RecordBatch:
        """A result small enough to hold, as one batch."""
        with translated(self._path):
            found = self._connection.execute(sql, list(parameters)).to_arrow_table().combine_chunks()
        batches = found.to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=found.schema)

    def stream(self, sql: str, *, rows: int) -> Iterator[pa.RecordBatch]:
        with translated(self._path):
            reader = self._connection.execute(sql).to_arrow_reader(rows)
        while True:
            with translated(self._path):
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
            yield batch


@contextmanager
def open_file(
    path: Path, *, memory_bytes: int = MEMORY_BYTES, timeout_seconds: float | None = None
) -> Iterator[Session]:
    """The file, opened read-only: while it is open nobody can write to it, so every statement sees the same rows."""
    import duckdb  # noqa: PLC0415  only who reads a DuckDB file needs it

    if not path.is_file():
        raise ConfigError("there is no such DuckDB file", path=str(path), remedy="Correct path: in the connection.")
    with tempfile.TemporaryDirectory(prefix="import_platform-duckdb-") as spill:
        limit = f"{max(memory_bytes, 48 * MIB)}B"
        with translated(path):
            connection = duckdb.connect(
                ":memory:", config={"threads": 1, "memory_limit": limit, "temp_directory": spill}
            )
        yield from _attached(connection, path, timeout_seconds)


def _attached(connection: duckdb.DuckDBPyConnection, path: Path, timeout_seconds: float | None) -> Iterator[Session]:
    timer = threading.Timer(timeout_seconds, connection.interrupt) if timeout_seconds is not None else None
    try:
        with translated(path):
            quoted = str(path.absolute()).replace("'", "''")
            connection.execute(f"ATTACH '{quoted}' AS src (READ_ONLY)")
            connection.execute("USE src")
            connection.execute("SET TimeZone = 'UTC'")
            # Freed memory goes back to the system, so that the sync's other steps have it.
            connection.execute("SET allocator_flush_threshold = '1MB'")
            connection.execute("SET allocator_bulk_deallocation_flush_threshold = '1MB'")
        if timer is not None:
            timer.start()
        yield Session(connection, path)
    finally:
        if timer is not None:
            timer.cancel()
        connection.close()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns a driver's error into one of ours. Its text may quote a value, so it is left out of most."""
    import duckdb  # noqa: PLC0415

    try:
        yield
    except duckdb.Error as error:
        raise _in_our_words(error, path) from None


def _in_our_words(error: Exception, path: Path) -> ImportPlatformError:
    name, text = type(error).__name__, str(error)
    if name == "OutOfMemoryException":
        return OutOfMemory(
            "a row or a view of the DuckDB file does not fit into its share of the memory budget",
            path=str(path),
            remedy="Set IMPORT_PLATFORM_MEMORY higher.",
        )
    if name == "InterruptException":
        return SourceUnavailable("the statement passed its time limit", path=str(path), remedy="Try again.")
    if name == "IOException" and "lock" in text.lower():
        return SourceUnavailable(
            "another process is writing to the DuckDB file",
            path=str(path),
            remedy="Try again when its writer has closed it; DuckDB lets nobody read meanwhile.",
        )
    if name in ("IOException", "PermissionException"):
        return SourceRejected(
            "the DuckDB file cannot be opened",
            path=str(path),
            remedy="Check that it is a DuckDB file, of this version or older, that the user may read.",
        )
    if name in ("CatalogException", "BinderException"):
        return SourceRejected(
            "the source has no such table or column",
            path=str(path),
            remedy="Run `import-platform tables` to see what it offers.",
        )
    return SourceRejected(
        "the DuckDB file could not be read", path=str(path), found=name, remedy="Open it with DuckDB and look."
    )

"""Rows of Parquet files sorted on disk by DuckDB, whose sort spills by itself and is better than one of ours."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from import_platform.core.budget import MemoryBudget
from import_platform.errors import ConfigError, Interrupted
from import_platform.io.parquet_files import ParquetFiles

BATCH_BYTES = 4 << 20
MEMORY_DIVISOR = 3
"""DuckDB is told a third of what is free: at a limit of 1 GiB its process held 1.6 (measured, grouping text)."""


@contextmanager
def sorted_files(
    files: ParquetFiles,
    columns: Sequence[str],
    order: Sequence[str],
    *,
    budget: MemoryBudget,
    scratch: Path,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[ParquetFiles]:
    """The same rows in order, in a file that lives as long as the block. Text is ordered by its bytes.

    Disk under `scratch`: up to three times the rows' decoded size.

    Raises:
        ConfigError: the disk is full, or a file is not as the others.
        Interrupted: stopped on request while rows were read; what was read is gone.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sort-", dir=scratch) as folder:
        path = Path(folder) / "sorted.parquet"
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{budget.free_bytes // MEMORY_DIVISOR}B",
            "threads": str(os.cpu_count() or 1),
            "temp_directory": f"{folder}/spill",
            "preserve_insertion_order": "false",
        }
        with closing(duckdb.connect(":memory:", config=config)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            cut = threading.Event()
            connection.register("unsorted", _rows(files, columns, stop, cut))
            keys = ", ".join(_quoted(name) for name in order)
            try:
                connection.execute(
                    f"COPY (SELECT * FROM unsorted ORDER BY {keys}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"
                )
            except duckdb.Error as error:
                raise ConfigError(
                    "the rows could not be sorted on disk",
                    reason=str(error).splitlines()[0][:200],
                    scratch=str(scratch),
                    remedy="Give the scratch folder more room, or raise IMPORT_PLATFORM_MEMORY.",
                ) from error
        if cut.is_set():
            raise Interrupted("stopped while the rows were sorted", remedy="The next run sorts again.")
        yield ParquetFiles((str(path),))


def _rows(
    files: ParquetFiles, columns: Sequence[str], stop: Callable[[], bool], cut: threading.Event
) -> pa.RecordBatchReader:
    """All rows, or where somebody wants a stop the first ones, and `cut` says so: an error here would be DuckDB's."""
    schema = files.schema(files.names[0])
    wanted = pa.schema([schema.field(name) for name in columns])

    def batches() -> Iterator[pa.RecordBatch]:
        for name in files.names:
            for _, batch in files.batches(name, limit_bytes=BATCH_BYTES):
                if stop():
                    cut.set()
                    return
                yield batch.select(list(columns)).cast(wanted)

    return pa.RecordBatchReader.from_batches(wanted, batches())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

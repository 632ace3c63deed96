"""Entries of a Delta log as JSON, for the commits that are written by hand. `now` is in milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping

from import_platform.core.table import PARTITION_COLUMN
from import_platform.io.parquet import WrittenFile


def info_entry(operation: str, info: Mapping[str, str], now: int) -> dict[str, object]:
    return {"commitInfo": {"timestamp": now, "operation": operation, "operationParameters": {}, **info}}


def remove_entry(path: str, leaf: str, now: int, *, data_change: bool) -> dict[str, object]:
    return {
        "remove": {
            "path": path,
            "deletionTimestamp": now,
            "dataChange": data_change,
            "extendedFileMetadata": False,
            "partitionValues": {PARTITION_COLUMN: leaf},
        }
    }


def add_entry(file: WrittenFile, now: int, *, data_change: bool) -> dict[str, object]:
    return {
        "add": {
            "path": file.path,
            "partitionValues": {PARTITION_COLUMN: file.leaf},
            "size": file.size_bytes,
            "modificationTime": now,
            "dataChange": data_change,
            "stats": file.statistics,
        }
    }

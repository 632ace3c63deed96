"""The rows that a grouping reads: Parquet files of a pattern, or those of one version of a table in the lake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from import_platform.core.grouping import DeclaredGrouping
from import_platform.errors import ConfigError
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.parquet_files import ParquetFiles, find
from import_platform.io.store import Store

FIRST_ROW_BYTES = 1


@dataclass(frozen=True)
class GroupInput:
    """Files in the order in which they follow one another. `identity` changes with anything that is written to them."""

    files: ParquetFiles
    columns: tuple[str, ...]
    identity: str


def input_of(lake: Lake, declared: DeclaredGrouping) -> GroupInput:
    """Raises ConfigError: no file matches the pattern, one is no Parquet file, or the table is not in the lake yet."""
    if declared.table is not None:
        return _of_table(lake, *declared.table, () if declared.sort else [*declared.by, *declared.order_by])
    assert declared.files is not None
    files = find(declared.files, remedy="Correct files: of the grouping, or bring them there.")
    columns = tuple(files.schema(files.names[0]).names)
    return GroupInput(files, columns, identity(files))


def identity(files: ParquetFiles) -> str:
    """Of names, sizes and times of change."""
    return _digest(files.marks())


def _of_table(lake: Lake, source: str, table: str, ordered: Sequence[str]) -> GroupInput:
    path = lake.table_path(source, table)
    snapshot = DeltaLog(lake.store, path).snapshot()
    if snapshot is None:
        name = f"{source}/{table}"
        raise ConfigError(
            "the table is not in the lake yet", table=name, remedy=f"Import it first: import-platform sync {name}"
        )
    names = tuple(f"{lake.uri}/{path}/{file}" for file in sorted(snapshot.files["path"].to_list()))
    # A file of the lake is written once, so its name says what is in it.
    files = ParquetFiles(names, None if lake.store.is_local else Store("/".join(lake.uri.split("/", 3)[:3])))
    return GroupInput(_in_order(files, ordered), tuple(snapshot.schema.names), _digest([lake.uri, *names]))


def _in_order(files: ParquetFiles, ordered: Sequence[str]) -> ParquetFiles:
    """By the first row of each, because names of the lake's files say nothing of their keys. One short read a file."""
    if not ordered or len(files.names) < 2:
        return files
    first = {name: _first_row(files, name, ordered) for name in files.names}
    return replace(files, names=tuple(sorted(files.names, key=lambda name: (first[name], name))))


def _first_row(files: ParquetFiles, name: str, ordered: Sequence[str]) -> list[tuple[bool, Any]]:
    missing = sorted(set(ordered) - set(files.schema(name).names))
    if missing:
        raise ConfigError(
            "a file has no such column", file=name, column=missing[0], remedy="Name columns that every file has."
        )
    rows = next(files.row_group(name, 0, columns=ordered, limit_bytes=FIRST_ROW_BYTES))
    return [(value is None, value) for value in (rows.column(column)[0].as_py() for column in ordered)]


def _digest(told: Sequence[Any]) -> str:
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()

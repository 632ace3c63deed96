"""Checks whether Parquet files are sorted, reading them once as a stream inside a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from import_platform.core.budget import MIB, MemoryBudget
from import_platform.core.ordering import OrderCheck, Ordering
from import_platform.core.wording import close_names
from import_platform.errors import ConfigError
from import_platform.io.parquet_files import ParquetFiles

BATCH_BYTES = 16 * MIB
"""What a reader of well-made files holds of each: the size of a row group that the platform itself writes."""


@dataclass(frozen=True)
class CheckedFiles:
    """`bytes` are at rest; `largest_row_group_bytes` is the footers' uncompressed size, which readers that take a row
    group whole hold at least."""

    ordering: Ordering
    row_groups: int
    bytes: int
    largest_row_group_bytes: int


def check_order(
    files: ParquetFiles,
    columns: Sequence[str],
    *,
    budget: MemoryBudget,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> CheckedFiles:
    """Reads every row once. Memory: one batch of a sixteenth of what is free, and its sizes.

    Raises:
        ConfigError: a file lacks a column or has it in another type than the first, its values have no order, or it
            cannot be read.
    """
    check = OrderCheck(tuple(columns))
    check_columns(files, columns)  # in all files first: a mistake is told before an hour of reading
    groups = at_rest = largest = 0
    for name in files.names:
        footer = files.footer(name)
        sizes = [footer.row_group(index).total_byte_size for index in range(footer.num_row_groups)]
        groups += len(sizes)
        at_rest += sum(_compressed(footer.row_group(index)) for index in range(footer.num_row_groups))
        largest = max([largest, *sizes])
    for name in files.names:
        check.begin(name)
        for at, batch in files.batches(name, limit_bytes=min(BATCH_BYTES, budget.page_bytes)):
            check.add(at, batch)
            on_rows(batch.num_rows)
    return CheckedFiles(check.found(), groups, at_rest, largest)


def _compressed(group: pa.parquet.RowGroupMetaData) -> int:
    return sum(group.column(index).total_compressed_size for index in range(group.num_columns))


def check_columns(files: ParquetFiles, columns: Sequence[str]) -> None:
    """Raises ConfigError where a file lacks a column, has it in another type than the first, or cannot order by it."""
    types: dict[str, pa.DataType] = {}
    for name in files.names:
        _check_columns(name, files.schema(name), columns, types)


def _check_columns(file: str, schema: pa.Schema, columns: Sequence[str], types: dict[str, pa.DataType]) -> None:
    for column in columns:
        if schema.get_field_index(column) < 0:
            close = close_names(column, schema.names) or schema.names[:5]
            raise ConfigError(
                "a file has no such column",
                file=file,
                column=column,
                found=close,
                remedy="Name columns that every file has.",
            )
        found = schema.field(column).type
        plain = found.value_type if pa.types.is_dictionary(found) else found
        if pa.types.is_nested(plain):
            raise ConfigError(
                "a column's values have no order",
                file=file,
                column=column,
                type=str(plain),
                remedy="Order by columns of plain values.",
            )
        if types.setdefault(column, plain) != plain:
            raise ConfigError(
                "a column has two types",
                column=column,
                file=file,
                found=[str(types[column]), str(plain)],
                remedy="Check the files of each type by themselves.",
            )

"""A request's window and range as conditions on one DuckDB table, and the names of its base partitions."""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from import_platform.core.arrow import polars_type
from import_platform.core.column_range import TIME_MAX, TIME_MIN, check_partition_column
from import_platform.core.layout import ALL, NULL, ColumnRange, can_push_down
from import_platform.core.leaf import NUMBER_MAX
from import_platform.core.table import HashPartition, NumberPartition, PartitionSpec, TimePartition
from import_platform.sources.base_keys import NAME_FORMATS
from import_platform.sources.clauses import range_condition, where, window_condition
from import_platform.sources.duckdb.catalog import DuckColumn, DuckTable
from import_platform.sources.duckdb.types import arrow_type, literal
from import_platform.sources.protocol import CursorWindow


def conditions(table: DuckTable, window: CursorWindow | None, range_: ColumnRange | None) -> list[str]:
    found = [window_sql(table, window), range_sql(table, range_)]
    return [*table.only, *(condition for condition in found if condition is not None)]


def window_sql(table: DuckTable, window: CursorWindow | None) -> str | None:
    """The condition of a cursor window, or None for every row."""
    if window is None:
        return None
    column = table.column(window.column)
    return window_condition(column.sql, window, partial(_bound, column))


def range_sql(table: DuckTable, range_: ColumnRange | None) -> str | None:
    """The condition of a range, or None where every row is asked for or the file could not decide it (text)."""
    if range_ is None or range_.column is None:
        return None
    column = table.column(range_.column)
    if not can_push_down(arrow_type(column.declared)):
        return None
    return range_condition(column.sql, range_, partial(_bound, column))


def base_key_sql(table: DuckTable, partition: PartitionSpec, *, limit: int) -> str | None:
    """A statement that gives at most limit + 1 names, or None for text columns."""
    if isinstance(partition, HashPartition):
        return f"SELECT '{ALL}' FROM (SELECT 1 FROM {table.sql}{where(table.only)} LIMIT 1)"
    column = table.column(partition.column)
    dtype = arrow_type(column.declared)
    check_partition_column(partition, polars_type(dtype))
    if not can_push_down(dtype):
        return None
    name = _instant_name(column, partition) if isinstance(partition, TimePartition) else _number_name(column, partition)
    return f"SELECT DISTINCT coalesce({name}, '{NULL}') FROM {table.sql}{where(table.only)} LIMIT {limit + 1}"


def _instant_name(column: DuckColumn, partition: TimePartition) -> str:
    low, high = (_bound(column, f"{instant:%Y-%m-%dT%H:%M:%S.%fZ}") for instant in (TIME_MIN, TIME_MAX))
    zoned = column.declared.endswith("ZONE")
    value = f"make_timestamp(epoch_us({column.sql}))" if zoned else column.sql
    inside = f"{column.sql} >= {low} AND {column.sql} < {high}"
    return f"CASE WHEN {inside} THEN strftime({value}, '{NAME_FORMATS[partition.granularity]}') END"


def _number_name(column: DuckColumn, partition: NumberPartition) -> str:
    """floor(value / width) of whole numbers, whose division rounds towards zero."""
    value, width = column.sql, partition.width
    whole = f"floor({value})::HUGEINT"
    if pa.types.is_integer(arrow_type(column.declared)):
        whole = f"{value}::HUGEINT"
    bucket = f"({whole} // {width} - CASE WHEN {whole} % {width} < 0 THEN 1 ELSE 0 END)"
    inside = f"{value} >= -{NUMBER_MAX} AND {value} < {NUMBER_MAX}"
    return f"CASE WHEN {inside} THEN 'n{width}_' || {bucket}::VARCHAR END"


def _bound(column: DuckColumn, value: str) -> str:
    """A canonical cursor value as a literal that compares with the column by the column's own order."""
    dtype = arrow_type(column.declared)
    if pa.types.is_timestamp(dtype):
        name = "TIMESTAMPTZ" if column.declared.endswith("ZONE") else "TIMESTAMP"
        return f"CAST('{value.replace('T', ' ').removesuffix('Z')}{'+00' if name == 'TIMESTAMPTZ' else ''}' AS {name})"
    if pa.types.is_date(dtype):
        return f"CAST('{value[:10]}' AS DATE)"
    if pa.types.is_integer(dtype):
        return f"CAST({literal(value)} AS HUGEINT)"  # the bound may lie outside of the column's width
    if pa.types.is_string(dtype):
        return literal(value)
    return (
        f"CAST({literal(value)} AS {'DOUBLE' if pa.types.is_floating(dtype) else 'DECIMAL(38,' + _scale(dtype) + ')'})"
    )


def _scale(dtype: pa.DataType) -> str:
    return str(dtype.scale) if pa.types.is_decimal(dtype) else "0"

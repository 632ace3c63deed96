"""Which base partitions a MySQL table holds, named as the partition tree names them."""

from __future__ import annotations

import pyarrow as pa

from import_platform.core.arrow import polars_type
from import_platform.core.column_range import TIME_MAX, TIME_MIN, check_partition_column
from import_platform.core.layout import ALL, NULL, can_push_down
from import_platform.core.leaf import NUMBER_MAX
from import_platform.core.table import HashPartition, NumberPartition, PartitionSpec, TimePartition
from import_platform.sources.base_keys import NAME_FORMATS
from import_platform.sources.mysql.catalog import MyColumn, MyTable
from import_platform.sources.mysql.sql import column_reference, source
from import_platform.sources.mysql.types import arrow_type, instant_literal


def base_key_sql(table: MyTable, partition: PartitionSpec, *, limit: int) -> str | None:
    """A statement that gives a column `name` of at most limit + 1 names, or None for text columns."""
    if isinstance(partition, HashPartition):
        return f"SELECT '{ALL}' AS name FROM (SELECT 1{source(table.sql)} LIMIT 1) AS one"
    column = table.column(partition.column)
    dtype = arrow_type(column.type)
    check_partition_column(partition, polars_type(dtype))
    if not can_push_down(dtype):
        return None
    name = _instant_name(column, partition) if isinstance(partition, TimePartition) else _number_name(column, partition)
    return f"SELECT DISTINCT COALESCE({name}, '{NULL}') AS name{source(table.sql)} LIMIT {limit + 1}"


def _instant_name(column: MyColumn, partition: TimePartition) -> str:
    value = column_reference(column.name)
    low, high = (instant_literal(column.type, _bound(instant, column)) for instant in (TIME_MIN, TIME_MAX))
    return (
        f"CASE WHEN {value} >= {low} AND {value} < {high}"
        f" THEN DATE_FORMAT({value}, '{NAME_FORMATS[partition.granularity]}') END"
    )


def _bound(instant: object, column: MyColumn) -> str:
    text = f"{instant:%Y-%m-%d %H:%M:%S.%f}"
    return text[:10] if column.type.name == "date" else text


def _number_name(column: MyColumn, partition: NumberPartition) -> str:
    """floor(value / width) without a rounded quotient: division of whole numbers, corrected below zero."""
    value, width = column_reference(column.name), partition.width
    whole = value if pa.types.is_integer(arrow_type(column.type)) else f"CAST(FLOOR({value}) AS SIGNED)"
    bucket = f"({whole} DIV {width}) - ({whole} MOD {width} < 0)"
    return f"CASE WHEN {value} >= -{NUMBER_MAX} AND {value} < {NUMBER_MAX} THEN CONCAT('n{width}_', {bucket}) END"

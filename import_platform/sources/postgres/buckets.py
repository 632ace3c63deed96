"""Which base partitions a PostgreSQL table holds, named as the partition tree names them."""

from __future__ import annotations

import pyarrow as pa

from import_platform.core.arrow import polars_type
from import_platform.core.column_range import TIME_MAX, TIME_MIN, check_partition_column
from import_platform.core.layout import ALL, NULL, can_push_down
from import_platform.core.leaf import NUMBER_MAX
from import_platform.core.postgres_text import literal
from import_platform.core.table import Granularity, HashPartition, NumberPartition, PartitionSpec, TimePartition
from import_platform.sources.postgres.catalog import PgColumn, PgTable
from import_platform.sources.postgres.sql import column_reference, source
from import_platform.sources.postgres.types import arrow_type

_FORMATS = {
    Granularity.YEAR: "YYYY",
    Granularity.MONTH: "YYYY-MM",
    Granularity.DAY: "YYYY-MM-DD",
    Granularity.HOUR: 'YYYY-MM-DD"T"HH24',
}


def base_key_sql(table: PgTable, partition: PartitionSpec, *, limit: int) -> str | None:
    """A statement that gives a column `key` of at most limit + 1 names, or None for text columns."""
    if isinstance(partition, HashPartition):
        return f"SELECT {literal(ALL)} AS key FROM (SELECT 1{source(table.sql)} LIMIT 1) AS one"
    column = table.column(partition.column)
    dtype = arrow_type(column.type)
    check_partition_column(partition, polars_type(dtype))
    if not can_push_down(dtype):
        return None
    if isinstance(partition, TimePartition):
        return _distinct(table, _bucket_of_instant(column, partition), _name_of_instant(partition), limit=limit)
    return _distinct(table, _bucket_of_number(column, partition), _name_of_number(partition), limit=limit)


def _distinct(table: PgTable, bucket: str, name: str, *, limit: int) -> str:
    """Names are made of the distinct buckets, which is a tenth of the work of making them of every row."""
    distinct = f"SELECT DISTINCT {bucket} AS bucket{source(table.sql)} LIMIT {limit + 1}"
    return f"SELECT coalesce({name}, {literal(NULL)}) AS key FROM ({distinct}) AS buckets"


def _bucket_of_instant(column: PgColumn, partition: TimePartition) -> str:
    """NULL for what belongs into `null`. Zones are no matter: the session's is UTC."""
    value = f"({column_reference(column.name)})"
    inside = f"{value} >= {literal(_instant(TIME_MIN, column))} AND {value} < {literal(_instant(TIME_MAX, column))}"
    return f"CASE WHEN {inside} THEN date_trunc({literal(partition.granularity.value)}, {value}::timestamptz) END"


def _instant(value: object, column: PgColumn) -> str:
    text = f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return text if column.type.name != "date" else text[:10]


def _name_of_instant(partition: TimePartition) -> str:
    return f"to_char(bucket, {literal(_FORMATS[partition.granularity])})"


def _bucket_of_number(column: PgColumn, partition: NumberPartition) -> str:
    """floor(value / width) without a rounded quotient: division of whole numbers, corrected below zero."""
    value, width = column_reference(column.name), partition.width
    inside = f"{value} >= {-NUMBER_MAX} AND {value} < {NUMBER_MAX}"
    if pa.types.is_integer(arrow_type(column.type)):
        whole = f"{value}::int8"
        bucket = f"{whole} / {width} - CASE WHEN {whole} % {width} < 0 THEN 1 ELSE 0 END"
    else:
        whole = f"floor({value}::numeric)"
        bucket = f"(div({whole}, {width}) - CASE WHEN mod({whole}, {width}) < 0 THEN 1 ELSE 0 END)::int8"
    return f"CASE WHEN {inside} THEN {bucket} END"


def _name_of_number(partition: NumberPartition) -> str:
    return f"'n{partition.width}_' || bucket"

"""What SQL asks of Python about SQLite's values: instants of text, and floors without rounding."""

from __future__ import annotations

import math
import sqlite3
from datetime import date

import pyarrow as pa

from import_platform.core.layout import NULL
from import_platform.core.leaf import NUMBER_MAX, number_base
from import_platform.core.table import NumberPartition, TimePartition
from import_platform.sources.base_keys import NAME_FORMATS
from import_platform.sources.sqlite.catalog import quote
from import_platform.sources.sqlite.types import instant_micros

_MICROS, _NUMBER_BASE = "import_platform_micros", "import_platform_number_base"


def add_functions(connection: sqlite3.Connection) -> None:
    connection.create_function(_MICROS, 1, instant_micros, deterministic=True)
    connection.create_function(_NUMBER_BASE, 2, _number_base, deterministic=True)


def comparable(column: str, dtype: pa.DataType) -> str:
    """What a column is compared by: instants as microseconds since 1970, else itself."""
    instant = pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)
    return f"{_MICROS}({quote(column)})" if instant else quote(column)


def base_name_sql(partition: TimePartition | NumberPartition, dtype: pa.DataType) -> str:
    """The base partition of a row, by the names of the partition tree."""
    if isinstance(partition, NumberPartition):
        return f"{_NUMBER_BASE}({quote(partition.column)}, {partition.width})"
    micros = comparable(partition.column, dtype)
    if pa.types.is_date(
        dtype
    ):  # the last day has no end that could be written, so it counts as absurd: see column_range
        micros = f"nullif({micros}, {instant_micros(date.max.isoformat())})"
    # Rounded down to whole seconds, also before 1970, where `/` alone would round up.
    seconds = f"({micros} - (({micros} % 1000000) + 1000000) % 1000000) / 1000000"
    return f"coalesce(strftime('{NAME_FORMATS[partition.granularity]}', {seconds}, 'unixepoch'), '{NULL}')"


def _number_base(value: object, width: int) -> str:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not -NUMBER_MAX <= value < NUMBER_MAX:
        return NULL
    return number_base(width, math.floor(value) // width)

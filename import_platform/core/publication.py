"""Where a table of the lake is published to, as its owner declared it, and how its columns are made in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from import_platform.core.report import SyncReport


class PublishMode(StrEnum):
    """Merge writes the rows that changed, found by primary key; swap replaces every row."""

    MERGE = "merge"
    SWAP = "swap"


@dataclass(frozen=True)
class ToPostgres:
    """A table of a PostgreSQL database. Its address is the value of the variable `dsn_variable` when it is published.

    Tables of one `group` (of one source) are published in one transaction; without one, a table is its own. `types`
    are the PostgreSQL types of columns that shall not be what `sql_type` makes of them. `mode` None: merge where the
    table has a primary key.
    """

    dsn_variable: str
    schema: str = "public"
    table: str | None = None
    mode: PublishMode | None = None
    group: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ToFolder:
    """Files of every row in a folder on disk or S3. The set before goes to `archive`, or away where that is None."""

    folder: str
    format: str = "parquet"
    archive: str | None = None


Publication = ToPostgres | ToFolder


@dataclass
class PublishReport(SyncReport):
    """`rows_read` were sent; inserted, updated and deleted are the target's own counts. `how` is merge, swap, create,
    files or nothing; `since` the version published before, None where every row was sent."""

    target: str = ""
    how: str = "nothing"
    since: int | None = None


_TYPES: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamp with time zone",
}


def sql_type(dtype: pa.DataType) -> str:
    """The PostgreSQL type that holds every value of a type of the lake, as `format_type` spells it."""
    if pa.types.is_decimal(dtype):
        return f"numeric({dtype.precision},{dtype.scale})"
    return _TYPES[dtype]


_WIDENINGS = frozenset({
    ("smallint", "integer"),
    ("smallint", "bigint"),
    ("integer", "bigint"),
    ("real", "double precision"),
    ("date", "timestamp with time zone"),
})  # fmt: skip


def must_widen(found: str, wanted: str) -> bool:
    """Whether a target's column of type `found` has to become `wanted`, because values of the lake may not fit it.

    Other differences are the target's owner's wish (text as jsonb, an integer as numeric): values are cast to it.
    """
    if (found, wanted) in _WIDENINGS:
        return True
    numbers = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
    if wanted == "text":
        return found in {*_TYPES.values()} - {"text"} or found.startswith("numeric(")
    if wanted.startswith("numeric(") and found.startswith("numeric("):
        (old, old_scale), (new, new_scale) = _digits(found), _digits(wanted)
        return new_scale > old_scale or new - new_scale > old - old_scale
    if wanted.startswith("numeric("):
        return found in numbers[:3]
    return wanted == "double precision" and (found in numbers[:3] or found.startswith("numeric("))


def _digits(numeric: str) -> tuple[int, int]:
    precision, scale = numeric.removeprefix("numeric(").removesuffix(")").split(",")
    return int(precision), int(scale)

"""How a table's columns follow the source's: added when new, widened in place, null when gone, never narrowed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from import_platform.core.lattice import DECIMAL_DIGITS_MAX, is_readable_as, join, kind
from import_platform.core.table import SchemaPolicy
from import_platform.errors import ConfigError


@dataclass(frozen=True)
class Evolution:
    """`schema` is the lake's after `added` columns (nullable) and `widened` ones were committed; rows conform to it.

    `left_out` are columns of the source that the policy keeps out of the lake; `checked` those whose values may not
    all fit the stored type, so that rows with one that does not are rejected.
    """

    schema: pa.Schema
    added: tuple[pa.Field, ...] = ()
    widened: tuple[pa.Field, ...] = ()
    left_out: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()


def evolve(
    lake: pa.Schema,
    source: pa.Schema,
    *,
    table: str,
    policy: SchemaPolicy = SchemaPolicy.EVOLVE,
    fixed: Collection[str] = (),
) -> Evolution:
    """What the lake's schema must become for rows of the source's schema. Column order and nullability do not count.

    `fixed` columns (key, cursor, partition) place and identify rows, so they widen within their kind only.

    Raises:
        ConfigError: a fixed column changed its kind, or the policy is `freeze` and a column is new or does not fit.
    """
    fields = {field.name: field for field in lake}
    added, widened, left_out, checked = [], [], [], []
    for want in source:
        wanted = lake_type(want.type)
        stored = fields.get(want.name)
        if stored is None:
            if policy is SchemaPolicy.FREEZE:
                raise _frozen("the source has a column that the frozen table lacks", table, want.name, None, want.type)
            if policy is SchemaPolicy.DISCARD:
                left_out.append(want.name)
            else:
                added.append(pa.field(want.name, wanted, nullable=True))
            continue
        meeting = join(wanted, stored.type)
        if want.name in fixed and wanted != stored.type and kind(meeting) != kind(stored.type):
            raise _fixed_changed(table, want.name, stored.type, want.type)
        if meeting == stored.type:
            continue
        if policy is SchemaPolicy.FREEZE:
            message = "a column changed its type at the source and the table is frozen"
            raise _frozen(message, table, want.name, stored.type, want.type)
        if policy is SchemaPolicy.DISCARD and want.name not in fixed:
            checked.append(want.name)
        else:
            widened.append(pa.field(want.name, meeting, nullable=True))
    changed = {field.name: field for field in widened}
    schema = pa.schema([*(changed.get(field.name, field) for field in lake), *added])
    return Evolution(schema, tuple(added), tuple(widened), tuple(left_out), tuple(checked))


def needs_rewrite(file: pa.Schema, table: pa.Schema) -> bool:
    """True when some reader could not read a file of one schema under a table of the other. Absent columns are null."""
    return any(
        not is_readable_as(lake_type(field.type), table.field(field.name).type)
        for field in file
        if table.get_field_index(field.name) >= 0
    )


def _fixed_changed(table: str, column: str, stored: pa.DataType, found: pa.DataType) -> ConfigError:
    return ConfigError(
        "a column that identifies or places rows changed its kind at the source",
        table=table,
        column=column,
        lake=str(stored),
        source=str(found),
        remedy="Change it back, or import the table under another name.",
    )


def _frozen(message: str, table: str, column: str, stored: pa.DataType | None, found: pa.DataType) -> ConfigError:
    return ConfigError(
        message,
        table=table,
        column=column,
        lake=str(stored) if stored is not None else None,
        source=str(found),
        remedy="Declare schema_policy: evolve (follow) or discard (leave out), or change it back at the source.",
    )


@lru_cache(maxsize=256)
def stored_schema(source: pa.Schema) -> pa.Schema:
    """The schema of a new table: the source's columns, all nullable, because a source may drop NOT NULL any day."""
    return pa.schema([pa.field(f.name, lake_type(f.type), nullable=True) for f in source])


def lake_type(dtype: pa.DataType) -> pa.DataType:
    """The type that values are stored in: Delta has one text, one binary and one timestamp type, no unsigned.

    Nested values are JSON text; a time of day, a duration and a decimal that Delta cannot hold are text too. A
    timestamp without zone is taken as UTC: its own Delta type (timestampNtz) is a table feature that not every reader
    has. Finer than a microsecond does not fit; the cast says so.
    """
    if pa.types.is_timestamp(dtype):
        return pa.timestamp("us", "UTC")
    if pa.types.is_dictionary(dtype):
        return lake_type(dtype.value_type)
    if pa.types.is_unsigned_integer(dtype):
        return {8: pa.int16(), 16: pa.int32(), 32: pa.int64()}.get(dtype.bit_width, pa.decimal128(20, 0))
    return next((stored for matches, stored in _STORED if matches(dtype)), dtype)


_STORED = (
    (lambda t: pa.types.is_large_string(t) or pa.types.is_string_view(t) or pa.types.is_null(t), pa.string()),
    (lambda t: pa.types.is_nested(t) or pa.types.is_time(t) or pa.types.is_duration(t), pa.string()),
    (lambda t: pa.types.is_decimal(t) and not (0 <= t.scale <= t.precision <= DECIMAL_DIGITS_MAX), pa.string()),
    (lambda t: pa.types.is_large_binary(t) or pa.types.is_binary_view(t), pa.binary()),
    (pa.types.is_fixed_size_binary, pa.binary()),
    (pa.types.is_date64, pa.date32()),
    (pa.types.is_float16, pa.float32()),
)

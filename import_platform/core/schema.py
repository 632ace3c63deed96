"""How a table's columns follow the source's: added when new, kept as null when gone, never narrowed."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from import_platform.errors import ConfigError


@dataclass(frozen=True)
class Evolution:
    """`schema` is the lake's after `added` columns (nullable) were committed; every source row conforms to it."""

    schema: pa.Schema
    added: tuple[pa.Field, ...]


def evolve(lake: pa.Schema, source: pa.Schema, *, table: str) -> Evolution:
    """What the lake's schema must become for rows of the source's schema. Column order and nullability do not count.

    Raises:
        ConfigError: a column changed to a type that the stored one cannot hold.
    """
    added = []
    for want in source:
        index = lake.get_field_index(want.name)
        if index < 0:
            added.append(pa.field(want.name, lake_type(want.type), nullable=True))
        elif not fits(lake_type(want.type), lake.field(index).type):
            raise ConfigError(
                "a column changed its type at the source",
                table=table,
                column=want.name,
                lake=str(lake.field(index).type),
                source=str(want.type),
                remedy="Change it back, or import the table under another name.",
            )
    return Evolution(pa.schema([*lake, *added]), tuple(added))


def fits(value: pa.DataType, stored: pa.DataType) -> bool:
    """True when every value of one type can be stored in the other without loss."""
    if value == stored:
        return True
    if pa.types.is_integer(value) and pa.types.is_integer(stored):
        return bool(value.bit_width <= stored.bit_width)
    if pa.types.is_decimal(value) and pa.types.is_decimal(stored):
        return bool(value.scale <= stored.scale and value.precision - value.scale <= stored.precision - stored.scale)
    if pa.types.is_integer(value) and pa.types.is_decimal(stored):
        return bool(stored.precision - stored.scale >= 19)
    return bool(pa.types.is_float32(value) and pa.types.is_float64(stored))


def stored_schema(source: pa.Schema) -> pa.Schema:
    """The schema of a new table: the source's columns, all nullable, because a source may drop NOT NULL any day."""
    return pa.schema([pa.field(f.name, lake_type(f.type), nullable=True) for f in source])


def lake_type(dtype: pa.DataType) -> pa.DataType:
    """The type that values are stored in: Delta has one text, one binary and one timestamp type, no unsigned.

    A timestamp without zone is taken as UTC: its own Delta type (timestampNtz) is a table feature that not every reader
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
    (lambda t: pa.types.is_large_binary(t) or pa.types.is_binary_view(t), pa.binary()),
    (pa.types.is_fixed_size_binary, pa.binary()),
    (pa.types.is_date64, pa.date32()),
    (pa.types.is_float16, pa.float32()),
)

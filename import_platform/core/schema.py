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
            added.append(pa.field(want.name, want.type, nullable=True))
        elif not fits(want.type, lake.field(index).type):
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
    return pa.schema([pa.field(f.name, f.type, nullable=True) for f in source])

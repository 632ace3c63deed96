"""What each MySQL and MariaDB type becomes in the lake: one rule per type, and the expression that reads it.

    tinyint (bool too), smallint, mediumint/int, bigint    int16, int16, int32, int64
    the same, unsigned                                     int16, int32, int64, decimal(20,0)
    year                                                   int16
    float, double                                          float, double; MySQL has no NaN and no infinity
    decimal(p,s), p <= 38                                  decimal(p,s), exact
    decimal(p,s), p > 38                                   string of the exact digits
    bit(1)                                                 bool
    bit(n)                                                 int64, decimal(20,0) for bit(64)
    char, varchar, text types, enum, set, json             string; 0x00 is a character like any other
    binary, varbinary, blob types                          binary
    date                                                   date32
    datetime, timestamp                                    timestamp[us, UTC], a datetime taken as UTC
    time                                                   string `-838:59:59.000000`: it is a duration in MySQL
    geometry types                                         string, well-known text
    every other type (uuid, inet6, vector ...)             string by CAST AS CHAR

The zero date 0000-00-00 is NULL: MySQL itself finds it by IS NULL where the column is NOT NULL. A date that no
calendar has (2024-00-10) is a rejected row, and so is text that is not UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from import_platform.sources.mysql.sql import hex_literal, literal

DECIMAL_PRECISION_MAX = 38
TIMESTAMP = pa.timestamp("us", "UTC")
TEXT = frozenset(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"))
BYTES = frozenset(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"))
INTEGERS = frozenset(("tinyint", "smallint", "mediumint", "int", "bigint", "year"))
INSTANTS = frozenset(("date", "datetime", "timestamp"))
_GEOMETRY = frozenset(
    (
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
    )
)
_SIGNED = {
    "tinyint": pa.int16(),
    "smallint": pa.int16(),
    "mediumint": pa.int32(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "year": pa.int16(),
}
_UNSIGNED = {
    "tinyint": pa.int16(),
    "smallint": pa.int32(),
    "mediumint": pa.int32(),
    "int": pa.int64(),
    "bigint": pa.decimal128(20, 0),
}


@dataclass(frozen=True)
class MyType:
    """A column's type as information_schema tells it; `bytes_max` is how wide a value can be, -1 for a number."""

    name: str
    declared: str
    precision: int = -1
    scale: int = 0
    bytes_max: int = -1
    charset: str = ""
    collation: str = ""

    @property
    def unsigned(self) -> bool:
        return "unsigned" in self.declared


def arrow_type(column: MyType) -> pa.DataType:
    """The type of the column's values in the lake."""
    if column.name in INTEGERS:
        return (_UNSIGNED if column.unsigned and column.name != "year" else _SIGNED)[column.name]
    if column.name == "decimal":
        fits = column.precision <= DECIMAL_PRECISION_MAX
        return pa.decimal128(column.precision, column.scale) if fits else pa.string()
    if column.name == "bit":
        wide = pa.decimal128(20, 0) if column.precision == 64 else pa.int64()
        return pa.bool_() if column.precision == 1 else wide
    if column.name in BYTES:
        return pa.binary()
    return {
        "float": pa.float32(),
        "double": pa.float64(),
        "date": pa.date32(),
        "datetime": TIMESTAMP,
        "timestamp": TIMESTAMP,
    }.get(column.name, pa.string())


def expression(column: MyType, reference: str) -> str:
    """SQL that reads `reference` as the text that becomes `arrow_type`."""
    if column.name == "float":
        return f"{reference} + 0e0"  # printed as itself a float has six digits
    if column.name == "bit":
        return f"{reference} + 0"
    if column.name in INSTANTS:
        return f"NULLIF({reference}, 0)" if column.name == "date" else f"NULLIF({reference}, '0000-00-00 00:00:00')"
    if column.name in _GEOMETRY:
        return f"ST_AsText({reference})"
    if column.name in INTEGERS or column.name in TEXT or column.name in BYTES or column.name in _AS_PRINTED:
        return reference
    return f"CAST({reference} AS CHAR)"


_AS_PRINTED = frozenset(("decimal", "double", "time", "enum", "set", "json"))


def order_expression(column: MyType, reference: str, *, unique: bool) -> str:
    """What a key column is ordered and compared by.

    Text of a unique key goes by its own collation, which has an index and cannot hold two equal values; text of a
    declared key goes by its bytes, because 'a' and 'A' may be equal in it.
    """
    if column.name in ("enum", "bit", "set"):
        return f"{reference} + 0"
    if column.name == "float":
        return f"{reference} + 0e0"
    if column.name in TEXT:
        return reference if unique and column.charset else by_bytes(reference)
    if column.name in INTEGERS or column.name in BYTES or column.name in INSTANTS or column.name in _ORDERED:
        return reference
    return by_bytes(f"CAST({reference} AS CHAR)")


_ORDERED = frozenset(("decimal", "double", "time"))


def key_literal(column: MyType, value: str, *, unique: bool) -> str:
    """A token's value, which is what `token_expression` gave, as something to compare `order_expression` with."""
    if column.name in INTEGERS or column.name in ("decimal", "enum", "bit", "set"):
        return number_literal(value)
    if column.name in ("float", "double"):
        printed = repr(float(value))
        return printed if "e" in printed else f"{printed}e0"
    if column.name in INSTANTS or column.name == "time":
        return instant_literal(column, value)
    if column.name in BYTES:
        return hex_literal(value)
    if column.name in TEXT and unique and column.charset:
        return f"CONVERT({literal(value)} USING {column.charset}) COLLATE {column.collation}"
    return hex_literal(value.encode().hex())


def token_expression(column: MyType, reference: str) -> str:
    """A key value as text that `key_literal` reads back exactly."""
    if column.name in BYTES:
        return f"LOWER(HEX({reference}))"
    if column.name in ("enum", "bit", "set"):
        return f"{reference} + 0"
    if column.name == "float":
        return f"{reference} + 0e0"
    if column.name in TEXT or column.name in INTEGERS or column.name in INSTANTS or column.name in _ORDERED:
        return reference
    return f"CAST({reference} AS CHAR)"


def cursor_expression(column: MyType, reference: str) -> str:
    """What a cursor column is compared by. Text goes by its bytes: the order that Python and the lake use too."""
    return by_bytes(reference) if column.name in TEXT else reference


def by_bytes(reference: str) -> str:
    return f"CAST(CONVERT({reference} USING utf8mb4) AS BINARY)"


def instant_literal(column: MyType, text: str) -> str:
    """ISO text, with or without zone, as a value of the column's kind; the session's zone is UTC."""
    plain = text.replace("T", " ").removesuffix("Z")
    kind = {"date": "DATE", "time": "TIME(6)"}.get(column.name, "DATETIME(6)")
    return f"CAST({literal(plain)} AS {kind})"


def number_literal(text: str) -> str:
    """Digits as they are; anything else is bound as text, so that a forged token cannot become a statement."""
    return text if text.removeprefix("-").replace(".", "", 1).isdigit() and text.isascii() else literal(text)

"""What each PostgreSQL type becomes in the lake: one rule per type, the expression that reads it, and its order as key.

smallint, integer, bigint            int16, int32, int64
real, double precision               float, double; NaN and infinity are kept
numeric(p,s), p <= 38                decimal(p,s), exact (s > p gives decimal(s,s), s < 0 decimal(p-s,0)); NaN is
                                     rejected
numeric                              decimal(38,18); more digits, NaN and infinity are rejected rows
numeric(p,s), p > 38                 string of the exact digits
money                                decimal(22,3)
boolean                              bool
text, varchar, citext, name          string
char(n)                              string without trailing blanks, as PostgreSQL's own cast to text
uuid                                 string, canonical lower case
json, jsonb                          string, as PostgreSQL prints it
arrays, composites                   string of JSON
enums, ranges, inet, geometric,      string by PostgreSQL's cast to text
  tsvector, bit, xml and every type
  not named here
interval                             string, ISO 8601 duration (`P1DT2H`, signs per part)
date                                 date32; infinity and dates beyond are clamped to 0001-01-01 and 9999-12-31
time, timetz                         string `12:34:56.789`: Delta has no time of day
timestamp, timestamptz               timestamp[us, UTC], a naive one taken as UTC; infinity and beyond are clamped
                                     to 0001-01-01T00:00:00 and 9999-12-31T23:59:59.999999, which keeps the order
bytea                                binary
oid, xid, cid                        int64
domains                              as the type they are made of
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from import_platform.sources.postgres.sql import column_reference

DECIMAL_PRECISION_MAX = 38
TIMESTAMP = pa.timestamp("us", "UTC")
ROW_VERSION = "xmin"
"""A column that every table has, given where it is the cursor: the transaction that wrote the row, as int64."""


@dataclass(frozen=True)
class PgType:
    """A type after its domains are resolved. `kind` and `category` are pg_type's typtype and typcategory."""

    schema: str
    name: str
    declared: str  # as format_type prints it, with its modifier
    castable: str  # as format_type prints it without modifier: what a literal is cast to
    kind: str
    category: str
    modifier: int = -1

    @property
    def builtin(self) -> bool:
        return self.schema == "pg_catalog"


_CLAMP = "CASE WHEN {{c}} > '{high}' THEN '{high}' WHEN {{c}} < '{low}' THEN '{low}' ELSE {{c}} END"
_CLAMP_DATE = _CLAMP.format(high="9999-12-31", low="0001-01-01")
_CLAMP_TIME = _CLAMP.format(high="9999-12-31 23:59:59.999999", low="0001-01-01 00:00:00")
_CLAMP_ZONED = _CLAMP.format(high="9999-12-31 23:59:59.999999+00", low="0001-01-01 00:00:00+00")

_RULES: dict[str, tuple[pa.DataType, str]] = {
    "int2": (pa.int16(), "{c}"),
    "int4": (pa.int32(), "{c}"),
    "int8": (pa.int64(), "{c}"),
    "float4": (pa.float32(), "{c}"),
    "float8": (pa.float64(), "{c}"),
    "money": (pa.decimal128(22, 3), "{c}::numeric"),
    "bool": (pa.bool_(), "{c}"),
    "text": (pa.string(), "{c}"),
    "varchar": (pa.string(), "{c}"),
    "json": (pa.string(), "{c}"),
    "jsonb": (pa.string(), "{c}"),
    "date": (pa.date32(), _CLAMP_DATE),
    "timestamp": (TIMESTAMP, _CLAMP_TIME),
    "timestamptz": (TIMESTAMP, _CLAMP_ZONED),
    "bytea": (pa.binary(), "{c}"),
    "oid": (pa.int64(), "{c}::int8"),
    "xid": (pa.int64(), "{c}::text::int8"),
    ROW_VERSION: (
        pa.int64(),
        # The 32 bits of xmin in the 64 of transaction numbers: the greatest that is not in the future. A row that was
        # frozen four billion transactions ago looks younger than it is, so it is read again, never left out.
        "(({now}) - ((({now}) - {{c}}::text::int8) & 4294967295))".format(
            now="SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8"
        ),
    ),
    "cid": (pa.int64(), "{c}::text::int8"),
}

_ORDERED = frozenset(
    [
        "int2",
        "int4",
        "int8",
        "float4",
        "float8",
        "numeric",
        "bool",
        "text",
        "varchar",
        "bpchar",
        "name",
        "uuid",
        "date",
        "time",
        "timetz",
        "timestamp",
        "timestamptz",
        "interval",
        "bytea",
        "oid",
        "inet",
        "cidr",
        "macaddr",
        "macaddr8",
        "bit",
        "varbit",
        "pg_lsn",
    ]
)
_TEXT = frozenset(("text", "varchar", "bpchar", "name", "citext"))
_EXACT_AS_FETCHED = frozenset(("int2", "int4", "int8", "text", "varchar", "uuid"))


def arrow_type(column: PgType) -> pa.DataType:
    """The type of the column's values in the lake."""
    if column.builtin and column.name == "numeric":
        return _numeric_type(column.modifier)
    return _RULES[column.name][0] if column.builtin and column.name in _RULES else pa.string()


def expression(column: PgType, reference: str) -> str:
    """SQL that reads `reference` in a form that the driver turns into `arrow_type` without loss."""
    if column.builtin and column.name in _RULES:
        return _RULES[column.name][1].format(c=reference)
    if column.builtin and column.name == "numeric":
        # The text itself where there is no decimal wide enough; the driver would print NaN its own way.
        return reference if pa.types.is_decimal(_numeric_type(column.modifier)) else f"{reference}::text"
    if column.category == "A" or column.kind == "c":
        return f"to_json({reference})::text"
    return f"{reference}::text"


def order_expression(column: PgType, reference: str) -> str:
    """What a key column is ordered and compared by: itself where the server has an order for it, else its bytes as
    text.

    Extension types go by text because their comparison operators may not be on the search path, where `>` would
    silently become another type's.
    """
    if has_native_order(column):
        return reference
    return f'({reference}::text) COLLATE "C"'


def has_native_order(column: PgType) -> bool:
    return column.kind == "e" or (column.builtin and column.name in _ORDERED)


def cursor_expression(column: PgType, reference: str) -> str:
    """What a cursor column is compared by. Text goes by its bytes: the order that Python and the lake use too."""
    if column.name == ROW_VERSION:
        return expression(column, reference)
    return f'({reference}::text) COLLATE "C"' if is_text(column) else reference


def is_text(column: PgType) -> bool:
    return column.name in _TEXT


def is_exact_as_fetched(column: PgType) -> bool:
    """True if the value in a batch, printed, is the text that PostgreSQL reads back as the same key."""
    return column.builtin and column.name in _EXACT_AS_FETCHED


def text_expression(reference: str) -> str:
    """A key value as exact text: ISO dates, shortest round-trip floats, all digits (the session's settings say so)."""
    return f"{reference}::text"


def column_expression(column: PgType, name: str) -> str:
    return expression(column, column_reference(name))


def _numeric_type(modifier: int) -> pa.DataType:
    if modifier < 0:
        return pa.decimal128(DECIMAL_PRECISION_MAX, 18)
    # The modifier is (precision << 16 | 11-bit signed scale) + 4, see numerictypmodin in PostgreSQL's numeric.c.
    precision, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
    scale = scale - 0x800 if scale & 0x400 else scale
    precision, scale = max(precision - min(scale, 0), scale), max(scale, 0)
    return pa.decimal128(precision, scale) if precision <= DECIMAL_PRECISION_MAX else pa.string()

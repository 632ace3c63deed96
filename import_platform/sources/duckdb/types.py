"""What each DuckDB type becomes in the lake: one rule per type, and the expression that reads it.

TINYINT, SMALLINT, INTEGER, BIGINT           int16, int16, int32, int64
the same, unsigned                           int16, int32, int64, decimal(20,0)
HUGEINT, UHUGEINT                            decimal(38,0); more digits are rejected rows
FLOAT, DOUBLE                                float, double; NaN and infinity are kept
DECIMAL(p,s)                                 decimal(p,s), exact
BOOLEAN                                      bool
VARCHAR, JSON, ENUM, UUID, BIT               string; 0x00 is a character like any other
BLOB                                         binary
LIST, ARRAY, STRUCT, MAP, UNION              string of JSON
DATE                                         date32; infinity is clamped to 0001-01-01 and 9999-12-31
TIMESTAMP (_S, _MS, _NS too), TIMESTAMPTZ    timestamp[us, UTC], a naive one taken as UTC, nanoseconds cut off;
                                             infinity is clamped as on PostgreSQL
TIME, TIMETZ, INTERVAL and every other type  string as DuckDB prints it
"""

from __future__ import annotations

import re

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", "UTC")
_PLAIN = {
    "TINYINT": pa.int16(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.int16(),
    "USMALLINT": pa.int32(),
    "UINTEGER": pa.int64(),
    "UBIGINT": pa.decimal128(20, 0),
    "HUGEINT": pa.decimal128(38, 0),
    "UHUGEINT": pa.decimal128(38, 0),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BLOB": pa.binary(),
    "DATE": pa.date32(),
}
_INSTANTS = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE")
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_NESTED = re.compile(r"\[\d*\]$|^(STRUCT|MAP|UNION)\(")
_WIDE = ("VARCHAR", "JSON", "BLOB", "BIT")


def arrow_type(declared: str) -> pa.DataType:
    """The type of the column's values in the lake."""
    if declared in _INSTANTS:
        return TIMESTAMP
    found = _DECIMAL.fullmatch(declared)
    if found is not None:
        return pa.decimal128(int(found[1]), int(found[2]))
    return _PLAIN.get(declared, pa.string())


def expression(declared: str, reference: str) -> str:
    """SQL that reads `reference` in a form that Arrow casts to `arrow_type` without loss."""
    if declared in _INSTANTS:
        zoned = declared.endswith("ZONE")
        value = reference if zoned else f"{reference}::TIMESTAMP"
        return f"epoch_us({_clamped(value, '9999-12-31 23:59:59.999999', '0001-01-01', _type(zoned=zoned))})"
    if declared == "DATE":
        return _clamped(reference, "9999-12-31", "0001-01-01", "DATE")
    if _NESTED.search(declared):
        return f"to_json({reference})::VARCHAR"
    if declared in _PLAIN and declared not in ("HUGEINT", "UHUGEINT", "UBIGINT"):
        return reference
    return reference if declared == "VARCHAR" or _DECIMAL.fullmatch(declared) else f"{reference}::VARCHAR"


def size(declared: str, reference: str) -> str | None:
    """Bytes of a value; None for types whose values are all narrow."""
    if declared == "BLOB":
        return f"octet_length({reference})"
    if declared in _WIDE or _NESTED.search(declared):
        return f"strlen({expression(declared, reference)})"
    return None


def token_expression(declared: str, reference: str) -> str:
    """A key value as text that `key_literal` reads back exactly."""
    return f"lower(hex({reference}))" if declared == "BLOB" else f"{reference}::VARCHAR"


def key_literal(declared: str, value: str) -> str:
    if declared == "BLOB":
        return f"from_hex('{bytes.fromhex(value).hex()}')"
    return literal(value) if declared == "VARCHAR" else f"CAST({literal(value)} AS {declared})"


def literal(text: str) -> str:
    """Text as its bytes, so that quotes and 0x00 are characters like any other."""
    return f"decode(from_hex('{text.encode().hex()}'))"


def _type(*, zoned: bool) -> str:
    return "TIMESTAMPTZ" if zoned else "TIMESTAMP"


def _clamped(reference: str, high: str, low: str, name: str) -> str:
    top, bottom = (f"CAST('{value}' AS {name})" for value in (high, low))
    return f"CASE WHEN {reference} > {top} THEN {top} WHEN {reference} < {bottom} THEN {bottom} ELSE {reference} END"

"""Column types as a declaration names them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from import_platform.core.wording import close_names

INSTANT = pa.timestamp("us", "UTC")
Unit = Literal["", "s", "ms"]

_PLAIN: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "string": pa.string(),
    "json": pa.string(),
    "complex": pa.string(),
    "time": pa.string(),
    "bigint": pa.int64(),
    "int": pa.int64(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": INSTANT,
    "timestamp_ms": INSTANT,
    "wei": pa.decimal128(38, 0),
    "decimal": pa.decimal128(38, 9),
}
_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("varchar", "char", "str", "utf8", "uuid", "object", "clob"), "text"),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "smallint", "tinyint", "long", "serial", "number"), "bigint"),
    **dict.fromkeys(("real", "float32", "float64", "double precision"), "double"),
    **dict.fromkeys(("datetime", "timestamptz", "timestamp_tz", "instant"), "timestamp"),
    **dict.fromkeys(("numeric", "money", "decimal128"), "decimal"),
    **dict.fromkeys(("jsonb", "struct", "map", "array", "list", "variant"), "json"),
    "bit": "bool",
    "date32": "date",
}
"""What other systems call a type: the one that is meant."""

_DECIMAL = re.compile(r"decimal\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)")


@dataclass(frozen=True)
class DeclaredColumn:
    """A column whose type a person fixed. `path` leads to its value inside a row; `unit` is that of numbers that are
    instants since 1970."""

    name: str
    type_name: str
    path: tuple[str, ...]
    unit: Unit = "s"

    @property
    def type(self) -> pa.DataType:
        return column_type(self.type_name)


def column_type(text: str) -> pa.DataType:
    """Raises ValueError: no such type."""
    found = _PLAIN.get(text.strip().lower())
    if found is not None:
        return found
    match = _DECIMAL.fullmatch(text.strip().lower())
    if match and 1 <= int(match[1]) <= 38 and int(match[2] or 0) <= int(match[1]):
        return pa.decimal128(int(match[1]), int(match[2] or 0))
    raise ValueError(f"{text[:40]!r} is no column type{_meant(text)}; there are {', '.join(_PLAIN)} and decimal(18,2)")


def _meant(text: str) -> str:
    """The type that a person most likely means, as other systems call it or misspelt."""
    word, _, rest = text.strip().lower().partition("(")
    found = _ELSEWHERE.get(word) or next(iter(close_names(word, [*_PLAIN, *_ELSEWHERE], most=1)), None)
    found = _ELSEWHERE.get(found or "", found)
    if found is None:
        return ""
    digits = ",".join(re.findall(r"\d+", rest)[:2])
    return f" (did you mean {f'decimal({digits})' if found == 'decimal' and digits else found}?)"


def declared_columns(value: Any) -> tuple[DeclaredColumn, ...]:
    """`{amount: decimal(18,2), at: {type: timestamp_ms, path: meta.at}}`, or dlt's list of `{name, data_type}`."""
    if isinstance(value, Mapping):
        return tuple(_column(str(name), said) for name, said in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, Mapping) for v in value):
        return tuple(_column(str(said.get("name", "")), said) for said in value)
    raise ValueError("columns is a mapping of names to types, such as {amount: decimal(18,2)}")


def _column(name: str, said: Any) -> DeclaredColumn:
    words = {"type": said} if isinstance(said, str) else said
    if not name or not isinstance(words, Mapping):
        raise ValueError("a column is a name with a type, such as amount: decimal(18,2)")
    known = {"name", "type", "data_type", "path", "precision", "scale", "nullable", "primary_key", "description"}
    foreign = sorted(set(map(str, words)) - known)
    if foreign:
        raise ValueError(f"column {name} has an unknown word: {foreign[0]}")
    text = str(words.get("type") or words.get("data_type") or "")
    if text == "decimal" and words.get("precision"):
        text = f"decimal({words['precision']},{words.get('scale', 0)})"
    path = tuple(str(words["path"]).removeprefix("$.").split(".")) if words.get("path") else (name,)
    column_type(text)
    return DeclaredColumn(name, text, path, "ms" if text == "timestamp_ms" else "s")

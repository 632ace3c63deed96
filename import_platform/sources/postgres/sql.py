"""SQL text for PostgreSQL, built without running it: quoted names, safely rendered values, and where-clauses.

Values are rendered and not bound because the driver reads by COPY, bounded in bytes, only statements without
parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

from import_platform.errors import ConfigError
from import_platform.sources.clauses import where


def quote_identifier(name: str) -> str:
    """`name` as one SQL identifier, whatever it is made of."""
    _no_nul(name)
    return '"' + name.replace('"', '""') + '"'


def column_reference(name: str) -> str:
    """A column of the relation that every statement calls `t`.

    A bare name would not do: ORDER BY takes an output column of that name first, and outputs have names of our own.
    """
    return f"t.{quote_identifier(name)}"


def literal(text: str) -> str:
    """`text` as a string literal that means the same whether or not the server takes backslashes as escapes."""
    _no_nul(text)
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def typed_literal(text: str, type_name: str) -> str:
    """A literal of a type; `type_name` is the server's own spelling of it (format_type), so it is not quoted again."""
    return f"{literal(text)}::{type_name}"


def text_array(values: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(literal(value) for value in values)}]::text[]"


def relation(schema: str, name: str) -> str:
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"


def source(relation_sql: str, conditions: Sequence[str] = ()) -> str:
    """FROM and WHERE of a statement over one relation."""
    return f" FROM {relation_sql} AS t{where(conditions)}"


def after_key(expressions: Sequence[str], values: Sequence[str]) -> str:
    """Rows behind a key in its order; both sides are expressions of one type, so the server compares as it sorts."""
    if len(expressions) == 1:
        return f"{expressions[0]} > {values[0]}"
    return f"({', '.join(expressions)}) > ({', '.join(values)})"


def _no_nul(text: str) -> None:
    if "\x00" in text:
        raise ConfigError(
            "a name or value holds the character NUL, which PostgreSQL cannot store",
            remedy="Check the names in the declaration.",
        )

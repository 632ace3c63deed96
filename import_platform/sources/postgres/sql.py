"""SQL text for PostgreSQL, built without running it: quoted names, safely rendered values, and where-clauses.

Values are rendered and not bound because the driver reads by COPY, bounded in bytes, only statements without
parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

from import_platform.core.postgres_text import literal, quoted
from import_platform.sources.clauses import where


def column_reference(name: str) -> str:
    """A column of the relation that every statement calls `t`.

    A bare name would not do: ORDER BY takes an output column of that name first, and outputs have names of our own.
    """
    return f"t.{quoted(name)}"


def typed_literal(text: str, type_name: str) -> str:
    """A literal of a type; `type_name` is the server's own spelling of it (format_type), so it is not quoted again."""
    return f"{literal(text)}::{type_name}"


def text_array(values: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(literal(value) for value in values)}]::text[]"


def relation(schema: str, name: str) -> str:
    return f"{quoted(schema)}.{quoted(name)}"


def source(relation_sql: str, conditions: Sequence[str] = ()) -> str:
    """FROM and WHERE of a statement over one relation."""
    return f" FROM {relation_sql} AS t{where(conditions)}"


def after_key(expressions: Sequence[str], values: Sequence[str]) -> str:
    """Rows behind a key in its order; both sides are expressions of one type, so the server compares as it sorts."""
    if len(expressions) == 1:
        return f"{expressions[0]} > {values[0]}"
    return f"({', '.join(expressions)}) > ({', '.join(values)})"

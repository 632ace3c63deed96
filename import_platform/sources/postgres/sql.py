"""SQL text for PostgreSQL, built without running it: quoted names, safely rendered values, and where-clauses.

Values are rendered and not bound because the driver reads by COPY, bounded in bytes, only statements without
parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

from import_platform.errors import ConfigError


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


def where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def after_key(expressions: Sequence[str], values: Sequence[str]) -> str:
    """Rows behind a key in its order; both sides are expressions of one type, so the server compares as it sorts."""
    if len(expressions) == 1:
        return f"{expressions[0]} > {values[0]}"
    return f"({', '.join(expressions)}) > ({', '.join(values)})"


def window_condition(expression: str, *, after: str | None, upto: str | None, inclusive: bool) -> str | None:
    """Rows of a cursor window; bounds are rendered values. NULL cursors only where there is no lower bound."""
    parts = []
    if after is not None:
        parts.append(f"{expression} {'>=' if inclusive else '>'} {after}")
    if upto is not None:
        parts.append(f"{expression} <= {upto}")
    if not parts:
        return None
    joined = " AND ".join(parts)
    return joined if after is not None else f"({joined} OR {expression} IS NULL)"


def range_condition(expression: str, *, lower: str | None, upper: str | None, outside: bool) -> str:
    """Rows in [lower, upper), or with `outside` the others and NULL."""
    parts = [f"{expression} >= {lower}"] if lower is not None else []
    parts += [f"{expression} < {upper}"] if upper is not None else []
    if not parts:
        return f"{expression} IS {'' if outside else 'NOT '}NULL"
    joined = " AND ".join(parts)
    return f"({expression} IS NULL OR NOT ({joined}))" if outside else f"({joined})"


def total(expressions: Sequence[str]) -> str:
    """A sum written as a balanced tree: the depth of an expression is limited, and a table may have 1,600 columns."""
    if len(expressions) <= 1:
        return expressions[0] if expressions else "0"
    half = len(expressions) // 2
    return f"({total(expressions[:half])} + {total(expressions[half:])})"


def _no_nul(text: str) -> None:
    if "\x00" in text:
        raise ConfigError(
            "a name or value holds the character NUL, which PostgreSQL cannot store",
            remedy="Check the names in the declaration.",
        )

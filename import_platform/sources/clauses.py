"""Parts of statements that every SQL database reads alike; columns and values come rendered."""

from __future__ import annotations

from collections.abc import Sequence


def filtered(relation_sql: str, condition: str | None, *, besides: str = "") -> str:
    """The relation, or its rows that meet a condition of the owner's in the source's own SQL.

    `besides` names columns that `*` leaves out. A statement cannot end in the condition, and a comment at its end
    reaches no further than its line.
    """
    return (
        relation_sql if condition is None else f"(SELECT t.*{besides} FROM {relation_sql} AS t WHERE ({condition}\n))"
    )


def where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


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

"""Parts of statements that every SQL database reads alike; columns and values come rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from import_platform.core.cursor import CursorValue
from import_platform.core.layout import ColumnRange
from import_platform.sources.protocol import CursorWindow


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


def window_condition(expression: str, window: CursorWindow, bound: Callable[[CursorValue], str]) -> str | None:
    """Rows of a cursor window, None for every row; `bound` renders a value. NULL cursors come only without a lower
    bound."""
    parts = []
    if window.after is not None:
        parts.append(f"{expression} {'>=' if window.inclusive else '>'} {bound(window.after)}")
    if window.upto is not None:
        parts.append(f"{expression} <= {bound(window.upto)}")
    if not parts:
        return None
    joined = " AND ".join(parts)
    return joined if window.after is not None else f"({joined} OR {expression} IS NULL)"


def range_condition(expression: str, range_: ColumnRange, bound: Callable[[CursorValue], str]) -> str:
    """Rows in [lower, upper), or with `outside` the others and NULL; `bound` renders a value."""
    parts = [f"{expression} >= {bound(range_.lower)}"] if range_.lower is not None else []
    parts += [f"{expression} < {bound(range_.upper)}"] if range_.upper is not None else []
    if not parts:
        return f"{expression} IS {'' if range_.outside else 'NOT '}NULL"
    joined = " AND ".join(parts)
    return f"({expression} IS NULL OR NOT ({joined}))" if range_.outside else f"({joined})"


def total(expressions: Sequence[str]) -> str:
    """A sum written as a balanced tree: the depth of an expression is limited, and a table may have 1,600 columns."""
    if len(expressions) <= 1:
        return expressions[0] if expressions else "0"
    half = len(expressions) // 2
    return f"({total(expressions[:half])} + {total(expressions[half:])})"

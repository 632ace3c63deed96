"""How sentences for people spell counts, types and names, in one way each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import pyarrow as pa

_IRREGULAR = {"leaf": "leaves", "entry": "entries", "query": "queries"}
_TYPES = {
    "string": "text",
    "large_string": "text",
    "int64": "bigint",
    "int32": "int",
    "double": "double",
    "float": "float",
    "date32[day]": "date",
    "timestamp[us, tz=UTC]": "timestamp",
}
CLOSE_CUTOFF = 0.5


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`, `1,200 leaves`: the number and the noun, which is given for one. The last word changes."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    before, space, last = noun.rpartition(" ")
    return f"{before}{space}{_IRREGULAR.get(last, f'{last}s')}"


def type_text(dtype: pa.DataType) -> str:
    """A type as a declaration names it: `bigint`, `decimal(12,2)`, `timestamp`; any other by Arrow's own name."""
    if pa.types.is_decimal(dtype):
        return f"decimal({dtype.precision},{dtype.scale})"
    return _TYPES.get(str(dtype), str(dtype))


def close_names(word: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """The known names that are spelled most like the word, whatever their case; nearest first."""
    by_lower: dict[str, str] = {}
    for name in known:
        by_lower.setdefault(name.lower(), name)
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=most, cutoff=CLOSE_CUTOFF)
    return [by_lower[name] for name in close]


def nearest(word: str, known: Sequence[str], *, none: str, most: int = 3, shown: int = 20) -> str:
    """`Did you mean a, b?`, or `none` with the names that there are: `Its tables: a, b.`"""
    close = close_names(word, known, most=most)
    return f"Did you mean {', '.join(close)}?" if close else f"{none}: {', '.join(known[:shown]) or 'none'}."

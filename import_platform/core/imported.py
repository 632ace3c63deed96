"""Which of the tables that a source has are imported."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from import_platform.core.table import DeclaredTable


@dataclass(frozen=True)
class TablePatterns:
    """Names in the lake, with `*` and `?`; an exclusion wins. Upper and lower case count."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def matches(self, name: str) -> bool:
        return _any(name, self.include) and not _any(name, self.exclude)


def imported_tables(
    declared: Sequence[DeclaredTable] | None, patterns: TablePatterns | None, found: Iterable[str]
) -> tuple[DeclaredTable, ...]:
    """The declared tables, then those found that the patterns match; without patterns the declared ones only.

    A table declared by name is imported whatever the patterns say.
    """
    named = tuple(declared or ())
    if patterns is None:
        return named
    known = {table.name for table in named}
    return (*named, *(DeclaredTable(name) for name in found if name not in known and patterns.matches(name)))


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

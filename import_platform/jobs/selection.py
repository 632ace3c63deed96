"""`SOURCE` and `SOURCE/TABLE` words of a command line as tables to work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import dagster as dg

from import_platform.core.table import DeclaredTable
from import_platform.core.wording import nearest
from import_platform.errors import ConfigError
from import_platform.resources.platform import SourceConfig
from import_platform.resources.snapshots import Snapshot


class DeclaredSource(Protocol):
    """What launching needs of a declared source; `import_platform.components.ExternalSource` is one."""

    name: str
    tables: tuple[DeclaredTable, ...] | None

    @property
    def config(self) -> SourceConfig: ...

    @property
    def lacks_discovery(self) -> bool: ...

    def snapshot(self) -> Snapshot | None: ...

    def known_tables(self) -> tuple[DeclaredTable, ...]: ...

    def definitions(self) -> dg.Definitions: ...


class Broken(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def error(self) -> ConfigError: ...


class Declarations(Protocol):
    """All declared sources; `import_platform.components.loading.load_sources()` gives them."""

    @property
    def sources(self) -> Sequence[DeclaredSource]: ...

    @property
    def broken(self) -> Sequence[Broken]: ...

    def source(self, name: str) -> DeclaredSource: ...


@dataclass(frozen=True)
class Selected:
    """Tables of one source; None means all that it has, known by now or found when it is asked."""

    source: DeclaredSource
    tables: tuple[str, ...] | None


def select(declarations: Declarations, words: Sequence[str]) -> list[Selected]:
    """What the words name, one entry per source in order of first mention; without words every usable source.

    Raises:
        ConfigError: an unknown source or table (with the closest names), or a broken source (with its mistakes).
    """
    if not words:
        return [Selected(source, None) for source in declarations.sources]
    chosen: dict[str, tuple[str, ...] | None] = {}
    for word in words:
        name, slash, table = word.partition("/")
        source = declarations.source(name)
        if not slash:
            chosen[name] = None
        elif chosen.get(name, ()) is not None:
            tables = chosen.get(name) or ()
            chosen[name] = tables if table in tables else (*tables, known_table(source, table))
    return [Selected(declarations.source(name), tables) for name, tables in chosen.items()]


def known_table(source: DeclaredSource, table: str) -> str:
    """The table's name if the source declares it, or if nobody knows yet which tables it has."""
    names = [known.name for known in source.known_tables()]
    if table in names or source.lacks_discovery:
        return table
    hint = nearest(table, names, none="Its tables")
    raise ConfigError("the source declares no such table", table=f"{source.name}/{table}"[:200], remedy=hint)

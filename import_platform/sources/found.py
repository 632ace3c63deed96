"""Tables and columns as a catalog has them, by the names that somebody asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from import_platform.core.table import TableInfo
from import_platform.errors import ConfigError, SourceRejected


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


def column_named(columns: Sequence[T], name: str, *, table: str) -> T:
    """Raises SourceRejected when the table has no such column (any more)."""
    for column in columns:
        if column.name == name:
            return column
    raise SourceRejected(
        "the source's table has no such column",
        table=table,
        column=name,
        remedy="Run `import-platform tables` again: the table has changed at the source.",
    )


def places_of(names: Sequence[str], schemas: Sequence[str], *, default: str) -> Iterator[tuple[str, str]]:
    """(schema, table) that names in the lake may stand for; tables of the default schema carry no schema."""
    for name in names:
        yield default, name
        for schema in schemas:
            if schema != default and name.startswith(f"{schema}__"):
                yield schema, name.removeprefix(f"{schema}__")


def in_name_order(infos: Sequence[TableInfo], names: Sequence[str] | None) -> list[TableInfo]:
    """By their names in the lake; only `names` if given.

    Raises:
        ConfigError: two tables have one name in the lake.
    """
    by_name: dict[str, TableInfo] = {}
    for info in infos:
        other = by_name.setdefault(info.name_in_lake, info)
        if other is not info:
            raise ConfigError(
                "two tables of the source have one name in the lake",
                name=info.name_in_lake,
                schemas=[other.schema, info.schema],
                remedy="Take one of the schemas out of this source.",
            )
    wanted = by_name if names is None else set(names)
    return [by_name[name] for name in sorted(by_name) if name in wanted]

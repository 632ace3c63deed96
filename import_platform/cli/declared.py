"""Which sources and tables this project declares, read in milliseconds: without Dagster and without validation.

For screens that only name tables. `check` and `sync` load the real definitions, which say what is wrong with a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from import_platform.core.budget import parse_bytes
from import_platform.core.imported import TablePatterns, imported_tables
from import_platform.core.table import DeclaredTable
from import_platform.errors import ConfigError
from import_platform.resources.snapshots import load_snapshot

_FILE_NAMES = ("defs.yaml", "defs.yml")


@dataclass(frozen=True)
class DeclaredSource:
    """One source. `tables` are those it names, else those that discovery last found; `is_readable` False means that
    the file could not be understood and only its folder is known. `limits` has the leaf bytes of tables with their own;
    `crons` the schedule of each, under "" that of those without one of their own.
    """

    name: str
    path: Path
    tables: tuple[str, ...]
    is_readable: bool = True
    limits: Mapping[str, int] = field(default_factory=dict)
    crons: Mapping[str, str] = field(default_factory=dict)

    def cron(self, table: str) -> str | None:
        return self.crons.get(table, self.crons.get(""))


def declared_sources(folders: Sequence[Path], snapshots_folder: Path) -> list[DeclaredSource]:
    """Every `<folder>/<source>/defs.yaml`, by name."""
    paths = (path for folder in folders for name in _FILE_NAMES for path in folder.glob(f"*/{name}"))
    found = [source for path in paths for source in _read(path, snapshots_folder)]
    return sorted(found, key=lambda source: source.name)


def _read(path: Path, snapshots_folder: Path) -> Iterator[DeclaredSource]:
    try:
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            yield _source(path, document["attributes"], snapshots_folder)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        yield DeclaredSource(path.parent.name, path, (), is_readable=False)


def _source(path: Path, attributes: Any, snapshots_folder: Path) -> DeclaredSource:
    name = str(attributes["name"])
    named = [(str(table["name"]), table.get("partition_max")) for table in attributes.get("tables") or ()]
    limits = {table: _size(limit) for table, limit in named if limit is not None}
    patterns = _patterns(attributes)
    found = load_snapshot(snapshots_folder, name) if patterns is not None else None
    names = [table.name for table in found.tables] if found else []
    tables = imported_tables([DeclaredTable(table) for table, _ in named], patterns, names)
    known = {table: limit for table, limit in limits.items() if limit is not None}
    crons = {str(table["name"]): table.get("schedule") for table in attributes.get("tables") or ()}
    scheduled = {table: str(cron) for table, cron in {"": attributes.get("schedule"), **crons}.items() if cron}
    return DeclaredSource(name, path, tuple(table.name for table in tables), limits=known, crons=scheduled)


def _patterns(attributes: Any) -> TablePatterns | None:
    include, exclude = attributes.get("include"), attributes.get("exclude")
    if include is None and exclude is None and attributes.get("tables") is not None:
        return None
    return TablePatterns(tuple(map(str, include or ("*",))), tuple(map(str, exclude or ())))


def _size(text: Any) -> int | None:
    try:
        return parse_bytes(str(text), name="partition_max")
    except ConfigError:
        return None  # `check` says what is wrong with it

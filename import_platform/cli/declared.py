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
from import_platform.errors import ConfigError
from import_platform.resources.snapshots import load_snapshot

_FILE_NAMES = ("defs.yaml", "defs.yml")


@dataclass(frozen=True)
class DeclaredSource:
    """One source. `tables` are those it names, else those that discovery last found; `is_readable` False means that
    the file could not be understood and only its folder is known. `limits` has the leaf bytes of tables with their own.
    """

    name: str
    path: Path
    tables: tuple[str, ...]
    is_readable: bool = True
    limits: Mapping[str, int] = field(default_factory=dict)


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
    if attributes.get("tables") is not None:
        tables = [(str(table["name"]), table.get("partition_max")) for table in attributes["tables"]]
        limits = {table: _size(limit) for table, limit in tables if limit is not None}
        known = {table: limit for table, limit in limits.items() if limit is not None}
        return DeclaredSource(name, path, tuple(table for table, _ in tables), limits=known)
    found = load_snapshot(snapshots_folder, name)
    return DeclaredSource(name, path, tuple(table.name for table in found.tables) if found else ())


def _size(text: Any) -> int | None:
    try:
        return parse_bytes(str(text), name="partition_max")
    except ConfigError:
        return None  # `check` says what is wrong with it

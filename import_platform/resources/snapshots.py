"""What discovery last found at a source, kept in a file so that loading definitions never has to ask the source.

<home>/sources/<source>.json
{"version": 1, "source": "shop", "discovered_at": "2026-01-13T05:00:00+00:00",
 "tables": [{"name": "orders", "primary_key": ["id"], "row_estimate": 336776,
             "columns": [{"name": "id", "type": "int64", "source_type": "integer", "nullable": false}]}]}
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from import_platform.core.table import TableInfo

VERSION = 1


@dataclass(frozen=True)
class FoundColumn:
    """`type` is the Arrow type in the lake, as text."""

    name: str
    type: str
    source_type: str
    nullable: bool


@dataclass(frozen=True)
class FoundTable:
    """One table as it was at `Snapshot.discovered_at`; `row_estimate` is -1 where the source does not say."""

    name: str
    primary_key: tuple[str, ...]
    row_estimate: int
    columns: tuple[FoundColumn, ...]


@dataclass(frozen=True)
class Snapshot:
    source: str
    discovered_at: str
    tables: tuple[FoundTable, ...]

    def table(self, name: str) -> FoundTable | None:
        return next((table for table in self.tables if table.name == name), None)


def save_snapshot(folder: Path, source: str, tables: Sequence[TableInfo]) -> Snapshot:
    """Replaces what was known of the source; readers see the old file or the new one, never a part."""
    found = tuple(
        FoundTable(
            info.name_in_lake,
            info.primary_key,
            info.row_estimate,
            tuple(FoundColumn(c.name, str(c.type), c.source_type, c.nullable) for c in info.columns),
        )
        for info in tables
    )
    snapshot = Snapshot(source, datetime.now(UTC).isoformat(timespec="seconds"), found)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{source}.{os.getpid()}.json"
    draft.write_text(json.dumps({"version": VERSION, **asdict(snapshot)}, indent=1), encoding="utf-8")
    draft.replace(folder / f"{source}.json")
    return snapshot


def load_snapshot(folder: Path, source: str) -> Snapshot | None:
    """None where the source was never discovered, or by a release that wrote something else; discovery mends both."""
    try:
        stored = json.loads((folder / f"{source}.json").read_text(encoding="utf-8"))
        if stored["version"] != VERSION:
            return None
        return Snapshot(stored["source"], stored["discovered_at"], tuple(_table(table) for table in stored["tables"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _table(stored: dict[str, Any]) -> FoundTable:
    return FoundTable(
        stored["name"],
        tuple(stored["primary_key"]),
        int(stored["row_estimate"]),
        tuple(FoundColumn(**column) for column in stored["columns"]),
    )

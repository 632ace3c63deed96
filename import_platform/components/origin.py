"""Where a source was declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """The file and line of a source; `table_lines` by the table's name."""

    path: Path
    line: int
    table_lines: Mapping[str, int] = field(default_factory=dict)

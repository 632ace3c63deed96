"""`tables SOURCE`: what discovery finds there, what the platform chose for each table, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from import_platform.cli.found import Found, judge, partition_text
from import_platform.cli.terminal import Terminal, grid
from import_platform.components.loading import load_sources
from import_platform.core.budget import format_bytes
from import_platform.core.identity import partition_as_dict
from import_platform.demo.server import source_for_commands
from import_platform.io.lake import Lake
from import_platform.jobs.discovery import discover_source
from import_platform.resources.home import open_instance
from import_platform.resources.platform import PlatformResource
from import_platform.resources.project import read_settings


def run(screen: Terminal, source_name: str) -> None:
    """Asks the source, and keeps what it found so that definitions know the tables without asking.

    Raises:
        ConfigError: no such source, a broken file, or a variable that is not set.
        SourceUnavailable, SourceRejected: the source does not answer, or refuses.
    """
    with source_for_commands(selection=[source_name]):
        settings = read_settings()
        source = load_sources(settings.defs_folders).source(source_name)
        with open_instance(settings.home) as instance:
            discovery = discover_source(PlatformResource(), source.config, source.tables, instance=instance)
        found = judge(source, discovery.tables, Lake(settings.lake_uri))
        if screen.is_json:
            for table in found:
                screen.emit(_json(source.name, table))
        else:
            _print(screen, source.name, found)


def _json(source: str, table: Found) -> dict[str, Any]:
    info, spec = table.info, table.spec
    return {
        "table": f"{source}/{table.name}",
        "declared": table.is_declared,
        "row_estimate": _known(info.row_estimate) if info else None,
        "bytes_estimate": _known(info.bytes_estimate) if info else None,
        "columns": {c.name: str(c.type) for c in info.columns} if info else None,
        "primary_key": list(spec.primary_key) if spec else None,
        "sync": spec.sync.value if spec else None,
        "cursor": spec.cursor if spec else None,
        "partition": partition_as_dict(spec.partition) if spec else None,
        "reasons": list(spec.reasons) if spec else None,
        "error": str(table.error) if table.error and not table.has_no_rows else None,
    }


def _known(estimate: int) -> int | None:
    return None if estimate < 0 else estimate


def _print(screen: Terminal, source: str, found: Sequence[Found]) -> None:
    if not found:
        screen.out.print(f"{source} holds no tables", markup=False)
        return
    table = grid(
        "table",
        "rows ~",
        "bytes ~",
        "primary key",
        "sync",
        "cursor",
        "partition",
        left=frozenset({"primary key", "sync", "cursor", "partition"}),
    )
    for entry in found:
        table.add_row(*_cells(entry))
    screen.out.print(table)
    screen.out.print()
    for entry in found:
        if entry.spec and entry.spec.reasons:
            screen.out.print(Text(entry.name, style="bold"))
            for reason in entry.spec.reasons:
                screen.out.print(f"  {reason}", markup=False, soft_wrap=True)
    if any(not entry.is_declared for entry in found):
        screen.out.print("\ndim rows are not declared; add them under `tables:` to import them", soft_wrap=True)
    for entry in found:
        if entry.error and not entry.has_no_rows:
            screen.fail(f"{entry.name}: {entry.error}")


def _cells(entry: Found) -> list[Text]:
    info, spec = entry.info, entry.spec
    cells = [entry.name, "", "", "", "no rows yet" if entry.has_no_rows else "cannot be synced", "", ""]
    if info is not None:
        cells[1] = "" if info.row_estimate < 0 else f"{info.row_estimate:,}"
        cells[2] = "" if info.bytes_estimate < 0 else format_bytes(info.bytes_estimate)
    if spec is not None:
        cells[3:] = [", ".join(spec.primary_key), spec.sync.value, spec.cursor or "", partition_text(spec.partition)]
    style = "red" if entry.error and not entry.has_no_rows else "" if entry.is_declared else "dim"
    return [Text(cell, style=style) for cell in cells]

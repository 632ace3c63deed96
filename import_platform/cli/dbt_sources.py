"""`dbt-sources`: tells the dbt project which tables the lake holds, with their columns, types and places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from import_platform.cli.declared import declared_sources
from import_platform.cli.terminal import Terminal
from import_platform.core.names import escape
from import_platform.core.table import PARTITION_COLUMN
from import_platform.core.wording import counted
from import_platform.errors import ConfigError
from import_platform.io.duckdb_lake import CLOSED, literal, load_extensions
from import_platform.io.lake import Lake
from import_platform.resources.project import dbt_folder, read_settings

OPS = "_ops"
OPS_TABLES = ("runs", "chunks", "usage", "incidents", "rejected_rows", "resolved_rejects", "releases")
SOURCES_FILE = "models/lake_sources.yml"
MACRO_FILE = "macros/lake_has.sql"
_WRITTEN = "Written by `import-platform dbt-sources`; run it again after a first sync or a new table."


@dataclass(frozen=True)
class LakeTable:
    """A table of the lake as dbt's YAML tells it: its place, and names and DuckDB types of its columns."""

    source: str
    name: str
    uri: str
    columns: Sequence[tuple[str, str]]


def run(screen: Terminal, project: Path | None) -> None:
    """Writes two files into the dbt project `project`, by default that of this project.

    Raises:
        ConfigError: there is no dbt project, or a path of the lake holds braces, which are dbt's own.
        StoreUnavailable: the lake did not answer.
    """
    folder = project or dbt_folder()
    if folder is None or not (folder / "dbt_project.yml").is_file():
        raise ConfigError(
            "there is no dbt project here",
            folder=str(folder or Path.cwd()),
            remedy="Name its folder with --project, or run inside a project that has a folder dbt/.",
        )
    tables = list(lake_tables())
    sources = folder / SOURCES_FILE
    sources.parent.mkdir(parents=True, exist_ok=True)
    sources.write_text(sources_yaml(tables), encoding="utf-8")
    macro = folder / MACRO_FILE
    macro.parent.mkdir(parents=True, exist_ok=True)
    macro.write_text(macro_sql(tables), encoding="utf-8")
    screen.out.print(f"{counted(len(tables), 'table')} in {sources}", markup=False, soft_wrap=True)
    if screen.is_json:
        for table in tables:
            screen.emit({"table": f"{table.source}/{table.name}", "columns": dict(table.columns)})


def lake_tables() -> Iterable[LakeTable]:
    """Those that are declared and in the lake, then those of the ledger."""
    settings = read_settings()
    lake = Lake(settings.lake_uri)
    declared = declared_sources(settings.defs_folders, settings.snapshots_folder)
    wanted = [(source.name, escape(table)) for source in declared for table in source.tables]
    with duckdb.connect(":memory:", config={**CLOSED}) as connection:
        load_extensions(connection, lake.store)
        for source, table in [*sorted(wanted), *((OPS, table) for table in OPS_TABLES)]:
            path = f"{escape(source) if source != OPS else OPS}/{table}"
            if next(lake.store.entries(f"{path}/_delta_log"), None) is None:
                continue
            uri = f"{lake.uri}/{path}"
            yield LakeTable(source, table, uri, _columns(connection, uri))


def _columns(connection: duckdb.DuckDBPyConnection, uri: str) -> list[tuple[str, str]]:
    found = connection.execute(f"DESCRIBE SELECT * FROM delta_scan({literal(uri)})").fetchall()  # noqa: S608  a literal
    return [(name, kind) for name, kind, *_ in found if name != PARTITION_COLUMN]


def sources_yaml(tables: Sequence[LakeTable]) -> str:
    """dbt's `sources:`, with the keys of Dagster's assets, so that lineage joins theirs."""
    by_source: dict[str, list[dict[str, Any]]] = {}
    for table in tables:
        by_source.setdefault(table.source, []).append(_table(table))
    document = {"version": 2, "sources": [{"name": name, "tables": found} for name, found in by_source.items()]}
    return f"# {_WRITTEN}\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _table(table: LakeTable) -> dict[str, Any]:
    if any(mark in table.uri for mark in "{}"):
        raise ConfigError(
            "dbt reads braces in a path as its own", path=table.uri, remedy="Keep the lake at a path without { and }."
        )
    meta: dict[str, Any] = {"external_location": f"delta_scan({literal(table.uri)})"}
    if table.source != OPS:
        meta["dagster"] = {"asset_key": [table.source, table.name]}
    columns = [{"name": name, "data_type": kind} for name, kind in table.columns if not _is_jinja(name + kind)]
    return {"name": table.name, "config": {"meta": meta}, "columns": columns}


def _is_jinja(text: str) -> bool:
    """A column's name that dbt would run as a template; the table is read all the same."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


def macro_sql(tables: Sequence[LakeTable]) -> str:
    """`lake_has(source, table)`, by which a model is left out while its table is not there."""
    names = ", ".join(f"'{table.source}/{table.name}'" for table in tables)
    return (
        f"{{#- {_WRITTEN} -#}}\n"
        "{% macro lake_has(source, table) %}\n"
        f"{{{{ return((source ~ '/' ~ table) in [{names}]) }}}}\n"
        "{% endmacro %}\n"
    )

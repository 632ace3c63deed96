"""SQL over the lake, read-only: every table is `source.table`, and nothing beside the lake can be read or written."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from import_platform.core.names import unescape
from import_platform.errors import (
    ConfigError,
    ImportPlatformError,
    Interrupted,
    InvariantBroken,
    MemoryBudgetExceeded,
    StoreUnavailable,
)
from import_platform.io.duckdb_lake import CLOSED, literal, load_extensions
from import_platform.io.store import Store

FETCH_ROWS = 1000

_TABLE_FUNCTIONS = frozenset(
    {
        "range",
        "generate_series",
        "unnest",
        "repeat",
        "repeat_row",
        "json_each",
        "json_tree",
        "duckdb_columns",
        "duckdb_tables",
        "duckdb_views",
        "duckdb_schemas",
        "duckdb_functions",
        "duckdb_types",
        "duckdb_keywords",
        "duckdb_memory",
        "duckdb_settings",
        "pragma_version",
        "pragma_table_info",
        "pragma_show",
        "histogram",
        "histogram_values",
    }
)
"""The only table functions a person may call. An allow-list because `delta_scan` opens any log and any web address
whatever DuckDB's own locks say, and `query` and `json_execute_serialized_sql` would hide such a call in a string."""

_CATALOG = re.compile(r"\b(show|information_schema|duckdb_\w+|pg_\w+|pragma)\b", re.IGNORECASE)
_EXPLAIN = re.compile(r"\s*explain(?:\s+analyze)?(?:\s*\(\s*(?:format|analyze)\b[^)]*\))?(?=\W)", re.IGNORECASE)
_READ_ONLY = "Use SELECT, WITH, FROM, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN, one statement at a time."


@dataclass(frozen=True)
class Answer:
    """What a statement gives. `rows` are Python tuples, fetched as they are consumed, and can be read once."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


class LakeSql:
    """One in-memory DuckDB that sees the lake's tables. A context manager; its spill folder ends with it.

    `memory_bytes` bounds DuckDB's own buffers; what does not fit spills under `scratch`. Tables become visible as a
    statement names them, so opening costs the same for one table and for a thousand. Those of `versions`, by source and
    name, are read as they were then.
    """

    def __init__(
        self,
        store: Store,
        *,
        memory_bytes: int,
        threads: int,
        scratch: Path,
        versions: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self._store = store
        self._versions = versions or {}
        scratch.mkdir(parents=True, exist_ok=True)
        self._spill = Path(tempfile.mkdtemp(prefix="query-", dir=scratch))
        self._sources: dict[str, str] | None = None
        self._connection = duckdb.connect(
            ":memory:",
            config={
                **CLOSED,
                "memory_limit": f"{memory_bytes}B",
                "threads": str(threads),
                "temp_directory": str(self._spill),
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        self._has_extensions = False
        self._locked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def run(self, sql: str) -> Answer:
        """The answer of one read-only statement.

        Raises:
            ConfigError: it is no single read-only statement, names what the lake lacks, or DuckDB refuses it.
            MemoryBudgetExceeded: it cannot spill what it needs (raise IMPORT_PLATFORM_MEMORY or narrow the query).
            StoreUnavailable: the lake did not answer.
        """
        if self._locked:
            raise InvariantBroken("one LakeSql runs one statement", remedy="Open another one.")
        with self._translated():
            inner = self._single(sql)
            tree = self._syntax_tree(inner)
            _refuse_functions(tree)
            self._register(sql, tree)
            self._lock()
            result = self._connection.execute(sql)
        described = result.description or []
        return Answer(
            tuple(column[0] for column in described), tuple(str(column[1]) for column in described), self._rows()
        )

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        while True:
            with self._translated():
                rows = self._connection.fetchmany(FETCH_ROWS)
            if not rows:
                return
            yield from rows

    def _single(self, sql: str) -> str:
        """The one statement to look into; of an EXPLAIN what it explains."""
        statements = self._connection.extract_statements(sql)
        if len(statements) != 1:
            raise ConfigError(
                "query takes exactly one statement, and PIVOT only with its values named (ON c IN (..))"
                if statements
                else "there is no statement to run",
                remedy=_READ_ONLY,
            )
        if statements[0].type != duckdb.StatementType.EXPLAIN:
            return sql
        explained = _EXPLAIN.match(statements[0].query)
        return self._single(statements[0].query[explained.end() :]) if explained else ""

    def _syntax_tree(self, sql: str) -> dict[str, Any]:
        # DuckDB serializes SELECT nodes only, so this is the test for read-only as well.
        row = self._connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchone()
        tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
        if tree["error"]:
            raise ConfigError("query only reads", remedy=_READ_ONLY)
        return tree

    def _register(self, sql: str, tree: dict[str, Any]) -> None:
        mentioned = {
            (str(node.get("schema_name", "")), str(node["table_name"]))
            for node in _nodes(tree)
            if node.get("type") == "BASE_TABLE"
        }
        if _CATALOG.search(sql):
            mentioned |= set(self._tables())
        for source, table in sorted(mentioned):
            if not source and "/" in table:
                raise ConfigError("query reads lake tables, not files", found=table, remedy=self._known())
            if source:
                self._create_view(source, table)

    def _create_view(self, source: str, table: str) -> None:
        """DuckDB ignores case in names, so the table is looked up without it. No such table: left to the binder."""
        source, folder = _ignoring_case(self._source_folders(), source)
        table, inner = _ignoring_case(_folders(self._store, folder), table) if folder else ("", "")
        path = f"{folder}/{inner}"
        if not inner or next(self._store.entries(f"{path}/_delta_log"), None) is None:
            return
        if not self._has_extensions:
            self._has_extensions = True
            load_extensions(self._connection, self._store)
        version = self._versions.get((source, table))
        at = f", version = {version:d}" if version is not None else ""
        self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_identifier(source)}")
        self._connection.execute(
            f"CREATE OR REPLACE VIEW {_identifier(source)}.{_identifier(table)} AS "
            f"SELECT * FROM delta_scan({literal(f'{self._store.uri}/{path}')}{at})"
        )

    def _source_folders(self) -> dict[str, str]:
        if self._sources is None:
            self._sources = _folders(self._store, "")
        return self._sources

    def _tables(self) -> list[tuple[str, str]]:
        return [
            (source, table)
            for source, folder in self._source_folders().items()
            for table in _folders(self._store, folder)
        ]

    def _known(self) -> str:
        tables = [f"{source}.{table}" for source, table in self._tables() if not source.startswith("_")]
        shown = ", ".join(tables[:10]) + (f" and {len(tables) - 10} more" if len(tables) > 10 else "")
        return f"The lake holds {shown}." if tables else "The lake holds no table yet; run `import-platform sync`."

    def _lock(self) -> None:
        self._locked = True
        self._connection.execute(f"SET allowed_directories = [{literal(self._store.uri + '/')}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: duckdb.Error) -> ImportPlatformError:
        reason = str(error).strip().splitlines()[0][:300]
        if isinstance(error, duckdb.InterruptException):
            return Interrupted("the query was interrupted")
        if isinstance(error, duckdb.OutOfMemoryException):
            return MemoryBudgetExceeded(
                "the query needs more memory than the budget leaves it",
                reason=reason,
                remedy="Narrow it, or raise IMPORT_PLATFORM_MEMORY.",
            )
        if isinstance(error, duckdb.CatalogException):
            return ConfigError("the query names what is not there", reason=reason, remedy=self._known())
        if isinstance(error, duckdb.PermissionException):
            return ConfigError("query reads the lake and nothing else", reason=reason, remedy=_READ_ONLY)
        if isinstance(error, (duckdb.IOException, duckdb.HTTPException)):
            return StoreUnavailable("the lake did not answer the query", reason=reason, remedy="Try again.")
        return ConfigError("the SQL is not right", reason=reason, remedy="Correct the statement.")


def _folders(store: Store, parent: str) -> dict[str, str]:
    """Name to folder under the lake or a source, in order; folders that the platform did not name are left out."""
    found: dict[str, str] = {}
    for folder in store.folders(parent):
        if folder.startswith("_"):  # our own, beside the sources; `_ops` is for people
            found |= {folder: folder} if folder == "_ops" else {}
            continue
        with suppress(ConfigError):
            found[unescape(folder)] = folder
    return found


def _ignoring_case(folders: Mapping[str, str], name: str) -> tuple[str, str]:
    """The (name, folder) that matches exactly, else without case; two empty texts for none."""
    if name in folders:
        return name, folders[name]
    return next((item for item in folders.items() if item[0].lower() == name.lower()), ("", ""))


def _refuse_functions(tree: dict[str, Any]) -> None:
    for node in _nodes(tree):
        if node.get("type") == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                raise ConfigError(
                    "query reads lake tables, not table functions", found=name, remedy="Name tables as source.table."
                )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""DuckDB over the lake for dbt and for assets: the same extensions, keys and memory as `import-platform query`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
from dagster_duckdb import DuckDBResource

from import_platform.io.duckdb_lake import CLOSED, load_extensions
from import_platform.io.lake import Lake
from import_platform.own_folder import own_folder
from import_platform.resources.memory import memory_budget
from import_platform.resources.project import Settings, read_settings


def duckdb_config(settings: Settings) -> dict[str, str]:
    """What `duckdb.connect` is told: half of what the budget leaves free, and where the rest is spilled.

    The other half is for what DuckDB does not count: rows on their way to Python, and dbt itself.

    Raises:
        ConfigError: IMPORT_PLATFORM_MEMORY is not a size, or the scratch folder is somebody else's.
    """
    budget = memory_budget(settings.memory)
    return {
        **CLOSED,
        "memory_limit": f"{budget.free_bytes // 2}B",
        "temp_directory": str(own_folder("import_platform") / "duckdb"),
        "preserve_insertion_order": "false",
    }


class LakeDuckDB(DuckDBResource):
    """dagster-duckdb's resource on the platform's budget, with the lake's tables in reach of `delta_scan`.

    `database` may be a file; `connection_config` adds to the platform's settings and wins over them.
    """

    database: str = ":memory:"

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Raises ConfigError where the settings, the extensions or the lake's credentials are not right."""
        settings = read_settings()
        config: dict[str, Any] = {**duckdb_config(settings), **self.connection_config}
        with duckdb.connect(self.database, config=config) as connection:
            open_for_lake(connection, Lake(settings.lake_uri))
            yield connection


def open_for_lake(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Raises ConfigError as `load_extensions`."""
    load_extensions(connection, lake.store)
    connection.execute("SET TimeZone = 'UTC'")

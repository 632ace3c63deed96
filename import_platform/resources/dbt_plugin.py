"""What dbt-duckdb loads by the name in profiles.yml, in dbt's own process: memory, spilling, extensions, S3 keys."""

from __future__ import annotations

from typing import Any

import duckdb
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin

from import_platform.io.lake import Lake
from import_platform.resources.lake_duckdb import duckdb_config, open_for_lake
from import_platform.resources.project import read_settings


class Plugin(BasePlugin):
    """Settings of the profile win over the platform's. Raises ConfigError where those are not right."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        for name, value in duckdb_config(read_settings()).items():
            config.setdefault(name, value)

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        open_for_lake(conn, Lake(read_settings().lake_uri))

    def configure_cursor(self, cursor: Any) -> None:
        cursor.execute("SET TimeZone = 'UTC'")

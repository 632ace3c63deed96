"""What dbt-duckdb loads by the name in profiles.yml, in dbt's own process: memory, spilling, extensions, S3 keys."""

from __future__ import annotations

import threading
from typing import Any

import duckdb
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin

from import_platform.io.duckdb_lake import give_keys
from import_platform.io.lake import Lake
from import_platform.resources.lake_duckdb import duckdb_config, open_for_lake
from import_platform.resources.project import read_settings


class Plugin(BasePlugin):
    """Settings of the profile win over the platform's. Raises ConfigError where those are not right."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        for name, value in duckdb_config(read_settings()).items():
            config.setdefault(name, value)

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        self._lake, self._telling = Lake(read_settings().lake_uri), threading.Lock()
        self._told = self._lake.store.storage_options
        open_for_lake(conn, self._lake)

    def configure_cursor(self, cursor: Any) -> None:
        """Comes before every model, which may be long after the last one: keys that end have been renewed by then."""
        cursor.execute("SET TimeZone = 'UTC'")
        with self._telling:
            keys = self._lake.store.storage_options
            if keys != self._told:
                give_keys(cursor, self._lake.store)
                self._told = keys

"""Where things lie in the lake: `<source>/<table>/` is the Delta table, `_staging/` and `_ops/` stand beside."""

from __future__ import annotations

from collections.abc import Mapping

from import_platform.core.names import escape, unescape
from import_platform.io.store import Store


class Lake:
    """The lake at a URI. Creating it makes the folder of a local lake and opens no connection to a remote one."""

    def __init__(self, uri: str, *, env: Mapping[str, str] | None = None) -> None:
        self.store = Store(uri, env=env)
        self.uri = self.store.uri

    def __repr__(self) -> str:
        return f"Lake({self.uri!r})"

    def table_path(self, source: str, table: str) -> str:
        """The table's folder relative to the lake."""
        return f"{escape(source)}/{escape(table)}"

    def table_uri(self, source: str, table: str) -> str:
        """What any Delta reader opens."""
        return f"{self.uri}/{self.table_path(source, table)}"

    def staging_path(self, source: str, table: str) -> str:
        return f"_staging/{self.table_path(source, table)}"

    def tables(self) -> list[tuple[str, str]]:
        """(source, table) of every Delta table in the lake, in order, by listing folders."""
        found = []
        for source in self.store.folders(""):
            if source.startswith("_"):
                continue
            tables = self.store.folders(source)
            found += [
                (unescape(source), unescape(table))
                for table in tables
                if "_delta_log" in self.store.folders(f"{source}/{table}")
            ]
        return found

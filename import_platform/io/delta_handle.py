"""A Delta table kept open between requests, as deltalake keeps it: with the keys that it was opened with."""

from __future__ import annotations

from deltalake import DeltaTable

from import_platform.io.store import Store


class DeltaHandle:
    """Opens the table anew where the store's keys have been renewed since, so that a long merge can still commit."""

    def __init__(self, store: Store, uri: str) -> None:
        self._store = store
        self._uri = uri
        self._table: DeltaTable | None = None
        self._options: dict[str, str] = {}

    def newest(self) -> DeltaTable:
        """At its newest version; reads only what came since the last time. Raises what deltalake raises."""
        table = self._table
        if table is None or self._options != self._store.storage_options:
            return self._opened(None)
        table.update_incremental()
        return table

    def held(self) -> DeltaTable | None:
        """At the version of the last `newest`, None before that. Asks for nothing as a rule."""
        table = self._table
        if table is not None and self._options != self._store.storage_options:
            return self._opened(table.version())
        return table

    def _opened(self, version: int | None) -> DeltaTable:
        options = self._store.storage_options
        self._table = DeltaTable(self._uri, version=version, storage_options=options)
        self._options = options
        return self._table

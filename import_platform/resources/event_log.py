"""Dagster's storage in SQLite with the files of the event log kept open.

Dagster opens a file for each of the forty entries that a table makes, and closing it folds its write-ahead log: of a
command that syncs many small tables that was half the time. The entries and the files are the same. A killed process
loses none of them; a machine that loses power may lose the last ones of a run, as its write-ahead logs reach the disk
when they are folded (https://sqlite.org/pragma.html#pragma_synchronous). What was imported stands in the lake.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

FILES_MAX = 8
"""Kept open: the index, the runs of this process, and some that were looked at."""
_BUSY_SECONDS = 60


class KeptEventLog(SqliteEventLogStorage):
    """One connection per file, used by one thread at a time. For a process that ends, not for a server."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._kept: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        if shard not in self._initialized_dbs:
            with super()._connect(shard):
                pass  # it makes the file
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._kept.pop(shard, None)
        if engine is None:
            options = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
            engine = create_engine(self.conn_string_for_shard(shard), poolclass=StaticPool, connect_args=options)
            event.listen(engine, "connect", _sync_when_folded)
        self._kept[shard] = engine
        if len(self._kept) > FILES_MAX:
            self._kept.popitem(last=False)[1].dispose()
        return engine

    def dispose(self) -> None:
        """Closes the files."""
        with self._db_lock:
            for engine in self._kept.values():
                engine.dispose()
            self._kept.clear()
        super().dispose()


def _sync_when_folded(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")


class KeptSqliteStorage(DagsterSqliteStorage):
    """Dagster's own, but for its event log."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data=inst_data)
        self._event_log_storage = KeptEventLog(self._event_log_storage._base_dir)  # noqa: SLF001

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        return cls.from_local(inst_data=inst_data, **config_value)


def kept_open(ref: InstanceRef) -> InstanceRef:
    """The same instance; one whose storage is not Dagster's SQLite is left alone."""
    storage = ref.storage_data
    if storage is None or storage.class_name != DagsterSqliteStorage.__name__:
        return ref
    return ref._replace(storage_data=ConfigurableClassData(__name__, KeptSqliteStorage.__name__, storage.config_yaml))

"""Small remote objects kept between two readings of them."""

from __future__ import annotations

import threading

import pyarrow as pa

from import_platform.io.store import Store


class ReadOnce:
    """A store whose small remote objects are fetched once though they are opened twice: probed, then rewritten.

    Holds up to `limit_bytes` of them; a local store is passed through, its page cache does as much.
    """

    def __init__(self, store: Store, limit_bytes: int) -> None:
        self._store = store
        self._room_bytes = limit_bytes
        self._held: dict[str, pa.Buffer] = {}
        self._lock = threading.Lock()

    def open_input(self, path: str) -> pa.NativeFile:
        if (held := self._held.get(path)) is not None:
            return pa.BufferReader(held)
        file = self._store.open_input(path)
        with self._lock:
            if isinstance(file, pa.BufferReader) and file.size() <= self._room_bytes:
                self._room_bytes -= file.size()
                self._held[path] = file.read_buffer()
                file.seek(0)
        return file

    def forget(self, path: str) -> None:
        """Frees an object that will not be opened again."""
        with self._lock:
            held = self._held.pop(path, None)
            self._room_bytes += held.size if held is not None else 0

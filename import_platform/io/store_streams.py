"""obstore's readers and writers as the file objects that pyarrow expects."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, Any


class Reader(io.RawIOBase):
    """obstore's reader as the file object pyarrow expects (it asks for real `bytes`)."""

    def __init__(self, reader: Any, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._reader = reader
        self._translated = translated

    def read(self, size: int = -1) -> bytes:
        with self._translated():  # the object may be deleted, or the network fail, in the middle of it
            return bytes(self._reader.read(None if size < 0 else size))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def size(self) -> int:
        return int(self._reader.size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._reader.close()


class Writer:
    """obstore's writer as the file object pyarrow expects."""

    def __init__(self, writer: Any) -> None:
        self._writer: IO[bytes] | None = writer
        self.closed = False
        self.written_bytes = 0

    def write(self, data: Any) -> int:
        if self._writer is None:
            raise OSError("the file was given up")
        self._writer.write(bytes(data))
        self.written_bytes += len(data)
        return len(data)

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        return None  # parts are uploaded when they are full; flushing would break the minimum part size of S3

    def close(self) -> None:
        if not self.closed and self._writer is not None:
            self._writer.close()
        self.closed = True

    def give_up(self) -> None:
        """Closing makes no object any more; stored parts are left to the bucket's rule for incomplete uploads."""
        self._writer = None

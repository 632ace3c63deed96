"""The bytes of a file as they are inside gzip, zstd or zip, streamed, and never more of them than its size allows."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

EXPANSION_BYTES_FREE = 64 << 20
"""A file may unpack to so much whatever its own size."""
ENDED = (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file raises."""


class FileDamaged(Exception):
    """A file cannot be read on: its packing is broken, it ends too early, or it unpacks to more than it may."""


@dataclass(frozen=True)
class Part:
    """A stream of rows in a file: the file itself, or one of a zip. `is_plain` ones can be read from any byte on."""

    name: str
    open: Callable[[], Any]
    is_plain: bool


@contextmanager
def parts_of(path: str, file: BinaryIO, *, size_bytes: int, max_expansion: int) -> Iterator[list[Part]]:
    """The parts of an open file, by what it begins with, whatever its name.

    Raises:
        FileDamaged: it begins as a zip and is none.
    """
    limit_bytes = EXPANSION_BYTES_FREE + max_expansion * size_bytes
    magic = file.read(4)
    file.seek(0)
    if magic[:4] == b"PK\x03\x04":
        with _zip(file) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            yield [
                Part(f"{path}/{info.filename}", _member(archive, info, limit_bytes // max(len(members), 1)), False)
                for info in members
            ]
        return
    codec = "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic == b"\x28\xb5\x2f\xfd" else None
    if codec is None:
        yield [Part(path, lambda: _from_start(file), True)]
        return

    def unpacked() -> Any:
        file.seek(0)
        return Capped(pa.CompressedInputStream(pa.PythonFile(_Kept(file), mode="r"), codec), limit_bytes)

    yield [Part(path, unpacked, False)]


def _from_start(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _zip(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except ENDED:
        raise FileDamaged("the zip archive is damaged") from None


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit_bytes: int) -> Callable[[], Capped]:
    def opened() -> Capped:
        try:
            return Capped(archive.open(info), limit_bytes)
        except (*ENDED, RuntimeError, NotImplementedError):
            raise FileDamaged("a member of the zip archive is damaged, encrypted or packed in an odd way") from None

    return opened


class Capped:
    """A stream that ends with FileDamaged where it is broken, or longer than `limit_bytes`."""

    def __init__(self, stream: Any, limit_bytes: int) -> None:
        self._stream = stream
        self._left_bytes = limit_bytes
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        try:
            data = bytes(self._stream.read(size if size >= 0 else self._left_bytes + 1))
        except ENDED:
            raise FileDamaged("the packed data is damaged or ends too early") from None
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise FileDamaged("the file unpacks to more than max_expansion allows")
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


class _Kept:
    """The file under a stream that would close it with itself."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

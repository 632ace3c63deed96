"""The bytes of a file as they are inside gzip, zstd or zip, streamed, and never more of them than its size allows."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

EXPANSION_BYTES_FREE = 64 << 20
"""A file may unpack to so much whatever its own size."""
CHUNK_BYTES = 1 << 16
"""Unpacked in one go; also what the unpacker takes of the file in one go."""
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

    yield [Part(path, lambda: Capped(_Packed(file, codec).open, limit_bytes), False)]


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
            return Capped(_Member(archive, info).open, limit_bytes)
        except (*ENDED, RuntimeError, NotImplementedError):
            raise FileDamaged("a member of the zip archive is damaged, encrypted or packed in an odd way") from None

    return opened


class Capped:
    """A stream that ends with FileDamaged where it is broken, or longer than `limit_bytes`; what comes before is given
    first. `opened` gives the stream from its start, a second time where it turns out to be broken."""

    def __init__(self, opened: Callable[[], Any], limit_bytes: int) -> None:
        self._opened = opened
        self._stream = opened()
        self._given_bytes = 0
        self._limit_bytes = limit_bytes
        self._damage: FileDamaged | None = None
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        left = self._limit_bytes + 1 - self._given_bytes
        wanted = min(size, left) if size >= 0 else left
        chunks: list[bytes] = []
        while wanted > 0 and self._damage is None:
            chunk = self._next(min(wanted, CHUNK_BYTES))
            if not chunk:
                break
            chunks.append(chunk)
            wanted -= len(chunk)
            self._given_bytes += len(chunk)
        if self._given_bytes > self._limit_bytes:
            self._damage = FileDamaged("the file unpacks to more than max_expansion allows")
        if self._damage is not None and not chunks:
            raise self._damage
        return b"".join(chunks)

    def _next(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except ENDED:
            self._damage = FileDamaged("the packed data is damaged or ends too early")
            return self._before_damage(size)

    def _before_damage(self, size: int) -> bytes:
        """A read that fails drops what it had unpacked: the same again, byte by byte."""
        found = bytearray()
        try:
            stream = self._opened()
            left = self._given_bytes
            while left > 0 and (skipped := stream.read(min(left, CHUNK_BYTES))):
                left -= len(skipped)
            while len(found) < size and (byte := stream.read(1)):
                found += byte
        except ENDED:
            pass
        return bytes(found)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


class _Packed:
    """A gzip or zstd file. Opened again, it is unpacked in single bytes from shortly before where the first pass
    ended, because an unpacker gives nothing of the bytes among which it finds damage."""

    def __init__(self, file: BinaryIO, codec: str) -> None:
        self._file = file
        self._codec = codec
        self._last: _Kept | None = None

    def open(self) -> Any:
        self._file.seek(0)
        careful_from = None if self._last is None else max(self._last.given_bytes - 2 * CHUNK_BYTES, 0)
        self._last = _Kept(self._file, careful_from)
        return pa.CompressedInputStream(pa.PythonFile(self._last, mode="r"), self._codec)


class _Member:
    """A member of a zip. Opened again, it is unpacked in single bytes and not compared with its checksum, because a
    read that fails gives nothing."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._info = info
        self._is_again = False

    def open(self) -> Any:
        if not self._is_again:
            self._is_again = True
            return self._archive.open(self._info)
        unchecked = copy(self._info)
        del unchecked.CRC
        stream: Any = self._archive.open(unchecked)
        stream.MIN_READ_SIZE = 1
        return stream


class _Kept(io.RawIOBase):
    """The file under a stream that would close it with itself."""

    def __init__(self, file: BinaryIO, careful_from: int | None) -> None:
        self._file = file
        self._careful_from = careful_from
        self.given_bytes = 0

    def read(self, size: int = -1) -> bytes:
        is_careful = self._careful_from is not None and self.given_bytes >= self._careful_from
        data = self._file.read(1 if is_careful else size)
        self.given_bytes += len(data)
        return data

    def readable(self) -> bool:
        return True

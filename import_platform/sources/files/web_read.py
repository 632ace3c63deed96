"""One version of a file of a web server as Python's file object: by ranges, else as one stream from its start."""

from __future__ import annotations

import hashlib
import http.client
import io
import re
import time

from requests import Response
from urllib3.exceptions import HTTPError

from import_platform.errors import SourceRejected, SourceUnavailable
from import_platform.sources.files.web_session import WebSession
from import_platform.sources.files.web_told import Told
from import_platform.sources.protocol import TokenExpired

BLOCK_BYTES = 4 << 20
LEAST_BYTES = 1 << 16
HEAD_BYTES = 1 << 17
"""Kept of a stream, because dialect and packing are found in the first bytes, which are then read again."""
_PIECE_BYTES = 1 << 18
_BODY_TIMES = 10  # a block may take this many times the time limit in all, so that a trickle ends
_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)


class WebFile(io.RawIOBase):
    """To read and seek; memory is one block and what was asked for.

    Without ranges only towards the end, and back by reading again from the start. Methods raise TokenExpired (the file
    is another one now), SourceUnavailable, and SourceRejected (the file's end is asked for and there are no ranges).
    """

    def __init__(self, session: WebSession, name: str, url: str, told: Told) -> None:
        self._wire = Wire(session, name, url, told)
        self._told = told
        self._at = 0
        self._begin, self._block, self._step = 0, b"", LEAST_BYTES
        self._stream = Stream(self._wire, None) if told.has_no_ranges else None

    def read(self, size: int = -1) -> bytes:
        left = max(self._told.size_bytes - self._at, 0)
        left = left if size < 0 else min(size, left)
        pieces = []
        while left > 0:
            piece = self._stream.read(self._at, left) if self._stream is not None else self._ranged(left)
            pieces.append(piece)
            self._at += len(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 2 and self._stream is not None:
            raise SourceRejected(
                "this file is read from its end, and the server gives no part of a file",
                path=self._wire.name,
                remedy="Copy the file to S3 or to disk; only CSV, JSON and XML outside of a zip are read as they come.",
            )
        self._at = max(offset + (0, self._at, self._told.size_bytes)[whence], 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._block = b""
        if self._stream is not None:
            self._stream.close()
        super().close()

    def _ranged(self, wanted: int) -> bytes:
        """At least a byte."""
        inside = self._at - self._begin
        if not 0 <= inside < len(self._block):
            follows = inside == len(self._block)
            self._step = min(2 * self._step, BLOCK_BYTES) if follows else LEAST_BYTES
            end = min(self._at + max(min(wanted, BLOCK_BYTES), self._step), self._told.size_bytes)
            block = self._wire.range(self._at, end)
            if isinstance(block, Response):
                self._stream = Stream(self._wire, block)
                return self._stream.read(self._at, wanted)
            self._begin, self._block, inside = self._at, block, 0
        return self._block[inside : inside + wanted]


class Wire:
    """The requests for one version of a file."""

    def __init__(self, session: WebSession, name: str, url: str, told: Told) -> None:
        self.name = name
        self._session = session
        self._url = url
        self._told = told
        self._has_ranges = False

    @property
    def size_bytes(self) -> int:
        return self._told.size_bytes

    def range(self, begin: int, end: int) -> bytes | Response:
        """The bytes; or the whole file as an open answer, from a server without ranges."""
        data, tries = bytearray(), 0
        while begin + len(data) < end:
            headers = {"Range": f"bytes={begin + len(data)}-{end - 1}"} | self._only("If-Range")
            response = self._session.ask(self.name, self._url, headers=headers)
            if response.status_code == 200 and not self._has_ranges:
                self._check(response, _whole(response))
                return response
            with response:
                self._check_range(response, begin + len(data))
                self._has_ranges = True
                before = len(data)
                if self.take(response, data, end - begin):
                    self.take(response, bytearray(), 1)  # the body's end, so that the connection is used again
            if begin + len(data) < end:
                tries = 0 if len(data) > before else tries
                self.cut_short(tries)
                tries += 1
        return bytes(data)

    def whole(self) -> Response:
        response = self._session.ask(self.name, self._url, headers=self._only("If-Match"))
        self._check(response, _whole(response))
        return response

    def take(self, response: Response, data: bytearray, upto: int) -> bool:
        """Adds to `data` until it has `upto` bytes; False where the body ends or breaks before."""
        end = time.monotonic() + _BODY_TIMES * self._session.http.timeout
        try:
            while len(data) < upto and time.monotonic() < end:
                piece = response.raw.read1(min(upto - len(data), _PIECE_BYTES), decode_content=False)
                if not piece:
                    return False
                data += piece
        except (HTTPError, http.client.HTTPException, OSError):
            return False
        return len(data) == upto

    def cut_short(self, tries: int) -> None:
        """Waits before the body is asked for again.

        Raises:
            SourceUnavailable: it was cut short at the same byte too often.
        """
        if tries >= self._session.http.retries:
            raise SourceUnavailable("the body of a file ends too early", path=self.name, remedy="Run the sync again.")
        self._session.pause(tries)

    def changed(self) -> TokenExpired:
        return TokenExpired("a file changed while it was read", file=self.name, remedy="It is read again.")

    def _only(self, header: str) -> dict[str, str]:
        return {header: self._told.etag} if self._told.etag and self._told.is_strong else {}

    def _check(self, response: Response, size_bytes: int | None) -> None:
        if response.status_code in (200, 206) and self._told.is_of(response.headers, size_bytes):
            return
        response.close()
        if response.status_code in (200, 206, 404, 410, 412, 416):
            raise self.changed()
        raise SourceRejected(
            "the server refuses a file",
            path=self.name,
            status=response.status_code,
            remedy="Correct the address, or auth and headers under http.",
        )

    def _check_range(self, response: Response, begin: int) -> None:
        if response.status_code == 200:  # ranges were given before: If-Range says that the file is another one
            raise self.changed()
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        total = int(found[3]) if found and found[3] != "*" else None
        self._check(response, total)
        if found is None or int(found[1]) != begin:
            raise SourceRejected(
                "the server gives another part of a file than it was asked for",
                path=self.name,
                remedy="Copy the file to S3 or to disk.",
            )


class Stream:
    """The whole file from its start. Where it breaks it is read again and skipped, and what is skipped is compared
    with what was read before, so that versions are never mixed."""

    def __init__(self, wire: Wire, response: Response | None) -> None:
        self._wire = wire
        self._response = response
        self._head = bytearray()
        self._read_bytes = 0
        self._digest = hashlib.blake2b()
        self._proof = (0, b"")

    def read(self, at: int, wanted: int) -> bytes:
        """At least a byte of those from `at` on, which lie inside the file."""
        if at < len(self._head):
            return bytes(self._head[at : at + wanted])
        if at < self._read_bytes:
            self._again()
        while self._read_bytes < at:
            self._next(at - self._read_bytes)
        return self._next(wanted)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _next(self, wanted: int) -> bytes:
        tries, best = 0, self._proof[0]
        goal = self._read_bytes
        while True:
            data = self._piece(wanted if self._read_bytes == goal else goal - self._read_bytes)
            if data and self._read_bytes > goal:
                return data
            if not data:
                reached = max(self._read_bytes, self._proof[0])
                tries, best = (0, reached) if reached > best else (tries, best)
                self._again()
                self._wire.cut_short(tries)
                tries += 1

    def _piece(self, wanted: int) -> bytes:
        """The next bytes; none where the body breaks."""
        if self._response is None:
            self._response = self._wire.whole()
        if self._read_bytes < self._proof[0]:
            wanted = min(wanted, self._proof[0] - self._read_bytes)
        data = bytearray()
        self._wire.take(self._response, data, min(wanted, BLOCK_BYTES))
        if len(self._head) < HEAD_BYTES and self._read_bytes == len(self._head):
            self._head += data[: HEAD_BYTES - len(self._head)]
        self._read_bytes += len(data)
        self._digest.update(data)
        if self._read_bytes == self._proof[0] and data and self._digest.digest() != self._proof[1]:
            raise self._wire.changed()
        if self._read_bytes == self._wire.size_bytes and self._wire.take(self._response, bytearray(), 1):
            raise self._wire.changed()
        return bytes(data)

    def _again(self) -> None:
        """From the start, with a proof of what was read so far."""
        self.close()
        if self._read_bytes >= self._proof[0]:
            self._proof = (self._read_bytes, self._digest.digest())
        self._read_bytes, self._digest = 0, hashlib.blake2b()


def _whole(response: Response) -> int | None:
    text = response.headers.get("Content-Length", "").strip()
    return int(text) if text.isdigit() else None

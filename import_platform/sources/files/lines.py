"""A stream in blocks of whole lines, each with the byte behind it."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from import_platform.sources.files.piece import Reading

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Block:
    """Whole lines, or none and a row that is too wide (`dropped`). `end` is the byte behind them."""

    data: bytes
    end: int
    dropped: bool = False


def open_text(reading: Reading) -> Any:
    """The part's bytes in UTF-8."""
    stream = reading.part.open()
    return stream if _is_utf8(reading) else Recoded(stream, reading.table.encoding)


def blocks(reading: Reading, *, start: int, last_end: Callable[[bytes], int]) -> Iterator[Block]:
    """From byte `start` on. `last_end` finds the byte behind the last whole row of some bytes, 0 for none."""
    stream = open_text(reading)
    if reading.part.is_plain and _is_utf8(reading):
        stream.seek(start)
    else:
        _skip(stream, start)
    size = max(1 << 16, min(reading.limit_bytes // 2, 8 << 20))
    held, at = b"", start
    while True:
        more = stream.read(size)
        held += more
        if not more:
            if held:
                yield Block(held, at + len(held))
            return
        if len(held) < size:
            continue
        cut = last_end(held)
        if cut:
            at += cut
            yield Block(held[:cut], at)
            held = held[cut:]
        elif len(held) > reading.row_bytes_max:
            held, lost = _without_line(held, stream)
            at += lost
            yield Block(b"", at, dropped=True)


def _without_line(held: bytes, stream: Any) -> tuple[bytes, int]:
    """What follows the first line, and how many bytes that line had."""
    lost = 0
    while (end := held.find(b"\n")) < 0:
        lost += len(held)
        held = stream.read(READ_BYTES)
        if not held:
            return b"", lost
    return held[end + 1 :], lost + end + 1


def _skip(stream: Any, count: int) -> None:
    while count > 0 and (data := stream.read(min(count, READ_BYTES))):
        count -= len(data)


def _is_utf8(reading: Reading) -> bool:
    return codecs.lookup(reading.table.encoding).name == "utf-8"


class Recoded:
    """A stream of another encoding as UTF-8; what it cannot decode becomes the sign for that, or as `errors` says.

    Raises LookupError: there is no such encoding.
    """

    def __init__(self, stream: Any, encoding: str, *, errors: str = "replace") -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)

    def read(self, size: int) -> bytes:
        while True:
            data = self._stream.read(size)
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text.encode()

"""A stream in blocks of whole lines, each with the byte behind it."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Reading

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Block:
    """Whole lines, or none and a row that is too wide (`dropped`). `end` is the byte behind them. The last line of the
    last one (`is_last`) may have no end."""

    data: bytes
    end: int
    dropped: bool = False
    is_last: bool = False


def open_text(reading: Reading) -> Any:
    """The part's bytes in UTF-8."""
    stream = reading.part.open()
    return stream if _is_utf8(reading) else Recoded(stream, reading.table.encoding)


def blocks(
    reading: Reading, *, start: int, last_end: Callable[[bytes], int], quote: bytes | None = None
) -> Iterator[Block]:
    """From byte `start` on. `last_end` finds the byte behind the last whole row of some bytes, 0 for none; a line end
    between two of `quote` ends no row.

    Raises:
        FileDamaged: the part cannot be unpacked further; the whole rows before are given first.
    """
    stream = open_text(reading)
    if reading.part.is_plain and _is_utf8(reading):
        stream.seek(start)
    else:
        _skip(stream, start)
    size = max(1 << 16, min(reading.limit_bytes // 2, 8 << 20))
    held, at = b"", start
    while True:
        try:
            more = stream.read(size)
        except FileDamaged:
            if cut := last_end(held):
                yield Block(held[:cut], at + cut)
            raise
        held += more
        if not more:
            if held:
                yield Block(held, at + len(held), is_last=True)
            return
        if len(held) < size:
            continue
        cut = last_end(held)
        if cut:
            at += cut
            yield Block(held[:cut], at)
            held = held[cut:]
        elif len(held) > reading.row_bytes_max:
            held, lost = _without_row(held, stream, quote)
            at += lost
            yield Block(b"", at, dropped=True)


def _without_row(held: bytes, stream: Any, quote: bytes | None) -> tuple[bytes, int]:
    """What follows the first row, and how many bytes that row had."""
    lost = quotes = 0
    while True:
        end = -1
        while (start := end + 1) <= len(held) and (end := held.find(b"\n", start)) >= 0:
            quotes += held.count(quote, start, end) if quote else 0
            if quotes % 2 == 0:
                return held[end + 1 :], lost + end + 1
        quotes += held.count(quote, start) if quote else 0
        lost += len(held)
        held = stream.read(READ_BYTES)
        if not held:
            return b"", lost


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

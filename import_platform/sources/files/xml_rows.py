"""XML as rows: one element is a record; nothing outside the file is ever read, and no entity is expanded."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from import_platform.sources.files.lines import Recoded
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Piece, Reading, empty
from import_platform.sources.files.xml_shred import Rows, Shredder

_DECLARED = re.compile(rb"""^\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["'][^>]*\?>""")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\x00?\x00", "utf-16-le"),
    (b"\x00<\x00?", "utf-16-be"),
)


def read_xml(reading: Reading) -> Iterator[Piece]:
    """Raises FileDamaged: the document is refused or ends too early; what came before is given first."""
    shredder = Shredder([reading.table], row_bytes_max=reading.row_bytes_max, done=reading.row)
    waiting: list[Rows] = []
    upto, is_first = reading.row, True
    try:
        for stretch in shredder.stretches(utf8(reading.part.open())):
            waiting.append(stretch.rows[0])
            upto = stretch.upto
            if is_first or sum(rows.batch.nbytes for rows in waiting) > reading.limit_bytes:
                yield piece_of(waiting, upto)
                waiting, is_first = [], False
    except FileDamaged:
        yield piece_of(waiting, upto)
        raise
    yield piece_of(waiting, upto)


def piece_of(parts: Sequence[Rows], upto: int) -> Piece:
    """Rows of one table as a piece that ends behind record `upto`."""
    tables = [pa.Table.from_batches([rows.batch]) for rows in parts if rows.batch.num_rows]
    batches = pa.concat_tables(tables, promote_options="default").combine_chunks().to_batches() if tables else []
    numbers = [rows.numbers for rows in parts]
    items = [rows.items for rows in parts if rows.items is not None]
    return Piece(
        batches[0] if batches else empty(),
        np.concatenate(numbers) if numbers else np.array([], np.int64),
        {"row": upto},
        items=np.concatenate(items) if items else None,
        bad=tuple(bad for rows in parts for bad in rows.bad),
    )


def utf8(stream: Any) -> Callable[[int], bytes]:
    """Reads a document as UTF-8, whatever it says that it is in. What cannot be decoded becomes a sign that XML does
    not know, so that its record is set apart.

    Raises FileDamaged: nobody knows that encoding.
    """
    head = stream.read(1 << 10)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    declared = _DECLARED.match(head)
    if encoding is None and declared is not None and declared[1].lower() not in (b"utf-8", b"us-ascii", b"ascii"):
        encoding = declared[1].decode()
    if encoding is None:
        return _Behind(head, stream).read
    try:
        recoded = Recoded(_Behind(head, stream), encoding, errors=_UNKNOWN)
    except LookupError:
        raise FileDamaged("the document is in an encoding that nobody knows here") from None
    text = recoded.read(1 << 10)
    return _Behind(_without_encoding(text), recoded).read


def _without_encoding(head: bytes) -> bytes:
    return re.sub(rb"""(<\?xml\b[^>]*?)\s+encoding\s*=\s*["'][^"']*["']""", rb"\1", head, count=1)


class _Behind:
    """A stream behind some bytes of it that were read already."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head, b""
            return data
        data = self._stream.read(size)
        return bytes(data)


def _unknown(error: UnicodeError) -> tuple[str, int]:
    return "\x01", error.end if isinstance(error, UnicodeDecodeError) else 1


_UNKNOWN = "import_platform_xml"
codecs.register_error(_UNKNOWN, _unknown)

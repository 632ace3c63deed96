"""XML as rows: one element is a record, freed as soon as its rows are taken; nothing outside the file is ever read.

The parser is fed record by record, so that an error is that of one record. It goes on behind errors, and a record in
which there was one is set apart with its number and place. Documents that declare entities are refused, so none is ever
expanded; no DTD is loaded and nothing is asked of a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from lxml import etree

from import_platform.sources.files.declaration import Files
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Bad, Piece, Reading, empty
from import_platform.sources.files.xml_paths import (
    ManyFound,
    ValuePath,
    element_path,
    flat,
    local,
    qualified,
    union_of,
    value_path,
)

READ_BYTES = 1 << 18
_ENTITY = b"<!ENTITY"
_REFUSED = "the document declares entities, which are refused"
_STRAY = re.compile(rb"&(?!(?:#[0-9]+|#x[0-9a-fA-F]+|[^\s&;<>#]+);)")
ERRORS_MAX = 10_000
"""A file with more errors than this is not XML as anybody meant it, and its list of them would fill memory."""


def read_xml(reading: Reading) -> Iterator[Piece]:
    """Raises FileDamaged: the document is refused or ends too early; what came before is given first."""
    taking = _Taking(reading.table)
    walk = _Walk(reading, taking)
    stream = reading.part.open()
    while True:
        data = stream.read(READ_BYTES)
        try:
            yield from walk.feed(data)
            if not data:
                walk.end()
        except FileDamaged:
            yield walk.taken()
            raise
        if not data or taking.bytes > reading.limit_bytes:
            yield walk.taken()
        if not data:
            return


@dataclass
class _Taking:
    """Rows that are taken and not yet given. Mutable: it lives for a part."""

    table: Files
    bytes: int = 0
    rows: list[Any] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    paths: tuple[ValuePath, ...] = ()
    steps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.paths = tuple(value_path(column, self.table) for column in self.table.columns)
        self.steps = element_path(self.table.rows, self.table) if self.table.rows else ()

    def take(self, record: Any, number: int) -> None:
        """The rows of one record; a row of which a path leads to several values is set apart. Children of a parent come
        behind a row that stands for the record, with what the paths from the record lead to."""
        if not self.table.rows:
            self._row(record, record, number, 0)
            return
        if self.table.parent_key:
            self._row(None, record, number, 0)
        elements = [record]
        for step in self.steps:
            elements = [child for parent in elements for child in parent.iterchildren(step)]
        for item, element in enumerate(elements, start=1):
            self._row(element, record, number, item)

    def _row(self, element: Any, record: Any, number: int, item: int) -> None:
        row: Any
        if self.paths:
            row = []
            for path in self.paths:
                try:
                    start = record if path.from_record else element
                    row.append(None if start is None else path.value(start))
                except ManyFound as many:
                    reason = f"the path of {path.name} leads to {many.count} elements; `list: true` takes them all"
                    self.bad.append(Bad(number, f"{reason} (child row {item})" if item else reason))
                    return
            self.bytes += sum(len(value) for value in row if value is not None) + 8 * len(row)
        else:
            row = flat(element)
            self.bytes += sum(len(value or "") + 60 for value in row.values())
        self.rows.append(row)
        self.numbers.append(number)
        self.items.append(item)

    def piece(self, at: Mapping[str, int]) -> Piece:
        """What was taken since the last piece."""
        if self.paths:
            names = [path.name for path in self.paths]
            columns = [list(column) for column in zip(*self.rows, strict=True)] or [[] for _ in names]
        else:
            names = union_of(self.rows)
            columns = [[row.get(name) for row in self.rows] for name in names]
        arrays = [pa.array(column, pa.string()) for column in columns]
        batch = pa.RecordBatch.from_arrays(arrays, names=names) if names else empty()
        numbers = np.array(self.numbers, np.int64)
        items = np.array(self.items, np.int64) if self.table.rows else None
        piece = Piece(batch, numbers, at, items=items, bad=tuple(self.bad))
        self.rows, self.numbers, self.items, self.bad, self.bytes = [], [], [], [], 0
        return piece


class _Walk:
    """A part on its way through the parser."""

    def __init__(self, reading: Reading, taking: _Taking) -> None:
        self._reading = reading
        self._taking = taking
        self._tag = qualified(reading.table.record, reading.table)
        self._parser: Any = etree.XMLPullParser(
            events=("end",),
            tag=self._tag,
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            dtd_validation=False,
            attribute_defaults=False,
            huge_tree=False,
            recover=True,
            collect_ids=False,
            remove_comments=True,
            remove_pis=True,
        )
        self._ends = re.compile(rb"</(?:[^<>\s/:]+:)?" + re.escape(local(self._tag)).encode() + rb"\s*>")
        self._held = b""
        self._at = 0  # bytes fed
        self._record = 0  # records that ended
        self._errors = 0
        self._dirty = False  # there was an error since a record ended
        self._since = 0  # bytes fed since a record ended
        self._looked = False
        self._ends_seen = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Gives pieces whenever enough rows are taken."""
        held = self._held + data
        start = 0
        for match in self._ends.finditer(held):
            self._ends_seen += 1
            self._slice(held[start : match.end()])
            start = match.end()
            if self._taking.bytes > self._reading.limit_bytes:
                yield self.taken()
        # An end tag may lie across two reads, so what could be the beginning of one waits.
        cut = held.rfind(b"<", start) if data else len(held)
        cut = cut if cut >= start and len(held) - cut < 1024 else len(held)
        if cut > start:
            self._slice(held[start:cut])
        self._held = held[cut:]

    def end(self) -> None:
        """Raises FileDamaged: the document does not end as one should."""
        before = self._count()
        try:
            self._parser.close()
        except etree.XMLSyntaxError:
            raise FileDamaged(f"the file is no XML, or ends too early, after record {self._record}") from None
        count = self._count()
        whole = self._record
        self._dirty = self._dirty or count > before
        self._take_events()
        if count > before or (count and not whole) or self._ends_seen > self._record:
            raise FileDamaged(f"the file is no XML, or ends too early, after record {whole}")

    def taken(self) -> Piece:
        return self._taking.piece({"row": self._record})

    def _slice(self, data: bytes) -> None:
        if not self._record and _ENTITY in data:
            raise FileDamaged(_REFUSED)
        if b"&" in data:
            data = self._without_stray(data)
        try:
            self._parser.feed(data)
        except etree.XMLSyntaxError:
            raise FileDamaged(f"the parser gave up after record {self._record}, before byte {self._at}") from None
        self._at += len(data)
        self._since += len(data)
        count = self._count()
        if count > self._errors:
            self._errors = count
            self._dirty = True
            if count > ERRORS_MAX:
                raise FileDamaged(f"the file has more than {ERRORS_MAX} errors")
        if self._take_events():
            self._since = 0
            self._dirty = False
        elif self._since > self._reading.row_bytes_max:
            raise FileDamaged(self._reading.too_wide(self._record + 1).reason)

    def _without_stray(self, data: bytes) -> bytes:
        """A `&` that begins no reference makes the parser wait for the next `;`, past good records."""
        if _STRAY.search(data) is None or b"<![CDATA[" in data or b"<!--" in data:
            return data
        self._dirty = True
        return _STRAY.sub(b"&amp;", data)

    def _take_events(self) -> int:
        taken = 0
        for _, element in self._parser.read_events():
            taken += 1
            self._record += 1
            self._refuse_entities(element)
            if self._dirty:
                self._reject(f"the record does not parse (it ends before byte {self._at})")
            elif self._record > self._reading.row:
                self._taking.take(element, self._record)
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
        return taken

    def _reject(self, reason: str) -> None:
        if self._record > self._reading.row:
            self._taking.bad.append(Bad(self._record, reason))

    def _refuse_entities(self, element: Any) -> None:
        if self._looked:
            return
        self._looked = True
        doctype = element.getroottree().docinfo.internalDTD
        if doctype is not None and next(iter(doctype.iterentities()), None) is not None:
            raise FileDamaged(_REFUSED)

    def _count(self) -> int:
        return len(self._parser.feed_error_log)

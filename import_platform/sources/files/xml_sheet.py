"""Columns of XML records by one XSLT sheet for all tables of a file: values reach Arrow without Python objects.

The sheet writes every value followed by marks, which are characters for private use. Data in which such a mark stands
itself, and elements that hold elements where text is asked for (they get a mark of their own), are told apart; they are
taken value by value instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from import_platform.sources.files.piece import Numbers
from import_platform.sources.files.xml_paths import ValuePath, local

_TABLE, _RECORD, _COLUMN, _VALUE, _ATTRIBUTE, _NESTED = "\ue5a1\ue5a2\ue5a3\ue5a4\ue5a5\ue5a6"
_MARKS = re.compile(b"\xee\x96[\xa1-\xa6]")
_MARK_REFERENCES = re.compile(rb"&#(?:0*5878[5-9]|0*58790|[xX]0*[eE]5[aA][1-6]);")
_MARK_BYTES = 3
_XSLT = "http://www.w3.org/1999/XSL/Transform"


@dataclass(frozen=True)
class Wanted:
    """What a table takes of a record: child rows by `steps` (none: the record is the row), and the paths of values.
    With `stands_for_record`, a row with nothing but what the record has comes before those."""

    steps: tuple[str, ...]
    paths: tuple[ValuePath, ...]
    is_child: bool
    stands_for_record: bool = False


@dataclass(frozen=True)
class Taken:
    """One table's rows of some records: columns of text, and which record (from 0) each row is of. `many` are the rows
    at which a path leads to several values: the name of the column and how many."""

    columns: tuple[pa.Array, ...]
    records: Numbers
    many: dict[int, tuple[str, int]]


class Sheet:
    """Compiled for one thread. Mutable inside: libxslt keeps state.

    Raises etree.LxmlError when it is made: a name is none for XPath.
    """

    def __init__(self, record: str, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted
        self._spaces: dict[str, str] = {}
        self._shared = tuple(
            dict.fromkeys(
                _plain(path) for table in wanted if table.is_child for path in table.paths if path.from_record
            )
        )
        self._record = self._name(record)
        body = self._columns(self._shared)
        parts = [self._each(body)] if self._shared else []
        for table in wanted:
            own = [path for path in table.paths if not (table.is_child and path.from_record)]
            rows = self._columns(own) if own else _text(_COLUMN)
            if table.is_child:
                first = _text(_COLUMN) * max(len(own), 1) if table.stands_for_record else ""
                rows = f'{first}<xsl:for-each select="{self._path(table.steps)}">{rows}</xsl:for-each>{_text(_RECORD)}'
            parts.append(self._each(rows))
        said = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for uri, prefix in self._spaces.items())
        style = (
            f'<xsl:stylesheet version="1.0" xmlns:xsl="{_XSLT}"{said}><xsl:output method="text" encoding="UTF-8"/>'
            f'<xsl:template match="/">{_text(_TABLE).join(parts)}</xsl:template></xsl:stylesheet>'
        )
        self._sheet = etree.XSLT(etree.fromstring(style))

    def text(self, root: Any, data: bytes) -> bytes | None:
        """What the sheet writes of a tree; None where its values are to be taken one by one."""
        if _MARKS.search(data) is not None or _MARK_REFERENCES.search(data) is not None:
            return None
        text = bytes(self._sheet(root))
        return None if _NESTED.encode() in text else text

    def tables(self, texts: Sequence[bytes], counts: Sequence[int]) -> list[Taken]:
        """Of what `text` gave for some trees, each of so many records."""
        parts = [text.split(_TABLE.encode()) for text in texts]
        joined = [b"".join(part[i] for part in parts) for i in range(len(parts[0]))]
        total = sum(counts)
        shared: dict[ValuePath, pa.Array] = {}
        many: dict[ValuePath, dict[int, int]] = {}
        if self._shared:
            raw, _ = _raw(joined.pop(0), len(self._shared), is_child=False)
            for path, column in zip(self._shared, raw.columns(self._shared), strict=True):
                shared[path], many[path] = column
        return [self._table(table, text, total, shared, many) for table, text in zip(self._wanted, joined, strict=True)]

    def _table(
        self,
        table: Wanted,
        text: bytes,
        total: int,
        shared: dict[ValuePath, pa.Array],
        shared_many: dict[ValuePath, dict[int, int]],
    ) -> Taken:
        own = [path for path in table.paths if not (table.is_child and path.from_record)]
        raw, counts = _raw(text, max(len(own), 1), is_child=table.is_child)
        records = np.repeat(np.arange(total), counts) if counts is not None else np.arange(total)
        values = raw.columns(own)
        columns, many = [], dict[int, tuple[str, int]]()
        for path in table.paths:
            if table.is_child and path.from_record:
                column = shared[_plain(path)].take(pa.array(records))
                found = shared_many[_plain(path)]
                several = {int(row): found[int(records[row])] for row in np.flatnonzero(np.isin(records, list(found)))}
            else:
                column, several = next(values)
            columns.append(column)
            for row, count in several.items():
                many.setdefault(row, (path.name, count))
        return Taken(tuple(columns), records.astype(np.int64), many)

    def _each(self, body: str) -> str:
        return f'<xsl:for-each select="*/{self._record}">{body}</xsl:for-each>'

    def _columns(self, paths: Sequence[ValuePath]) -> str:
        return "".join(self._column(path) for path in paths)

    def _column(self, path: ValuePath) -> str:
        value = f'<xsl:value-of select="."/><xsl:if test="*">{_text(_NESTED)}</xsl:if>{_text(_VALUE)}'
        select = self._path(path.steps)
        if path.attribute is not None and path.is_list:
            inner = f'<xsl:for-each select="@{self._name(path.attribute)}"><xsl:value-of select="."/>'
            value = f"{inner}{_text(_ATTRIBUTE)}</xsl:for-each>{_text(_VALUE)}"
        elif path.attribute is not None:
            name = f"@{self._name(path.attribute)}"
            select = f"{select}/{name}" if path.steps else name
            value = f'<xsl:value-of select="."/>{_text(_VALUE)}'
        return f'<xsl:for-each select="{select}">{value}</xsl:for-each>{_text(_COLUMN)}'

    def _path(self, steps: Sequence[str]) -> str:
        return "/".join(self._name(step) for step in steps) or "."

    def _name(self, name: str) -> str:
        """`{urn:..}case` with a prefix that the sheet declares."""
        space = name[1:].partition("}")[0] if name.startswith("{") else ""
        if not space:
            return name
        return f"{self._spaces.setdefault(space, f'n{len(self._spaces)}')}:{local(name)}"


def _plain(path: ValuePath) -> ValuePath:
    return ValuePath("", path.steps, path.attribute, path.many, True)


def _text(mark: str) -> str:
    return f"<xsl:text>{mark}</xsl:text>"


@dataclass(frozen=True)
class _Raw:
    """Values of a table, row by row of `width` columns. All of them are looked at together: calls for each of the many
    columns of a small task cost more than their values."""

    values: pa.Array
    width: int

    def columns(self, paths: Sequence[ValuePath]) -> Iterator[tuple[pa.Array, dict[int, int]]]:
        """Columns without marks, and the rows at which there are several values and how many."""
        bare = pc.binary_slice(self.values.cast(pa.binary()), 0, -_MARK_BYTES).view(pa.string())
        lengths = np.diff(np.frombuffer(self.values.buffers()[1], np.int32)[: len(self.values) + 1])
        again = pc.match_substring(bare, _VALUE)
        is_several = pc.any(again).as_py()
        for i, path in enumerate(paths):
            if path.is_list:
                yield _listed(self._column(self.values, i), path), {}
                continue
            is_value = lengths[i :: self.width] > (0 if path.attribute is not None else _MARK_BYTES)
            column = _masked(self._column(bare, i), is_value)
            rows = pc.indices_nonzero(self._column(again, i)).to_pylist() if is_several else []
            yield column, {row: self.values[row * self.width + i].as_py().count(_VALUE) for row in rows}

    def _column(self, array: pa.Array, place: int) -> pa.Array:
        return array if self.width == 1 else array.take(pa.array(np.arange(place, len(array), self.width)))


def _raw(data: bytes, width: int, *, is_child: bool) -> tuple[_Raw, Numbers | None]:
    """The raw values, and the number of rows per record."""
    counts = None
    if is_child:
        per_record = pc.split_pattern(_one(data), _RECORD).values
        found = pc.count_substring(per_record, _COLUMN).to_numpy(zero_copy_only=False)[:-1]
        counts = (found // width).astype(np.int64)
        data = data.replace(_RECORD.encode(), b"")
    values = pc.split_pattern(_one(data), _COLUMN).values
    return _Raw(values.slice(0, (len(values) - 1) // width * width), width), counts


def _one(data: bytes) -> pa.Array:
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    return pa.StringArray.from_buffers(1, offsets, pa.py_buffer(data))


def _masked(values: pa.Array, is_value: npt.NDArray[np.bool_]) -> pa.Array:
    if is_value.all():
        return values
    validity = pa.py_buffer(np.packbits(is_value, bitorder="little"))
    _, places, data = values.buffers()
    return pa.StringArray.from_buffers(len(values), places, data, validity, offset=values.offset)


def _listed(raw: pa.Array, path: ValuePath) -> pa.Array:
    """JSON lists of the values of each row; null where there is none."""
    return pa.array(list(_lists(raw.to_pylist(), path)), pa.string())


def _lists(rows: Sequence[str], path: ValuePath) -> Iterator[str | None]:
    for row in rows:
        if not row:
            yield None
            continue
        found: list[str | None] = row[:-1].split(_VALUE)  # type: ignore[assignment]
        if path.attribute is None:
            values = [value or None for value in found]
        else:
            values = [value[:-1] if value else None for value in found]
        yield orjson.dumps(values).decode()

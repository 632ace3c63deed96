"""Rows of XML records taken value by value, where a sheet cannot: no declared columns, or elements inside of text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from lxml import etree

from import_platform.sources.files.columns import safe_names
from import_platform.sources.files.declaration import Files
from import_platform.sources.files.piece import Bad, Numbers, empty, raw
from import_platform.sources.files.xml_paths import ManyFound, flat, union_of
from import_platform.sources.files.xml_sheet import Wanted


def many_reason(name: str, count: int, item: int) -> str:
    """For people. `item` is the number of the child row, 0 for a record's own row."""
    reason = f"the path of {name} leads to {count} values; `list: true` takes them all"
    return f"{reason} (child row {item})" if item else reason


class Taking:
    """Rows of one table that are taken and not yet given. Mutable."""

    def __init__(self, table: Files, wanted: Wanted) -> None:
        self._table = table
        self._wanted = wanted
        self._rows: list[Any] = []
        self._numbers: list[int] = []
        self._items: list[int] = []
        self.bad: list[Bad] = []

    def take(self, record: Any, number: int) -> None:
        """The rows of one record; a row of which a path leads to several values is set apart. Children of a parent come
        behind a row that stands for the record, with what the paths from the record lead to."""
        if not self._wanted.is_child:
            self._row(record, record, number, 0)
            return
        if self._wanted.stands_for_record:
            self._row(None, record, number, 0)
        elements = [record]
        for step in self._wanted.steps:
            elements = [child for parent in elements for child in parent.iterchildren(step)]
        for item, element in enumerate(elements, start=1):
            self._row(element, record, number, item)

    def _row(self, element: Any, record: Any, number: int, item: int) -> None:
        row: Any
        if self._wanted.paths:
            row = []
            for path in self._wanted.paths:
                try:
                    start = record if path.from_record else element
                    row.append(None if start is None else path.value(start))
                except ManyFound as many:
                    text = raw(etree.tostring(record, encoding="utf-8", with_tail=False))
                    self.bad.append(Bad(number, many_reason(path.name, many.count, item), text))
                    return
        else:
            row = flat(element)
        self._rows.append(row)
        self._numbers.append(number)
        self._items.append(item)

    def rows(self) -> tuple[pa.RecordBatch, Numbers, Numbers | None, tuple[Bad, ...]]:
        """What was taken since the last time."""
        if self._wanted.paths:
            names = [path.name for path in self._wanted.paths]
            columns = [list(column) for column in zip(*self._rows, strict=True)] or [[] for _ in names]
        else:
            names = union_of(self._rows)
            columns = [[row.get(name) for row in self._rows] for name in names]
            names = safe_names(self._table, names)
        arrays = [pa.array(column, pa.string()) for column in columns]
        batch = pa.RecordBatch.from_arrays(arrays, names=names) if names else empty()
        numbers = np.array(self._numbers, np.int64)
        items = np.array(self._items, np.int64) if self._wanted.is_child else None
        given = (batch, numbers, items, tuple(self.bad))
        self._rows, self._numbers, self._items, self.bad = [], [], [], []
        return given

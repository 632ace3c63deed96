"""One pass over the files of a plan: pages with the place in the files behind them.

A token is `{"file": index in the plan, "part": index in the file, "row": rows done, "byte": bytes done}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa

from import_platform.core.column_range import in_range
from import_platform.core.feed import FeedFile
from import_platform.core.rejected import RejectedRow, cut
from import_platform.sources.conform import as_text
from import_platform.sources.files.columns import Fitted, fit
from import_platform.sources.files.csv_rows import read_csv
from import_platform.sources.files.declaration import FILE, GONE, ITEM, MODIFIED, NUMBER, ROW, Files
from import_platform.sources.files.gone import with_marks, without_version
from import_platform.sources.files.json_rows import read_json, read_ndjson
from import_platform.sources.files.opened import FileDamaged, Part, parts_of
from import_platform.sources.files.parquet_rows import read_parquet
from import_platform.sources.files.piece import ROW_BYTES_MAX, Bad, Piece, Reader, Reading
from import_platform.sources.files.places import Place
from import_platform.sources.files.stale import StaleRows
from import_platform.sources.files.xml_rows import read_xml
from import_platform.sources.files.xml_spool import SharedXml
from import_platform.sources.protocol import Page, ParentTables, ReadRequest, TokenExpired

READERS: Mapping[str, Reader] = {
    "csv": read_csv,
    "tsv": read_csv,
    "ndjson": read_ndjson,
    "json": read_json,
    "parquet": read_parquet,
    "xml": read_xml,
}
SPELLED = frozenset({"csv", "tsv", "xml"})
"""Formats whose values are text."""


class FeedPass:
    """The pages of a read. A mapping instead of a page says which columns the table must grow first."""

    def __init__(
        self,
        table: Files,
        place: Place,
        request: ReadRequest,
        planned: Sequence[FeedFile],
        *,
        known: Mapping[str, pa.DataType],
        lake: ParentTables | None,
        shared: SharedXml | None = None,
    ) -> None:
        self._table = table
        self._place = place
        self._request = request
        self._planned = planned
        self._known = known
        self._shared = shared
        self._seen: set[str] = set()
        self._types = {column.name: column.type for column in request.table.columns}
        names = [file.path for file in planned if file.again]
        self._stale = StaleRows(table, lake, names) if table.by_place else None

    def pages(self, seen: set[str]) -> Iterator[Page | Mapping[str, pa.DataType]]:
        """Adds the columns that the files have to `seen`.

        Raises TokenExpired: a file of the plan has changed or is gone.
        """
        self._seen = seen
        after = self._request.after or {}
        for index in range(int(after.get("file", 0)), len(self._planned)):
            begin = after if index == after.get("file") else {}
            file = self._planned[index]
            self._check(file)
            yield from self._file(index, file, begin)
            self._check(file)
            yield Page(self._empty(), {"file": index + 1})

    def _check(self, file: FeedFile) -> None:
        now = self._place.look(file.path)
        if now is None or (now.size_bytes, now.tag) != (file.size_bytes, file.tag):
            raise TokenExpired("a file changed while it was read", file=file.path, remedy="It is read again.")

    def _file(self, index: int, file: FeedFile, begin: Mapping[str, Any]) -> Iterator[Page | Mapping[str, pa.DataType]]:
        opened: BinaryIO = self._place.open(file.path)
        try:
            size, limit = file.size_bytes, self._table.max_expansion
            with parts_of(file.path, opened, size_bytes=size, max_expansion=limit) as parts:
                first = int(begin.get("part", 0))
                for number in range(first, len(parts)):
                    start = begin if number == first else {}
                    yield from self._part(parts[number], file, start, {"file": index, "part": number})
                if self._stale is not None and file.again:
                    yield from self._tombstones(file, self._stale.members_gone(file.path, [p.name for p in parts]))
        except FileDamaged as damage:
            yield Page(self._empty(), {"file": index + 1}, (_rejected(file.path, Bad(0, str(damage))),))
        finally:
            opened.close()

    def _part(
        self, part: Part, file: FeedFile, begin: Mapping[str, Any], here: Mapping[str, int]
    ) -> Iterator[Page | Mapping[str, pa.DataType]]:
        request = self._request
        reading = Reading(
            self._table, part, begin, request.page_bytes, min(request.row_bytes_max or ROW_BYTES_MAX, ROW_BYTES_MAX)
        )
        follow = self._stale is not None and file.again
        try:
            for whole in self._pieces(reading, file):
                self._seen.update(whole.batch.schema.names)
                piece = with_marks(self._table, whole)
                done = fit(piece, known=self._known, declared=self._table.types, is_text=self._table.format in SPELLED)
                if done.grown:
                    yield done.grown
                page = self._page(part, file, piece, done, {**here, **piece.at})
                if follow and self._stale is not None:
                    self._stale.saw(page.batch)
                yield page
        except FileDamaged as damage:
            bad = _rejected(part.name, Bad(0, str(damage)))
            yield Page(self._empty(), {**here, "part": here["part"] + 1}, (bad,))
            return
        if follow and self._stale is not None:
            yield from self._tombstones(file, self._stale.left(part.name, behind=reading.row))
        yield Page(self._empty(), {**here, "part": here["part"] + 1})

    def _pieces(self, reading: Reading, file: FeedFile) -> Iterator[Piece]:
        if self._shared is not None and self._table.format == "xml":
            return self._shared.pieces(reading, file, partial(self._check, file))
        return READERS[self._table.format](reading)

    def _page(self, part: Part, file: FeedFile, piece: Piece, done: Fitted, token: Mapping[str, int]) -> Page:
        count = piece.batch.num_rows
        own = {FILE: pa.repeat(part.name, count), ROW: pa.array(piece.numbers), NUMBER: pa.repeat(file.number, count)}
        if piece.items is not None:
            own[ITEM] = pa.array(piece.items)
        if MODIFIED in self._types:
            at = datetime.fromisoformat(file.modified) if file.modified else None
            own[MODIFIED] = pa.repeat(pa.scalar(at, self._types[MODIFIED]), count)
        if piece.gone is not None:
            own[GONE] = pa.array(piece.gone)
        for position in np.flatnonzero(without_version(self._table, done.arrays, count)).tolist():
            done.misfits.setdefault(position, (str(self._table.version), "the version is empty"))
        rejected = [_rejected(part.name, bad) for bad in piece.bad]
        for position, (column, reason) in sorted(done.misfits.items()):
            if piece.items is None or piece.items[position]:
                rejected.append(_misfit(piece, position, column, reason, own))
        batch = self._batch({**done.arrays, **own}, count)
        if done.misfits:
            batch = batch.filter(pa.array(~np.isin(np.arange(count), list(done.misfits))))
        return Page(self._in_range(batch), token, tuple(rejected), piece.ahead_bytes)

    def _in_range(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        range_ = self._request.range
        if range_ is None or range_.column is None:
            return batch
        column = batch.column(range_.column)
        frame = pl.DataFrame({range_.column: pl.from_arrow(column)})
        return batch.filter(in_range(frame, range_, column.type).to_arrow())

    def _batch(self, arrays: Mapping[str, pa.Array], count: int) -> pa.RecordBatch:
        schema = pa.schema([self._request.table.arrow_schema.field(name) for name in self._request.columns])
        columns = [
            arrays[field.name].cast(field.type) if field.name in arrays else pa.nulls(count, field.type)
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _empty(self) -> pa.RecordBatch:
        return self._batch({}, 0)

    def _tombstones(self, file: FeedFile, places: pl.DataFrame) -> Iterator[Page]:
        """Rows that an earlier version of the file had and this one has not. They come without a token of their own,
        so a resume looks for them again."""
        if places.is_empty():
            return
        count = places.height
        arrays = {name: places[name].to_arrow().cast(self._types[name]) for name in places.columns}
        arrays |= {NUMBER: pa.repeat(file.number, count), GONE: pa.repeat(True, count)}
        yield Page(self._batch(arrays, count), None)


def _rejected(part: str, bad: Bad) -> RejectedRow:
    where = f"row {bad.row}: " if bad.row else ""
    text = None if bad.values is None else json.dumps(bad.values, ensure_ascii=False)
    return RejectedRow({FILE: part, ROW: str(bad.row) if bad.row else None}, "", f"{where}{bad.reason}", text)


def _misfit(piece: Piece, position: int, column: str, reason: str, own: Mapping[str, pa.Array]) -> RejectedRow:
    place = {name: as_text(array[position].as_py()) for name, array in own.items()}
    values = dict(zip(piece.batch.schema.names, (a[position].as_py() for a in piece.batch.columns), strict=True))
    row = json.dumps({n: cut(as_text(v)) for n, v in values.items()} | place, ensure_ascii=False)
    key = {FILE: place[FILE], ROW: place[ROW]}
    return RejectedRow(key, column, f"row {place[ROW]}: {reason}", row)

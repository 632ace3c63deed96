"""Pages of one DuckDB table, found first and fetched then.

DuckDB works on 2,048 rows at a time, however wide they are, so rows are first found by key and rowid alone and then
fetched by rowid, as many as were seen to fit into a page; where a fetch outgrows the file's memory limit it is halved.

Keys are sorted once per read, into a table of the session's own that goes to disk where it does not fit. Rows that lie
all over a large file are read as they lie instead: fetching them by key would go through the file once per page.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.rejected import RejectedRow
from import_platform.errors import SourceRejected
from import_platform.sources.clauses import where
from import_platform.sources.conform import check_promised, conform, keep_in_range
from import_platform.sources.duckdb.catalog import VALUE_BYTES, DuckColumn, DuckTable
from import_platform.sources.duckdb.predicates import conditions
from import_platform.sources.duckdb.session import OutOfMemory, Session
from import_platform.sources.duckdb.types import arrow_type, expression, key_literal, size, token_expression
from import_platform.sources.protocol import Page, ReadRequest, Token, TokenExpired
from import_platform.sources.too_wide import wide_row

Places = np.ndarray[tuple[int], np.dtype[np.int64]]
_FOUND_ROWS = 50_000
_FIRST_ROWS = 64
_COLUMNS_MAX = 200
"""Columns fetched at once: each pins a block of 256 KiB of the file."""
_SCATTERED_ROWS_MIN = 500_000
"""A million rows of 140 bytes in no order of their key took 8.1 s of CPU by key and 2.5 s as they lie (1.7 s by key
where they lie in its order), and by key the time grows with the square of the rows."""
_PROBES = 64


@dataclass(frozen=True)
class _Phase:
    """Rows in one order: `by` is compared, `texts` are the same values as a token keeps them, `types` their types."""

    name: str
    by: tuple[str, ...]
    texts: tuple[str, ...]
    types: tuple[str, ...]
    only: tuple[str, ...] = ()


def read_pages(session: Session, table: DuckTable, request: ReadRequest, *, file: str) -> Iterator[Page]:
    """Rows whose key has no NULL in key order, then the others; the rowid breaks ties, so every page has a token.

    `file` tells the file as it is: a token that holds a rowid is worth nothing in another.
    """
    reader = _Reader(session, table, request, file)
    if table.is_view:
        yield from reader.view()
        return
    token = request.after
    phases = [_PLACES] if _is_scattered(session, table, request) else _phases(table, request)
    names = [phase.name for phase in phases]
    first = 0 if token is None else names.index(str(token["phase"]))
    for phase in phases[first:]:
        started = token is not None and token["phase"] == phase.name
        yield from reader.in_order(phase, token["after"] if token is not None and started else None)


_PLACES = _Phase("place", ("rowid",), ("rowid::VARCHAR",), ("BIGINT",))


def _is_scattered(session: Session, table: DuckTable, request: ReadRequest) -> bool:
    """True for a large table whose rows lie in another order than their key's. A read goes on as it began."""
    if request.after is not None:
        return bool(request.after["phase"] == _PLACES.name)
    if not request.primary_key or table.rows < _SCATTERED_ROWS_MIN:
        return False
    key, places = table.column(request.primary_key[0]), range(0, table.rows, table.rows // _PROBES)
    probed = f"SELECT {key.sql} < lag({key.sql}) OVER (ORDER BY rowid) AS back FROM {table.sql}"
    listed = f"rowid IN ({', '.join(map(str, places))})"
    return int(session.rows(f"SELECT count(*) FROM ({probed} WHERE {listed}) WHERE back")[0][0]) > _PROBES // 10


def _phases(table: DuckTable, request: ReadRequest) -> list[_Phase]:
    keys = [table.column(name) for name in request.primary_key]
    unique = bool(table.key) and set(table.key) <= set(request.primary_key)
    tie = () if unique else ("rowid",)
    nullable = [key.sql for key in keys if not key.not_null]
    phases = [
        _Phase(
            "key" if unique else "row",
            (*(key.sql for key in keys), *tie),
            (*(token_expression(key.declared, key.sql) for key in keys), *(f"{name}::VARCHAR" for name in tie)),
            (*(key.declared for key in keys), *("BIGINT" for _ in tie)),
            tuple(f"{name} IS NOT NULL" for name in nullable),
        )
    ]
    if nullable:
        absent = f"({' OR '.join(f'{name} IS NULL' for name in nullable)})"
        phases.append(_Phase("nulls", ("rowid",), ("rowid::VARCHAR",), ("BIGINT",), (absent,)))
    return phases


class _Reader:
    def __init__(self, session: Session, table: DuckTable, request: ReadRequest, file: str) -> None:
        self._session = session
        self._table = table
        self._request = request
        self._file = file
        self._columns = tuple(_checked(table, request, name) for name in request.columns)
        self._wide = tuple(column for column in self._columns if size(column.declared, column.sql) is not None)
        promised = request.table.arrow_schema
        self._schema = pa.schema([promised.field(name) for name in request.columns])
        self._conditions = conditions(table, request.window, request.range)
        # Estimates are good for a first guess only: every fetch corrects it.
        rows, size_bytes = request.table.row_estimate, request.table.bytes_estimate
        guess = request.page_bytes * rows // size_bytes if rows > 0 and size_bytes > 0 else _FIRST_ROWS
        self._rows = min(max(guess, 1), _FIRST_ROWS)

    def in_order(self, phase: _Phase, after: Sequence[str] | None) -> Iterator[Page]:
        if after is not None and phase.name != "key" and self._request.after is not None:
            self._check_file(self._request.after)
        for found in self._found(phase, after):
            start = 0
            while start < found.num_rows:
                raw = self._fetch(found.slice(start, self._rows))
                for part in self._pages(raw):
                    rows = found.slice(start, max(part.num_rows, 1))
                    start += rows.num_rows
                    batch, rejected = self._conformed_part(part, rows)
                    del part
                    last = rows.num_rows - 1
                    values = [str(column[last].as_py()) for column in rows.columns[1 : 1 + len(phase.by)]]
                    token: dict[str, object] = {"phase": phase.name, "after": values}
                    token |= {} if phase.name == "key" else {"file": self._file}
                    yield Page(keep_in_range(batch, self._request.range), token, rejected)
                    del batch
                del raw

    def view(self) -> Iterator[Page]:
        """A view has no place to go on from, so only its end has a token; its vectors have to fit into memory."""
        if self._request.after is not None:
            return
        outputs = ", ".join(f"{expression(c.declared, c.sql)} AS c{n}" for n, c in enumerate(self._columns))
        sql = f"SELECT {outputs} FROM {self._table.sql}{where(self._conditions)}"
        for raw in self._session.stream(sql, rows=2048):
            batch, rejected = self._conformed(raw, [{}] * raw.num_rows)
            yield Page(keep_in_range(batch, self._request.range), None, rejected)
        yield Page(_empty(self._schema), {"phase": "end"})

    def _found(self, phase: _Phase, after: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """The rows of a phase, some at a time: rowid, what a token needs, and the primary key as text."""
        keys = [self._table.column(name) for name in self._request.primary_key]
        outputs = ["rowid AS r", *(f"{text} AS t{n}" for n, text in enumerate(phase.texts))]
        outputs += [f"{token_expression(key.declared, key.sql)} AS k{n}" for n, key in enumerate(keys)]
        select = f"SELECT {', '.join(outputs)} FROM {self._table.sql}"
        every = [*self._conditions, *phase.only]
        if phase.by == ("rowid",):
            place = -1 if after is None else int(after[0])
            yield from self._found_by_place(lambda at: f"{select}{where([*every, f'rowid > {at}'])}", place)
            return
        every += _behind(phase, after)
        ordered = f"{select}{where(every)} ORDER BY {', '.join(phase.by)}"
        self._session.rows(f"CREATE OR REPLACE TEMP TABLE {_SORTED} AS {ordered}")
        for low in itertools.count(0, _FOUND_ROWS):
            listed = f"rowid >= {low} AND rowid < {low + _FOUND_ROWS}"
            found = self._session.table(f"SELECT * FROM {_SORTED} WHERE {listed} ORDER BY rowid")
            yield found
            if found.num_rows < _FOUND_ROWS:
                break
        self._session.rows(f"DROP TABLE {_SORTED}")

    def _found_by_place(self, select: Callable[[int], str], place: int) -> Iterator[pa.RecordBatch]:
        while True:
            found = self._session.table(f"{select(place)} ORDER BY rowid LIMIT {_FOUND_ROWS}")
            yield found
            if found.num_rows < _FOUND_ROWS:
                return
            place = int(found.column(0)[found.num_rows - 1].as_py())

    def _fetch(self, part: pa.RecordBatch) -> pa.RecordBatch:
        """As many of the rows as fit, in their order, at least one; none at all says that the first does not fit."""
        rows = part.num_rows
        while rows:
            try:
                raw = self._by_place(part.column(0).slice(0, rows).to_numpy())
            except OutOfMemory:
                self._rows = max(rows // 2, 1)
                rows //= 2
                continue
            weight = max(int(pc.sum(raw.column(raw.num_columns - 1)).as_py()) // rows, 1)
            self._rows = min(max(self._request.page_bytes // weight, 1), rows * 4, _FOUND_ROWS)
            return raw
        return part.slice(0, 0)

    def _pages(self, raw: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The rows that were fetched, cut where a page is full: the first fetch cannot know how wide they are."""
        if not raw.num_rows:
            yield raw
            return
        filled = np.cumsum(raw.column(raw.num_columns - 1).to_numpy()) // max(self._request.page_bytes, 1)
        cuts = [0, *(np.flatnonzero(np.diff(filled)) + 1).tolist(), raw.num_rows]
        for low, high in itertools.pairwise(cuts):
            yield raw.slice(low, high - low)

    def _conformed_part(
        self, raw: pa.RecordBatch, found: pa.RecordBatch
    ) -> tuple[pa.RecordBatch, tuple[RejectedRow, ...]]:
        """Fetched rows as promised, without those that are wider than allowed or than DuckDB can measure."""
        names = self._request.primary_key
        first = found.num_columns - len(names)
        texts = zip(*(found.column(first + n).to_pylist() for n in range(len(names))), strict=True)
        keys: list[dict[str, str | None]] = [dict(zip(names, row, strict=True)) for row in texts]
        keys = keys or [{} for _ in range(found.num_rows)]
        if not raw.num_rows:
            reason = "the row is wider than the share of the memory budget in which DuckDB may measure it"
            column = self._wide[0].name if self._wide else self._request.columns[0]
            return _empty(self._schema), (RejectedRow(key=keys[0], column=column, reason=reason, row=None),)
        limit = self._request.row_bytes_max
        plain = raw.select(range(raw.num_columns - 1))
        weights = raw.column(raw.num_columns - 1).to_numpy()
        over = [] if limit is None or not self._wide else np.flatnonzero(weights > limit).tolist()
        if limit is None or not over:
            return self._conformed(plain, keys)
        wide = [wide_row(self._sizes(found.column(0)[at].as_py()), limit_bytes=limit, key=keys[at]) for at in over]
        kept = [at for at in range(raw.num_rows) if at not in set(over)]
        batch, misfits = self._conformed(plain.take(pa.array(kept, pa.int64())), [keys[at] for at in kept])
        return batch, (*wide, *misfits)

    def _sizes(self, place: int) -> dict[str, int]:
        sizes = ", ".join(f"coalesce({size(column.declared, column.sql)}, 0)" for column in self._wide)
        found = self._session.rows(f"SELECT {sizes} FROM {self._table.sql} WHERE rowid = {int(place)}")[0]
        return {column.name: int(value) for column, value in zip(self._wide, found, strict=True)}

    def _by_place(self, places: Places) -> pa.RecordBatch:
        """The rows at these rowids, in this order, NULL where they are too wide; last, what each weighs."""
        weights = self._weights(places)
        limit = self._request.row_bytes_max
        over = weights > (limit if limit is not None and self._wide else np.iinfo(np.int64).max)
        kept = places[~over]
        arrays: list[pa.Array] = []
        for start in range(0, len(self._columns) if len(kept) else 0, _COLUMNS_MAX):
            group = self._columns[start : start + _COLUMNS_MAX]
            outputs = [f"{expression(column.declared, column.sql)} AS c{n}" for n, column in enumerate(group)]
            arrays += self._rows_at(kept, outputs).columns
        if not len(kept):
            arrays = [pa.nulls(len(places)) for _ in self._columns]
        elif len(kept) < len(places):
            back = pa.array(np.cumsum(~over) - 1, mask=over)
            arrays = [array.take(back) for array in arrays]
        return pa.RecordBatch.from_arrays(
            [*arrays, pa.array(weights)], names=[str(n) for n in range(len(self._columns) + 1)]
        )

    def _weights(self, places: Places) -> Places:
        if not self._wide:
            return np.full(len(places), VALUE_BYTES * len(self._columns), dtype=np.int64)
        found = self._rows_at(places, [f"{self._table.row_bytes(self._columns)} AS w"])
        weights: Places = found.column(0).to_numpy().astype(np.int64)
        return weights

    def _rows_at(self, places: Places, outputs: Sequence[str]) -> pa.RecordBatch:
        low, high = int(places.min()), int(places.max())
        listed = f"rowid BETWEEN {low} AND {high}"
        parameters: list[object] = []
        if high - low + 1 != len(places):
            listed, parameters = "rowid IN (SELECT unnest(?::BIGINT[]))", [places.tolist()]
        sql = f"SELECT rowid AS r, {', '.join(outputs)} FROM {self._table.sql} WHERE {listed}"
        raw = self._session.table(sql, parameters)
        if raw.num_rows != len(places):
            raise SourceRejected("rows of the DuckDB file vanished while they were read", remedy="Run again.")
        found = raw.column(0).to_numpy()
        by = np.argsort(found)
        order = by[np.searchsorted(found, places, sorter=by)]
        if not np.array_equal(order, np.arange(len(order))):
            raw = raw.take(pa.array(order))
        return raw.select(range(1, raw.num_columns))

    def _conformed(
        self, raw: pa.RecordBatch, keys: Sequence[Mapping[str, str | None]]
    ) -> tuple[pa.RecordBatch, tuple[RejectedRow, ...]]:
        arrays = [
            array.cast(pa.timestamp("us")).cast(field.type) if pa.types.is_timestamp(field.type) else array
            for array, field in zip(raw.columns, self._schema, strict=True)
        ]
        typed = pa.RecordBatch.from_arrays(arrays, names=self._schema.names)
        return conform(typed, self._schema, key_of=lambda at: keys[at])

    def _check_file(self, token: Token) -> None:
        if token.get("file") != self._file:
            raise TokenExpired(
                "the DuckDB file was written to, so its rows may no longer be where the last page ended",
                remedy="Start the read of this table from its beginning.",
            )


_SORTED = "temp.main.found"


def _behind(phase: _Phase, after: Sequence[str] | None) -> list[str]:
    """The condition for going on behind a token."""
    if after is None:
        return []
    values = [key_literal(kind, value) for kind, value in zip(phase.types, after, strict=True)]
    if len(values) == 1:
        return [f"{phase.by[0]} > {values[0]}"]
    return [f"({', '.join(phase.by)}) > ({', '.join(values)})"]


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _checked(table: DuckTable, request: ReadRequest, name: str) -> DuckColumn:
    """The column as it is now, if its values still have the type that discovery promised."""
    column = table.column(name)
    check_promised(request, name, arrow_type(column.declared))
    return column

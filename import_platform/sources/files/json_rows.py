"""NDJSON in blocks of lines, and arrays of JSON streamed value by value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import ijson
import orjson
import pyarrow as pa

from import_platform.sources.files.columns import safe_names
from import_platform.sources.files.declaration import Column, Files
from import_platform.sources.files.lines import Block, blocks
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Bad, Piece, Reading, numbered
from import_platform.sources.json.typing import JsonColumn, JsonNumber, as_rows, convert, new_columns

ARRAY_ROWS = 2000
_LONG_NUMBER = re.compile(rb"\d{19}")


def read_ndjson(reading: Reading) -> Iterator[Piece]:
    """A line that is no JSON is set apart."""
    row, exact = reading.row, _wants_decimals(reading.table)
    for block in blocks(reading, start=int(reading.begin.get("byte", 0)), last_end=lambda data: data.rfind(b"\n") + 1):
        values, bad, count = _values(reading, block, row, exact=exact)
        at = {"row": row + count, "byte": block.end}
        yield _piece(reading, values, first=row + 1, bad=bad, at=at)
        row += count


def _values(reading: Reading, block: Block, row: int, *, exact: bool) -> tuple[list[Any], list[Bad], int]:
    if block.dropped:
        return [], [reading.too_wide(row + 1)], 1
    values, bad, count = [], [], 0
    long = exact or _LONG_NUMBER.search(block.data) is not None  # orjson would round numbers of more than 64 bits
    for line in block.data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line or line.isspace():
            continue
        count += 1
        if len(line) > reading.row_bytes_max:
            bad.append(reading.too_wide(row + count))
            continue
        try:
            values.append(json.loads(line, parse_float=JsonNumber) if long else orjson.loads(line))
        except (ValueError, RecursionError):
            bad.append(Bad(row + count, "the line is no JSON"))
    return values, bad, count


def read_json(reading: Reading) -> Iterator[Piece]:
    """The values of the array at the path `record` (`results`, `data.items`), or of the one that the file is.

    Raises:
        FileDamaged: the file is no JSON, or cannot be unpacked, from some value on; those before are given first.
    """
    path = f"{reading.table.record}.item" if reading.table.record else "item"
    exact = _wants_decimals(reading.table)
    stream = _Counted(reading.part.open())
    found = ijson.items(stream, path, use_float=not exact)
    held: list[Any] = []
    row = done = 0
    since = 0
    while True:
        try:
            value = next(found, _END)
        except (ijson.JSONError, UnicodeDecodeError, FileDamaged) as error:
            yield _piece(reading, held, first=done + 1, bad=[], at={"row": row})
            if isinstance(error, FileDamaged):
                raise
            raise FileDamaged(f"the file is no JSON after value {row}") from None
        if value is not _END:
            row += 1
            if row <= reading.row:
                done = row
                continue
            held.append(_exact(value) if exact else value)
        if value is _END or len(held) >= ARRAY_ROWS or stream.bytes_read - since > reading.limit_bytes // 2:
            if held:
                yield _piece(reading, held, first=done + 1, bad=[], at={"row": row})
            held, done, since = [], row, stream.bytes_read
        if value is _END:
            return


def _piece(reading: Reading, values: list[Any], *, first: int, bad: list[Bad], at: dict[str, int]) -> Piece:
    rows = as_rows(values)
    declared = [JsonColumn(c.name, c.type, _path(c), True) for c in reading.table.columns if c.type]
    columns = [*declared, *new_columns(rows, declared)]
    done = convert(rows, columns)
    names = safe_names(reading.table, [column.name for column in columns])
    batch = pa.RecordBatch.from_arrays(done.arrays, names=names)
    numbers = numbered(first, len(rows), {one.row for one in bad})
    return Piece(batch, numbers, at, bad=tuple(bad), misfits=done.misfits)


def _path(column: Column) -> tuple[str, ...]:
    return (column.name,) if column.path == column.name else tuple(column.path.split("."))


def _wants_decimals(table: Files) -> bool:
    return any(pa.types.is_decimal(dtype) for dtype in table.types.values())


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    return JsonNumber(value) if isinstance(value, Decimal) else value


class _Counted:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        self.bytes_read += len(data)
        return data


_END = object()

"""CSV and TSV in blocks of whole rows, parsed by Arrow as text; the dialect is found in the file's first bytes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import pyarrow as pa
import pyarrow.csv as pa_csv

from import_platform.core.wording import counted
from import_platform.sources.files.columns import safe_names
from import_platform.sources.files.lines import Block, blocks, open_text
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Bad, Piece, Reading, empty, numbered, raw

HEAD_BYTES = 1 << 16
DELIMITERS = (",", ";", "\t", "|")
_BOM = b"\xef\xbb\xbf"
_QUOTE = b'"'
_SWALLOWED = "a quoted value runs over {lines} lines and goes on behind its closing quote: a quote is missing"
_MARK = b"\x00import_platform row %d"


def read_csv(reading: Reading) -> Iterator[Piece]:
    """Values are text, empty ones null unless they are quoted. A row of another length is set apart."""
    head = open_text(reading).read(HEAD_BYTES)
    delimiter = reading.table.delimiter or ("\t" if reading.table.format == "tsv" else _delimiter(head))
    names, start = _header(reading, head, delimiter)
    row = reading.row
    begin, last_end = int(reading.begin.get("byte", start)), partial(_last_end, delimiter=delimiter)
    for block in blocks(reading, start=begin, last_end=last_end, quote=b'"'):
        piece = _parsed(reading, block, names, delimiter=delimiter, row=row)
        row = piece.at["row"]
        yield piece


def _parsed(reading: Reading, block: Block, names: list[str], *, delimiter: str, row: int) -> Piece:
    if block.dropped:
        bad = (reading.too_wide(row + 1),)
        return Piece(empty(), numbered(1, 0), {"row": row + 1, "byte": block.end}, bad=bad)
    if block.is_last and (end := _open_quote(block.data, delimiter)) is not None:
        whole = _parsed(reading, Block(block.data[:end], block.end), names, delimiter=delimiter, row=row)
        row = whole.at["row"] + 1
        open_ = Bad(row, "a quote that opens in the row is never closed", raw(block.data[end:]))
        return replace(whole, at={"row": row, "byte": block.end}, bad=(*whole.bad, open_))
    wrong: list[pa_csv.InvalidRow] = []
    data = block.data
    batch = _batch(data, names, wrong, delimiter=delimiter)
    swallowed: list[bytes] = []
    if _QUOTE in data and batch.num_rows + len(wrong) < data.count(b"\n"):
        data, swallowed = _without_swallowed(data, delimiter=delimiter, columns=len(names))
    if swallowed:
        wrong.clear()
        batch = _batch(data, names, wrong, delimiter=delimiter)
    return _piece(reading, block, batch, _bad(wrong, swallowed, row=row), row=row)


def _batch(data: bytes, names: list[str], wrong: list[pa_csv.InvalidRow], *, delimiter: str) -> pa.RecordBatch:
    """The rows of the header's length; the others go to `wrong`."""
    options = pa_csv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True, invalid_row_handler=partial(_set_apart, wrong)
    )
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            read_options=pa_csv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
            parse_options=options,
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False,
                column_types={name: pa.binary() for name in names},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ).combine_chunks()
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):
            raise FileDamaged("a block of the file is no CSV") from None
        return pa.RecordBatch.from_arrays([pa.array([], pa.binary()) for _ in names], names)
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_arrays([pa.array([], pa.binary()) for _ in names], names)


def _without_swallowed(data: bytes, *, delimiter: str, columns: int) -> tuple[bytes, list[bytes]]:
    """The data with a row of a wrong length in the place of each that lacks a quote, and those rows.

    A value of several lines whose closing quote has text behind it, where a delimiter would stand, was closed by
    chance: by the quote that opens a later value. Nobody knows which of its lines are rows.
    """
    kept, swallowed, at = [], list[bytes](), 0
    while (found := _sound_rows(delimiter).match(data, at)) is not None and found.end() < len(data):
        end = found.end()
        row = _row(delimiter).match(data, end)
        if row is None or row.end() == end or _sound_row(delimiter).fullmatch(data, end, row.end()):
            break
        kept += [data[at:end], delimiter.encode() * columns, _MARK % len(swallowed)]
        swallowed.append(row[0])
        at = row.end()
    return b"".join([*kept, data[at:]]), swallowed


def _bad(wrong: Sequence[pa_csv.InvalidRow], swallowed: Sequence[bytes], *, row: int) -> list[Bad]:
    marks = {_MARK % at: text for at, text in enumerate(swallowed)}
    bad = []
    for found in wrong:
        text = found.text.encode() if isinstance(found.text, str) else bytes(found.text or b"")
        number = row + int(found.number)
        whole = marks.get(text[found.expected_columns :]) if marks else None
        if whole is None:
            reason = f"the row has {counted(found.actual_columns, 'value')}, the header {found.expected_columns}"
        else:
            reason = _SWALLOWED.format(lines=whole.count(b"\n") + 1)
        bad.append(Bad(number, reason, raw(text if whole is None else whole)))
    return bad


def _piece(reading: Reading, block: Block, batch: pa.RecordBatch, bad: Sequence[Bad], *, row: int) -> Piece:
    count, failed = batch.num_rows, {one.row for one in bad}
    misfits: dict[int, tuple[str, str]] = {}
    arrays = [_as_text(array, name, misfits) for name, array in zip(batch.schema.names, batch.columns, strict=True)]
    return Piece(
        pa.RecordBatch.from_arrays(arrays, names=batch.schema.names),
        numbered(row + 1, count, failed),
        {"row": row + count + len(failed), "byte": block.end},
        bad=tuple(bad),
        misfits=misfits,
    )


def _set_apart(wrong: list[pa_csv.InvalidRow], found: pa_csv.InvalidRow) -> str:
    wrong.append(found)
    return "skip"


def _as_text(array: pa.Array, name: str, misfits: dict[int, tuple[str, str]]) -> pa.Array:
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        pass
    values: list[str | None] = []
    for position, value in enumerate(array.to_pylist()):
        try:
            values.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            values.append(None)
            misfits.setdefault(position, (name, "the text is not UTF-8"))
    return pa.array(values, pa.string())


def _last_end(data: bytes, delimiter: str) -> int:
    """Behind the last line end that stands outside of quotes."""
    if _QUOTE not in data:
        return data.rfind(b"\n") + 1
    found = _rows(delimiter).match(data)
    return found.end() if found else 0


def _open_quote(data: bytes, delimiter: str) -> int | None:
    """Where the row begins that has a quote without an end; None: each has one."""
    end = _last_end(data, delimiter)
    return None if _QUOTE not in data[end:] or _row(delimiter).fullmatch(data, end) else end


@cache
def _row(delimiter: str) -> re.Pattern[bytes]:
    """A row without its end. As Arrow reads it: a quote counts where a value begins, and up to its end."""
    sign = re.escape(delimiter).encode()
    value = rb'(?:"(?:[^"]++|"")*+"[^%b\r\n]*+|[^"%b\r\n][^%b\r\n]*+)?+' % (sign, sign, sign)
    return re.compile(rb"(?:%b%b)*+%b" % (value, sign, value))


@cache
def _sound_row(delimiter: str) -> re.Pattern[bytes]:
    """As `_row`, but behind the closing quote of a value of several lines there is nothing."""
    sign = re.escape(delimiter).encode()
    whole = rb'"(?:[^"]++|"")*+"(?=[%b\r\n]|\Z)' % sign
    one_line = rb'"(?:[^"\r\n]++|"")*+"[^%b\r\n]*+' % sign
    value = rb'(?:%b|%b|[^"%b\r\n][^%b\r\n]*+)?+' % (whole, one_line, sign, sign)
    return re.compile(rb"(?:%b%b)*+%b" % (value, sign, value))


@cache
def _sound_rows(delimiter: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?:%b[\r\n])*+(?:%b\Z)?+" % (_sound_row(delimiter).pattern, _sound_row(delimiter).pattern))


@cache
def _rows(delimiter: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?:%b[\r\n])*+" % _row(delimiter).pattern)


def _header(reading: Reading, head: bytes, delimiter: str) -> tuple[list[str], int]:
    """The names of the columns, and the byte where rows begin."""
    bom = len(_BOM) if head.startswith(_BOM) else 0
    if not reading.table.header:
        return [column.name for column in reading.table.columns], bom
    text = head[bom:].decode("utf-8", "replace")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = next(rows, [])
    if not _last_end(head[bom:], delimiter) and _open_quote(head[bom:], delimiter) is not None:
        raise FileDamaged("a quote that opens in the header is never closed")
    if not names:
        return ["column_1"], len(head)
    ends = [i for i in range(bom, len(head)) if head[i] == ord("\n")][: rows.line_num]
    seen: dict[str, int] = {}
    unique = []
    for position, name in enumerate(names, start=1):
        label = name.strip() or f"column_{position}"
        seen[label.lower()] = seen.get(label.lower(), 0) + 1
        unique.append(label if seen[label.lower()] == 1 else f"{label}_{position}")
    unique = safe_names(reading.table, unique)
    return unique, ends[-1] + 1 if len(ends) == rows.line_num else len(head)


def _delimiter(head: bytes) -> str:
    """The one that cuts most of the first lines into the same number of values, more values where that is equal."""
    text = head.removeprefix(_BOM).decode("utf-8", "replace")
    lines = text[: text.rfind("\n") + 1] or text

    def rank(delimiter: str) -> tuple[float, int]:
        found = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter)
        widths = [len(row) for row, _ in zip(found, range(100), strict=False) if row]
        width = widths[0] if widths else 0
        return (widths.count(width) / len(widths) if width > 1 else 0.0, width)

    return max(DELIMITERS, key=rank)

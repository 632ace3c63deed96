"""What stands under `files:` of a connection: tables, the files that each is made of, and how rows lie in them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from import_platform.errors import ConfigError
from import_platform.sources.rest.columns import column_type

FILE, ROW, ITEM, NUMBER, GONE = "_file", "_row", "_item", "_file_number", "_gone"
FORMATS = ("csv", "tsv", "ndjson", "json", "parquet", "xml")
_SUFFIXES = {"csv": "csv", "tsv": "tsv", "ndjson": "ndjson", "jsonl": "ndjson", "json": "json", "parquet": "parquet"}
_WORDS = {
    "name": str,
    "pattern": str,
    "format": str,
    "primary_key": (list, tuple),
    "columns": Mapping,
    "order": str,
    "encoding": str,
    "delimiter": str,
    "header": bool,
    "record": str,
    "rows": str,
    "namespaces": Mapping,
    "max_expansion": int,
}
_COLUMN_WORDS = {"type", "path", "list"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Column:
    """A declared column: its type (None: found out), and for XML the path to its value; `many` makes a list of it."""

    name: str
    type: pa.DataType | None
    path: str
    many: bool = False


@dataclass(frozen=True)
class Files:
    """One table. `record` is the element of XML (or the path of a JSON array) that holds a row, `rows` that of child
    rows inside a record. A file may unpack to `max_expansion` times its size."""

    name: str
    pattern: str
    format: str
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]
    order: str = "name"
    encoding: str = "utf-8"
    delimiter: str | None = None
    header: bool = True
    record: str = ""
    rows: str = ""
    namespaces: tuple[tuple[str, str], ...] = ()
    max_expansion: int = 200

    @property
    def key(self) -> tuple[str, ...]:
        """The declared key, else the place of a row in its file."""
        return self.primary_key or self.place

    @property
    def place(self) -> tuple[str, ...]:
        return (FILE, ROW, ITEM) if self.rows else (FILE, ROW)

    @property
    def by_place(self) -> bool:
        return not self.primary_key

    @property
    def types(self) -> dict[str, pa.DataType]:
        return {column.name: column.type for column in self.columns if column.type is not None}


def parse(connection: Mapping[str, Any]) -> dict[str, Files]:
    """The tables by name.

    Raises:
        ConfigError: a word is unknown or missing, or of the wrong type; the fact `table` says where.
    """
    tables: dict[str, Files] = {}
    for position, said in enumerate(connection["files"]):
        if not isinstance(said, Mapping):
            raise ConfigError("an entry of files is no mapping", entry=position + 1, remedy=_REMEDY)
        table = _table(said, str(said.get("name", f"entry {position + 1}")))
        if table.name in tables:
            raise ConfigError("two tables have one name", table=table.name, remedy="Give one of them another name.")
        tables[table.name] = table
    return tables


def _table(said: Mapping[str, Any], name: str) -> Files:
    for word, value in said.items():
        expected: Any = _WORDS.get(str(word))
        if expected is None:
            close = difflib.get_close_matches(str(word), list(_WORDS), n=1)
            remedy = f"Did you mean {close[0]}?" if close else f"Allowed: {', '.join(_WORDS)}."
            raise ConfigError("a table of files has an unknown word", table=name, word=str(word), remedy=remedy)
        if not isinstance(value, expected):
            raise _wrong(name, str(word), "the value has the wrong type")
    for word in ("name", "pattern"):
        if not said.get(word):
            raise ConfigError("a table of files lacks a word", table=name, word=word, remedy=_REMEDY)
    if not _NAME.fullmatch(name):
        raise _wrong(name, "name", "the name has other signs than letters, digits, _ - and .")
    table = Files(
        name=name,
        pattern=str(said["pattern"]),
        format=_format(said, name),
        primary_key=tuple(str(column) for column in said.get("primary_key", ())),
        columns=_columns(said.get("columns", {}), name),
        order=str(said.get("order", "name")),
        encoding=str(said.get("encoding", "utf-8")),
        delimiter=said.get("delimiter"),
        header=bool(said.get("header", True)),
        record=str(said.get("record", "")),
        rows=str(said.get("rows", "")),
        namespaces=tuple((str(prefix), str(uri)) for prefix, uri in said.get("namespaces", {}).items()),
        max_expansion=int(said.get("max_expansion", 200)),
    )
    _check(table)
    return table


def _check(table: Files) -> None:
    if table.order not in ("name", "modified"):
        raise _wrong(table.name, "order", "the order is neither name nor modified")
    if table.format == "xml" and not table.record:
        raise _wrong(table.name, "record", "XML needs the element that holds a row")
    if table.format != "xml" and (table.rows or table.namespaces):
        raise _wrong(table.name, "rows" if table.rows else "namespaces", "only XML has this")
    if table.format not in ("xml", "json") and table.record:
        raise _wrong(table.name, "record", "only XML and JSON have records")
    if table.format not in ("csv", "tsv", "ndjson") and table.encoding != "utf-8":
        raise _wrong(table.name, "encoding", "this format says its encoding itself")
    if not table.header and (table.format not in ("csv", "tsv") or not table.columns):
        raise _wrong(table.name, "header", "without a header all columns are declared, in their order")
    if table.delimiter is not None and len(table.delimiter.encode()) != 1:
        raise _wrong(table.name, "delimiter", "a delimiter is one character")
    if table.max_expansion < 1:
        raise _wrong(table.name, "max_expansion", "the number is less than 1")
    try:
        "".encode(table.encoding)
    except LookupError:
        raise _wrong(table.name, "encoding", "no such encoding") from None


def _format(said: Mapping[str, Any], name: str) -> str:
    found = said.get("format")
    if found is None:
        endings = re.findall(r"\.([a-z0-9]+)", str(said["pattern"]).lower().rsplit("/", 1)[-1])
        found = next((_SUFFIXES[ending] for ending in endings if ending in _SUFFIXES), None)
        found = "xml" if found is None and "xml" in endings else found
    if found not in FORMATS:
        raise _wrong(name, "format", f"the format is none of {', '.join(FORMATS)}")
    return str(found)


def _columns(said: Mapping[Any, Any], table: str) -> tuple[Column, ...]:
    columns = []
    for name, value in said.items():
        words = {"type": value} if isinstance(value, str) else value
        if not isinstance(words, Mapping) or set(map(str, words)) - _COLUMN_WORDS:
            raise _wrong(table, "columns", f"column {name} is neither a type nor a mapping of type, path and list")
        if str(name) in (FILE, ROW, ITEM, NUMBER, GONE):
            raise _wrong(table, "columns", f"{name} is a column of the platform's own")
        try:
            dtype = column_type(str(words["type"])) if words.get("type") else None
        except ValueError as error:
            raise _wrong(table, "columns", str(error)) from None
        columns.append(Column(str(name), dtype, str(words.get("path", name)), bool(words.get("list", False))))
    return tuple(columns)


def _wrong(table: str, word: str, message: str) -> ConfigError:
    return ConfigError(message, table=table, word=word, remedy="See docs/files.md.")


_REMEDY = "Write files: [{name: orders, pattern: data/orders-*.csv}]."

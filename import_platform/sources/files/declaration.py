"""What stands under `files:` of a connection: tables, the files that each is made of, and how rows lie in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from import_platform.core.versions import Versions
from import_platform.core.wording import nearest
from import_platform.errors import ConfigError
from import_platform.sources.files.web_words import Web, addresses, path_ending
from import_platform.sources.json.columns import column_type

FILE, ROW, ITEM, NUMBER, GONE = "_file", "_row", "_item", "_file_number", "_gone"
MODIFIED, VERSION, MARK = "_file_modified", "_version", "_delete_mark"
"""When the file was changed, where files are ordered by it; of a child, its record's version; what `delete_when` looks
at where that is no column, which is never stored."""
BY_FILE = "file"
"""`version: file`: what stands in a later file counts."""
FORMATS = ("csv", "tsv", "ndjson", "json", "parquet", "xml")
_SUFFIXES = {"csv": "csv", "tsv": "tsv", "ndjson": "ndjson", "jsonl": "ndjson", "json": "json", "parquet": "parquet"}
_WORDS = {
    "name": str,
    "pattern": (str, list, tuple),
    "http": Mapping,
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
    "delete_when": Mapping,
    "version": str,
    "parent": str,
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
class DeleteWhen:
    """A row says that its key is deleted where `column`, or what the path leads to, is one of the values (none: is
    anything at all)."""

    column: str | None
    path: str | None
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """Under which a piece has it."""
        return self.column or MARK


@dataclass(frozen=True)
class Files:
    """One table. `record` is the element of XML (or the path of a JSON array) that holds a row, `rows` that of child
    rows inside a record. A file may unpack to `max_expansion` times its size. Of files behind http(s), `web` has the
    addresses, and `pattern` only what they are called.

    With `version`, a column or BY_FILE, the greatest version of a key stays, in whatever order files come. The rows of
    a table with a `parent` are replaced record by record; `parent_key` are the columns that say of which."""

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
    delete_when: DeleteWhen | None = None
    version: str | None = None
    parent: str | None = None
    parent_key: tuple[str, ...] = ()
    web: Web | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """The declared key, that of the parent and the number of the child, else the place of a row in its file."""
        return self.primary_key or ((*self.parent_key, ITEM) if self.parent_key else self.place)

    @property
    def versions(self) -> Versions | None:
        """What decides which row of a key stays; None: the one that was read last."""
        if self.version is None:
            return None
        first = () if self.version == BY_FILE else (self.version,)
        modified = (MODIFIED,) if self.order == "modified" else ()
        last = (ITEM,) if self.rows and not self.parent_key else ()
        order = (*first, *modified, FILE, NUMBER, ROW, *last)
        return Versions(self.parent_key or self.primary_key, order, bool(self.parent_key), (FILE,))

    @property
    def has_marks(self) -> bool:
        """Some of its rows only say that others are gone."""
        return self.by_place or self.delete_when is not None or bool(self.parent_key)

    @property
    def place(self) -> tuple[str, ...]:
        return (FILE, ROW, ITEM) if self.rows else (FILE, ROW)

    @property
    def by_place(self) -> bool:
        return not self.primary_key and not self.parent_key

    @property
    def types(self) -> dict[str, pa.DataType]:
        return {column.name: column.type for column in self.columns if column.type is not None and column.name != MARK}


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
            remedy = nearest(str(word), list(_WORDS), none="Allowed", most=1, shown=len(_WORDS))
            raise ConfigError("a table of files has an unknown word", table=name, word=str(word), remedy=remedy)
        if not isinstance(value, expected):
            raise wrong(name, str(word), "the value has the wrong type")
    for word in ("name", "pattern"):
        if not said.get(word):
            raise ConfigError("a table of files lacks a word", table=name, word=word, remedy=_REMEDY)
    if not _NAME.fullmatch(name):
        raise wrong(name, "name", "the name has other signs than letters, digits, _ - and .")
    pattern, web = addresses(said, name)
    table = Files(
        name=name,
        pattern=pattern,
        web=web,
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
        delete_when=_delete_when(said.get("delete_when"), name),
        version=said.get("version"),
        parent=said.get("parent"),
    )
    _check(table)
    _check_versions(table)
    return table


def _check(table: Files) -> None:
    if table.order not in ("name", "modified"):
        raise wrong(table.name, "order", "the order is neither name nor modified")
    if table.format == "xml" and not table.record:
        raise wrong(table.name, "record", "XML needs the element that holds a row")
    if table.format != "xml" and (table.rows or table.namespaces):
        raise wrong(table.name, "rows" if table.rows else "namespaces", "only XML has this")
    if table.format not in ("xml", "json") and table.record:
        raise wrong(table.name, "record", "only XML and JSON have records")
    if table.format not in ("csv", "tsv", "ndjson") and table.encoding != "utf-8":
        raise wrong(table.name, "encoding", "this format says its encoding itself")
    if not table.header and (table.format not in ("csv", "tsv") or not table.columns):
        raise wrong(table.name, "header", "without a header all columns are declared, in their order")
    if table.delimiter is not None and len(table.delimiter.encode()) != 1:
        raise wrong(table.name, "delimiter", "a delimiter is one character")
    if table.max_expansion < 1:
        raise wrong(table.name, "max_expansion", "the number is less than 1")
    try:
        "".encode(table.encoding)
    except LookupError:
        raise wrong(table.name, "encoding", "no such encoding") from None


def _check_versions(table: Files) -> None:
    word = "delete_when" if table.delete_when is not None else "version" if table.version is not None else None
    if word is None or table.parent is not None:
        return
    if not table.primary_key:
        raise wrong(table.name, word, "without a primary_key nobody knows which row is meant")
    path = table.delete_when.path if table.delete_when is not None else None
    if path is not None and (
        table.format not in ("xml", "json", "ndjson") or (table.format == "xml" and not table.columns)
    ):
        raise wrong(table.name, "delete_when", "a path needs XML with columns, or JSON; name a column")
    if table.version not in (None, BY_FILE) and table.version not in table.types:
        raise wrong(table.name, "version", "the column needs a declared type, because text has another order")


def _delete_when(said: Mapping[Any, Any] | None, table: str) -> DeleteWhen | None:
    if said is None:
        return None
    words = {str(word) for word in said}
    if words - {"column", "path", "value"} or len(words & {"column", "path"}) != 1:
        raise wrong(table, "delete_when", "it is no mapping of column or path, and value")
    values = said.get("value", ())
    values = values if isinstance(values, (list, tuple)) else (values,)
    texts = tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    column, path = (str(said[word]) if word in words else None for word in ("column", "path"))
    return DeleteWhen(column, path, texts)


def _format(said: Mapping[str, Any], name: str) -> str:
    found = said.get("format")
    if found is None:
        endings = re.findall(r"\.([a-z0-9]+)", path_ending(said["pattern"]))
        found = next((_SUFFIXES[ending] for ending in endings if ending in _SUFFIXES), None)
        found = "xml" if found is None and "xml" in endings else found
    if found not in FORMATS:
        raise wrong(name, "format", f"the format is none of {', '.join(FORMATS)}")
    return str(found)


def _columns(said: Mapping[Any, Any], table: str) -> tuple[Column, ...]:
    columns = []
    for name, value in said.items():
        words = {"type": value} if isinstance(value, str) else value
        foreign = set(map(str, words)) - _COLUMN_WORDS if isinstance(words, Mapping) else None
        if foreign is None or foreign:
            extra = f" (it has {', '.join(sorted(foreign))})" if foreign else ""
            message = f"column {name} is neither a type nor a mapping of type, path and list{extra}"
            raise wrong(table, "columns", message)
        if str(name) in (FILE, ROW, ITEM, NUMBER, GONE, MODIFIED, VERSION, MARK):
            raise wrong(table, "columns", f"{name} is a column of the platform's own")
        try:
            dtype = column_type(str(words["type"])) if words.get("type") else None
        except ValueError as error:
            raise wrong(table, "columns", str(error)) from None
        columns.append(Column(str(name), dtype, str(words.get("path", name)), bool(words.get("list", False))))
    return tuple(columns)


def wrong(table: str, word: str, message: str) -> ConfigError:
    return ConfigError(message, table=table, word=word, remedy="See docs/files.md.")


_REMEDY = "Write files: [{name: orders, pattern: data/orders-*.csv}]."

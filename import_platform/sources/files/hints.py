"""What a table's files show about its declaration that is no fault, but most likely a slip: a declared column that no
header has, a record that no document has. Files may still gain them, so a sync goes on and says it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from import_platform.core.wording import close_names, counted
from import_platform.sources.files.declaration import MARK, Files
from import_platform.sources.files.xml_cut import OPTIONS
from import_platform.sources.files.xml_paths import local, qualified
from import_platform.sources.files.xml_rows import utf8

LOOKED_BYTES = 1 << 18
"""Of a document without records: what is named of its elements."""
NAMES_SHOWN = 12
WITH_HEADER = ("csv", "tsv", "parquet")
"""Formats whose first rows name all columns of their file."""


@dataclass
class Hints:
    """Of one table. `columns` are those of the headers that were read, `files` how many files were looked at first,
    `records` how many of them have a record, `elements` those of the others. Mutable: sampling and reading fill it."""

    table: Files
    columns: set[str] = field(default_factory=set)
    files: int = 0
    records: int = 0
    elements: dict[str, None] = field(default_factory=dict)

    def looked(self, *, has_record: bool, elements: Iterable[str] = ()) -> None:
        """At one more file."""
        self.files += 1
        self.records += has_record
        self.elements |= dict.fromkeys(elements)

    def sentences(self) -> tuple[str, ...]:
        if self.table.format in WITH_HEADER and self.table.header and self.columns:
            return tuple(self._column(each.name) for each in self.table.columns if self._is_missing(each.name))
        if self.table.format == "xml" and self.files and not self.records:
            return tuple(filter(None, [self._record()]))
        return ()

    def _is_missing(self, name: str) -> bool:
        return name != MARK and name not in self.columns

    def _column(self, name: str) -> str:
        return (
            f"no file has the declared column {name}, which stays empty ({counted(self.files, 'file')} looked at); "
            f"there are {_named(name, sorted(self.columns))}"
        )

    def _record(self) -> str | None:
        wanted, record = qualified(self.table.record, self.table), self.table.record
        others = [name for name in self.elements if name != wanted]
        if wanted in self.elements or len(self.elements) < 2:  # an empty list has its own element only
            return None
        same = next((name for name in others if local(name) == local(wanted)), None)
        none = f"no file has a record {record} ({counted(self.files, 'file')} looked at)"
        if same is not None:
            space = same.rpartition("}")[0].removeprefix("{")
            in_space = f"in the namespace {space}" if space else "in no namespace"
            return f"{none}; there are elements {local(same)} {in_space}: say it with record and namespaces"
        return f"{none}; there are the elements {_named(local(wanted), list(dict.fromkeys(map(local, others))))}"


def elements_of(stream: Any) -> list[str]:
    """The elements at the beginning of a document, each once, in their order; as many as can be read."""
    reader: Any = etree.XMLPullParser(events=("start",), **OPTIONS)
    read, found, left = utf8(stream), dict[str, None](), LOOKED_BYTES
    try:
        while left > 0 and (data := read(left)):
            left -= len(data)
            reader.feed(data)
            found |= dict.fromkeys(element.tag for _, element in reader.read_events())
    except etree.XMLSyntaxError:
        pass
    return list(found)


def _named(word: str, names: Sequence[str]) -> str:
    """`amount, id, note (did you mean amount?)`, nearest names in question only where there are some."""
    close = close_names(word, names, most=1)
    shown = ", ".join(names[:NAMES_SHOWN]) + (", .." if len(names) > NAMES_SHOWN else "")
    return shown + (f" (did you mean {close[0]}?)" if close else "")

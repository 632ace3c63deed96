"""The connector of kind `files`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from import_platform.core.feed import FeedFile
from import_platform.core.lattice import join
from import_platform.core.layout import ALL
from import_platform.core.table import ColumnInfo, HashPartition, TableInfo
from import_platform.core.wording import counted
from import_platform.errors import ConfigError, ImportPlatformError, SourceRejected, SourceUnavailable
from import_platform.sources.files.columns import fit
from import_platform.sources.files.declaration import BY_FILE, FILE, GONE, ITEM, MODIFIED, NUMBER, ROW, Files, parse
from import_platform.sources.files.families import with_families
from import_platform.sources.files.gone import with_marks
from import_platform.sources.files.hints import WITH_HEADER, Hints, elements_of
from import_platform.sources.files.opened import FileDamaged, Part, parts_of
from import_platform.sources.files.piece import Reading
from import_platform.sources.files.places import Found, Place, place_of
from import_platform.sources.files.read import READERS, SPELLED, FeedPass
from import_platform.sources.files.web import WebPlace
from import_platform.sources.files.xml_spool import SharedXml
from import_platform.sources.protocol import (
    Ceiling,
    ColumnsGrew,
    NoRowsYet,
    Page,
    ParentTables,
    ReadRequest,
    Token,
)

SAMPLED_FILES = 3
SAMPLE_BYTES = 1 << 19
SAMPLED_PIECES = 3
"""Until one has rows: damage shows behind an empty one."""


class FilesSource:
    """Tables made of files. Each table has the columns of its rows, and the name, the number and the row of the file
    version that a row is from."""

    kind = "files"

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._tables = with_families(parse(connection))
        self._known: dict[str, dict[str, pa.DataType]] = {}
        self._empty: dict[str, ImportPlatformError | None] = {}
        self._hints: dict[str, Hints] = {}
        self._parents: ParentTables | None = None
        self._shared: SharedXml | None = None
        self._webs: dict[str, WebPlace] = {}

    def __repr__(self) -> str:
        return f"FilesSource({', '.join(self._tables)})"

    def use_parents(self, parents: ParentTables) -> None:
        self._parents = parents

    def use_scratch(self, folder: Path, *, owner: str) -> None:
        """Tables of XML that are made of one file are read in one pass."""
        self._shared = SharedXml(tuple(self._tables.values()), folder, owner=owner)

    def let_go(self, table: TableInfo, files: Sequence[FeedFile], after: Token | None) -> None:
        if self._shared is not None:
            first = int(after.get("file", 0)) if after is not None else 0
            self._shared.let_go(self._table(table.name), wanted=files[first:])

    def check(self) -> str:
        """Looks for the files of every table."""
        return "; ".join(self._counted(table) for table in self._tables.values())

    def _counted(self, table: Files) -> str:
        count = len(self._place(table).found())
        return f"{table.name}: {counted(count, 'file')}" if count else f"{table.name}: no file matches {table.pattern}"

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """The columns of the first rows of a few files of each table; in name order. Where all are asked for, one whose
        files cannot be had is known by its declaration only, so that it does not stand in the way of the others."""
        wanted = sorted(self._tables) if names is None else [name for name in sorted(self._tables) if name in names]
        found: list[TableInfo] = []
        failed: list[ImportPlatformError] = []
        for name in wanted:
            try:
                found.append(self._described(self._tables[name]))
            except (SourceRejected, SourceUnavailable) as error:
                failed.append(error)
                if names is not None or len(failed) == len(wanted):
                    raise
                found.append(self._info(self._tables[name]))
        return found

    def files(self, table: TableInfo) -> tuple[FeedFile, ...]:
        """In the order of their names, or of their last changes."""
        found = self._found(self._table(table.name))
        return tuple(FeedFile(f.path, f.size_bytes, f.tag, modified=f.modified_at.isoformat()) for f in found)

    def feed(self, table: TableInfo) -> tuple[str, tuple[str, ...]]:
        pattern = self._table(table.name).pattern
        name = hashlib.blake2b(pattern.encode(), digest_size=6).hexdigest()
        return name, tuple(sorted(each.name for each in self._tables.values() if each.pattern == pattern))

    def ceiling(self, table: TableInfo, cursor: str) -> Ceiling | None:
        raise ConfigError(
            "files are followed by their own numbers only",
            table=table.name,
            column=cursor,
            remedy=f"Leave cursor out, or name {NUMBER}.",
        )

    def row_count(self, table: TableInfo, *, timeout_seconds: float) -> int:
        raise SourceUnavailable("files do not count their rows", table=table.name, remedy="Sync the table.")

    def base_keys(self, table: TableInfo, partition: Any, *, limit: int, timeout_seconds: float) -> list[str] | None:
        return [ALL] if isinstance(partition, HashPartition) else None

    def read(self, request: ReadRequest) -> Iterator[Page]:
        """File by file. Every page has a token; memory is a few pages."""
        table = self._table(request.table.name)
        known = self._known.setdefault(table.name, {})
        for column in request.table.columns:
            known[column.name] = join(known.get(column.name, column.type), column.type)
        planned = request.files if request.files is not None else self.files(request.table)
        reading = FeedPass(
            table, self._place(table), request, planned, known=known, lake=self._parents, shared=self._shared
        )
        seen = self._hints.setdefault(table.name, Hints(table)).columns
        for page in reading.pages(seen):
            if isinstance(page, Page):
                yield page
            else:
                self._grow(table, page)
                raise ColumnsGrew.to(self._info(table))

    def close(self) -> None:
        for web in self._webs.values():
            web.close()
        if self._shared is not None:
            self._shared.close()

    def _table(self, name: str) -> Files:
        table = self._tables.get(name)
        if table is None:
            raise SourceRejected("no files are declared for this table", table=name, remedy="Add it under files.")
        return table

    def _place(self, table: Files) -> Place:
        if table.web is None:
            return place_of(table.pattern)
        if table.name not in self._webs:
            self._webs[table.name] = WebPlace(table.web)
        return self._webs[table.name]

    def _found(self, table: Files) -> list[Found]:
        found = self._place(table).found()
        return sorted(found, key=lambda f: (f.modified_at, f.path) if table.order == "modified" else f.path)

    def _grow(self, table: Files, grown: Mapping[str, pa.DataType]) -> None:
        known = self._known.setdefault(table.name, {})
        for name, dtype in grown.items():
            known[name] = join(known.get(name, dtype), dtype)

    def _described(self, table: Files) -> TableInfo:
        self._grow(table, table.types)
        found = self._found(table)
        hints = self._hints[table.name] = Hints(table)
        sampled = {f.path: f for f in (*found[: SAMPLED_FILES - 1], *found[-1:])}
        damages = {
            path: damage for path, one in sampled.items() if (damage := self._sample(table, one, hints)) is not None
        }
        info = self._info(table)
        self._empty[table.name] = _why_empty(table, len(found), damages)
        if info.columns:
            _check_named(table, info, hints.columns)
        return info

    def warnings(self, name: str) -> tuple[str, ...]:
        hints = self._hints.get(name)
        return hints.sentences() if hints is not None else ()

    def why_empty(self, table: TableInfo) -> ImportPlatformError | None:
        return self._empty.get(table.name)

    def _sample(self, table: Files, one: Found, hints: Hints) -> str | None:
        """Grows the table and its hints by the first rows of a file; what damage it has. Beside files with rows
        the sync names it."""
        file = self._place(table).open(one.path)
        try:
            with parts_of(one.path, file, size_bytes=one.size_bytes, max_expansion=table.max_expansion) as parts:
                for part in parts[:1]:
                    has_rows = self._sample_part(table, part, hints)
                    unmet = table.format == "xml" and not has_rows
                    hints.looked(has_record=has_rows, elements=elements_of(part.open()) if unmet else ())
        except FileDamaged as damage:
            return str(damage)
        finally:
            file.close()
        return None

    def _sample_part(self, table: Files, part: Part, hints: Hints) -> bool:
        pieces = READERS[table.format](Reading(table, part, {}, SAMPLE_BYTES, SAMPLE_BYTES))
        for piece in islice(pieces, SAMPLED_PIECES):
            hints.columns.update(piece.batch.schema.names)
            known, is_text = self._known[table.name], table.format in SPELLED
            self._grow(table, fit(with_marks(table, piece), known=known, declared=table.types, is_text=is_text).grown)
            if piece.batch.num_rows:
                return True
        return False

    def _info(self, table: Files) -> TableInfo:
        known = self._known.get(table.name, {})
        own = {FILE: pa.string(), ROW: pa.int64(), **({ITEM: pa.int64()} if table.rows else {}), NUMBER: pa.int64()}
        if table.versions is not None and MODIFIED in table.versions.order:
            own[MODIFIED] = pa.timestamp("us", "UTC")
        if table.has_marks:
            own[GONE] = pa.bool_()
        declared = table.types
        columns = tuple(
            ColumnInfo(name, dtype, "declared" if name in declared else table.format, name not in table.key)
            for name, dtype in ({n: t for n, t in known.items() if n not in own} | own).items()
        )
        has_rows = bool(set(known) - set(own))
        return TableInfo(
            "",
            table.name,
            columns if has_rows else (),
            table.key,
            cursors=(NUMBER,),
            sampled=True,
            deleted=GONE if table.has_marks else None,
            key_repeats=not table.by_place,
            versions=table.versions,
            always=() if has_rows else columns,
        )


def _why_empty(table: Files, files: int, damages: Mapping[str, str]) -> ImportPlatformError | None:
    if not files:
        return NoRowsYet(
            "no file matches the pattern yet", pattern=table.pattern, remedy="Its first row makes the table"
        )
    for path, damage in damages.items():
        return SourceRejected(
            "no file of this table can be read",
            file=path,
            reason=damage,
            remedy="Mend the file or take it away, or correct format, record and encoding.",
        )
    return None


def _check_named(table: Files, info: TableInfo, seen: Collection[str]) -> None:
    """Raises ConfigError: a column that decides about rows is in none of the files that were looked at."""
    named = [("primary_key", name) for name in table.primary_key if info.column(name) is None]
    if table.format in WITH_HEADER and seen:
        deciding = {"version": table.version, "delete_when": table.delete_when.column if table.delete_when else None}
        named += [(word, name) for word, name in deciding.items() if name is not None and name not in (BY_FILE, *seen)]
    for word, name in named:
        raise ConfigError(
            f"a column of {word} is in none of the files",
            table=table.name,
            column=name,
            columns=sorted(seen or (column.name for column in info.columns))[:30],
            remedy=f"Correct {word}, or the paths of columns.",
        )

"""The connector of kind `files`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from import_platform.core.feed import FeedFile
from import_platform.core.lattice import join
from import_platform.core.layout import ALL, ColumnRange
from import_platform.core.table import ColumnInfo, HashPartition, TableInfo
from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.files.columns import fit
from import_platform.sources.files.declaration import FILE, GONE, ITEM, MODIFIED, NUMBER, ROW, Files, parse
from import_platform.sources.files.families import with_families
from import_platform.sources.files.gone import with_marks
from import_platform.sources.files.opened import FileDamaged, parts_of
from import_platform.sources.files.piece import Reading
from import_platform.sources.files.places import Found, Place, place_of
from import_platform.sources.files.read import READERS, SPELLED, FeedPass
from import_platform.sources.files.web import WebPlace
from import_platform.sources.files.xml_spool import SharedXml
from import_platform.sources.protocol import Ceiling, ColumnsGrew, CursorWindow, Page, ParentTables, ReadRequest, Token

SAMPLED_FILES = 3
SAMPLE_BYTES = 1 << 19


class FilesSource:
    """Tables made of files. Each table has the columns of its rows, and the name, the number and the row of the file
    version that a row is from."""

    kind = "files"

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._tables = with_families(parse(connection))
        self._known: dict[str, dict[str, pa.DataType]] = {}
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
        counts = [f"{name}: {len(self._place(table).found())} files" for name, table in self._tables.items()]
        return "; ".join(counts)

    def discover(self, names: Sequence[str] | None = None) -> list[TableInfo]:
        """The columns of the first rows of a few files of each table; in name order."""
        return [self._described(self._tables[n]) for n in sorted(self._tables) if names is None or n in names]

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

    def count(self, table: TableInfo, *, window: CursorWindow | None = None) -> int:
        request = ReadRequest(table, tuple(c.name for c in table.columns), table.primary_key, window)
        return sum(page.batch.num_rows for page in self.read(request))

    def bucket_counts(self, table: TableInfo, range_: Sequence[ColumnRange], *, timeout_seconds: float) -> list[int]:
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
        for page in reading.pages():
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
        found = self._found(table)
        self._grow(table, table.types)
        sampled = {f.path: f for f in (*found[: SAMPLED_FILES - 1], *found[-1:])}
        for one in sampled.values():
            self._sample(table, one)
        info = self._info(table)
        missing = [name for name in table.primary_key if info.column(name) is None]
        if missing and info.columns:
            raise ConfigError(
                "a column of the primary key is in none of the files",
                table=table.name,
                column=missing[0],
                columns=[column.name for column in info.columns][:30],
                remedy="Correct primary_key, or the paths of columns.",
            )
        return info

    def _sample(self, table: Files, one: Found) -> None:
        """Grows the table by the first rows of a file; a damaged one says nothing here, the sync names it."""
        file = self._place(table).open(one.path)
        try:
            with parts_of(one.path, file, size_bytes=one.size_bytes, max_expansion=table.max_expansion) as parts:
                for part in parts[:1]:
                    pieces = READERS[table.format](Reading(table, part, {}, SAMPLE_BYTES, SAMPLE_BYTES))
                    for piece in pieces:
                        known = self._known[table.name]
                        done = fit(
                            with_marks(table, piece), known=known, declared=table.types, is_text=table.format in SPELLED
                        )
                        self._grow(table, done.grown)
                        break
        except FileDamaged:
            return
        finally:
            file.close()

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

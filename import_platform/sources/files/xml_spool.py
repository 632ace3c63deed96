"""One pass over an XML file for all tables that are made of it: the first one that needs a version of a file shreds it
for all of them into files on this machine's disk (see `spool`), and the others read theirs.

The name of a spool is a digest of the lake, the source, the version of the file and what is declared for it. Nothing
correct rests on these files: where there is no room for them, each table reads the file by itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from import_platform.core.feed import FeedFile
from import_platform.sources.files.declaration import Files
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Piece, Reading, empty
from import_platform.sources.files.spool import About, Gone, Lock, NoRoom, Spool, State
from import_platform.sources.files.xml_rows import read_xml, utf8
from import_platform.sources.files.xml_shred import Shredder, Stretch

VERSION = 2
SEGMENT_BYTES = 16 << 20
"""Of XML; the rows of two segments are held, one that is written and one that is gathered."""
STALE_SECONDS = 7 * 86_400.0
"""As long as a killed sync may be gone on with."""
STALLED_SECONDS = 60.0
"""Who shreds may wait for memory that we hold; after so long without progress we read for ourselves."""
_WAIT_SECONDS = 0.05


class SharedXml:
    """The spools of one source. `owner` tells lakes and sources apart that read the same files."""

    def __init__(self, tables: Sequence[Files], folder: Path, *, owner: str) -> None:
        self._tables = tables
        self._folder = folder
        self._owner = owner
        self._read: list[tuple[Spool, int]] = []

    def group(self, table: Files) -> tuple[Files, ...]:
        """The tables that are made of the same records of the same files, in their order, `table` among them."""
        same = (table.pattern, table.record, table.namespaces, table.max_expansion)
        return tuple(
            one
            for one in self._tables
            if one.format == "xml" and (one.pattern, one.record, one.namespaces, one.max_expansion) == same
        )

    def pieces(self, reading: Reading, file: FeedFile, check: Callable[[], None]) -> Iterator[Piece]:
        """As `read_xml`. Empty pieces come while the file is shredded, so that who reads may stop.

        `check` raises when the file is not `file` any more; what was shredded is dropped then.
        """
        group = self.group(reading.table)
        if len(group) < 2:
            yield from read_xml(reading)
            return
        own = group.index(reading.table)
        about = self._about(group, file)
        name = [VERSION, about.owner, reading.part.name, file.path, *about.version, about.declared]
        spool = Spool(self._folder, hashlib.sha256(json.dumps(name).encode()).hexdigest()[:32])
        with Lock(spool.lock_path) as lock:
            try:
                yield from self._ready(spool, lock, reading, _Filling(spool, about, group, own, reading, check))
            except NoRoom:
                yield from read_xml(reading)
                return
            upto = reading.row
            try:
                for piece in spool.pieces(reading, own, is_child=bool(reading.table.rows)):
                    upto = piece.at["row"]
                    yield piece
            except Gone:  # somebody cleared the folder
                yield from read_xml(replace(reading, begin={**reading.begin, "row": upto}))
                return
            except FileDamaged:
                self._read.append((spool, own))
                raise
            self._read.append((spool, own))

    def let_go(self, table: Files, *, wanted: Collection[FeedFile]) -> None:
        """Of every file but those that the table is about to read: what a sync left that was killed behind its rows,
        and versions that are no more. What a process has open stays."""
        if len(group := self.group(table)) < 2:
            return
        kept = [self._about(group, file) for file in wanted]

        def is_kept(about: About | None) -> bool:
            mine = about is None or (about.owner == self._owner and table.name in about.tables)
            return not mine or about in kept

        for lock_path in self._folder.glob("*.lock"):
            spool = Spool(self._folder, lock_path.stem)
            if is_kept(spool.about()):
                continue
            with suppress(NoRoom), Lock(lock_path) as lock:
                if not (lock.alone() or lock.together()):  # somebody shreds it
                    continue
                if is_kept(about := spool.about()):
                    continue
                if about is not None:
                    spool.use(about.tables.index(table.name))
            _remove_if_used(spool)

    def close(self) -> None:
        """Lets go of what was read to its end."""
        for spool, own in self._read:
            spool.use(own)
            _remove_if_used(spool)
        self._read.clear()

    def _about(self, group: Sequence[Files], file: FeedFile) -> About:
        declared = hashlib.sha256(repr(group).encode()).hexdigest()
        names = tuple(table.name for table in group)
        return About(self._owner, file.path, (file.size_bytes, file.tag), declared, names)

    def _ready(self, spool: Spool, lock: Lock, reading: Reading, filling: _Filling) -> Iterator[Piece]:
        """Ends with the spool whole and the lock shared. Raises NoRoom: this table is to read for itself."""
        seen, since = State(), time.monotonic()
        while True:
            state, is_used = spool.state(), spool.used(filling.own)
            if state.no_room:
                raise NoRoom
            if state.whole and not is_used:
                if lock.together() and spool.state().whole and not spool.used(filling.own):
                    return
            elif lock.alone():
                yield from filling.pieces()
            elif state.whole:  # others still read theirs, and ours was used before
                raise NoRoom
            if (state := spool.state()) != seen:
                seen, since = state, time.monotonic()
            elif time.monotonic() - since > STALLED_SECONDS:
                raise NoRoom
            if not state.whole:
                yield _idle(reading, state.xml_bytes)
                time.sleep(_WAIT_SECONDS)


@dataclass(frozen=True)
class _Filling:
    """A table that finds no rows shreds the file for all of its group; who holds the lock alone may."""

    spool: Spool
    about: About
    group: tuple[Files, ...]
    own: int
    reading: Reading
    check: Callable[[], None]

    def pieces(self) -> Iterator[Piece]:
        """Empty ones, until the spool is whole. It goes on where a killed one was."""
        state = self.spool.state()
        if state.whole and not self.spool.used(self.own):
            return
        if state.whole or self.spool.used(self.own):
            self.spool.remove()
        try:
            damage = yield from self._shredded()
        except NoRoom:
            self.spool.give_up(self.about)
            raise
        try:
            self.check()
        except Exception:
            self.spool.remove()
            raise
        self.spool.end(damage)

    def _shredded(self) -> Generator[Piece, None, str | None]:
        """What damage the file has. Rows are written beside the shredding, one segment at a time and in order."""
        self.spool.begin(self.about)
        room = _room(self.spool)
        before = self.spool.state()
        done, shredded_bytes = before.uptos[-1:] or (0,), before.xml_bytes
        shredder = Shredder(self.group, row_bytes_max=self.reading.row_bytes_max, done=done[0])
        waiting: list[Stretch] = []
        damage = None
        with ThreadPoolExecutor(1, thread_name_prefix="xml-spool") as writer:
            writing: Future[None] | None = None
            try:
                for stretch in shredder.stretches(utf8(self.reading.part.open())):
                    waiting.append(stretch)
                    shredded_bytes += stretch.size_bytes
                    if sum(one.size_bytes for one in waiting) >= SEGMENT_BYTES:
                        if writing is not None:
                            writing.result()
                        writing = writer.submit(self.spool.put, self.group, waiting, room_bytes=room)
                        waiting = []
                    yield _idle(self.reading, shredded_bytes)
            except FileDamaged as error:
                damage = str(error)
            if writing is not None:
                writing.result()
        if waiting:
            self.spool.put(self.group, waiting, room_bytes=room)
        return damage


def _idle(reading: Reading, ahead_bytes: int) -> Piece:
    return Piece(empty(), np.array([], np.int64), {"row": reading.row}, ahead_bytes=ahead_bytes)


def _remove_if_used(spool: Spool) -> None:
    """Called behind `use` and with no lock: of all that let go at once the last one finds nobody in its way."""
    with suppress(NoRoom), Lock(spool.lock_path) as lock:
        if spool.is_used() and lock.alone() and spool.is_used():
            spool.remove()
            lock.remove()


def _room(spool: Spool) -> int:
    """Bytes that a spool may take: half of what is free. What nobody came back for is deleted first."""
    folder = spool.lock_path.parent
    for path in folder.glob("*.lock"):
        other = Spool(folder, path.stem)
        with suppress(OSError):
            if path != spool.lock_path and time.time() - path.stat().st_mtime > STALE_SECONDS:
                with Lock(path) as lock:
                    if lock.alone():
                        other.remove()
                        lock.remove()
    return shutil.disk_usage(folder).free // 2

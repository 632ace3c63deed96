"""One pass over an XML file for all tables that are made of it: the first one that needs a version of a file shreds it
for all of them into files on this machine's disk, and the others read theirs.

    <scratch>/<digest>.lock             who shreds holds it alone, who reads together; dead ones hold none
    <scratch>/<digest>/state.json       what is there so far; a shredding that was killed goes on behind it
    <scratch>/<digest>/00003-7.arrow    rows of the eighth table, of the fourth stretch of records
    <scratch>/<digest>/used-7           the eighth table has read its rows

The digest names the lake, the source, the version of the file and what is declared for it. Nothing correct rests on
these files: where there is no room for them, each table reads the file by itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from import_platform.core.feed import FeedFile
from import_platform.errors import SourceUnavailable
from import_platform.sources.files.declaration import Files
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Bad, Piece, Reading, empty
from import_platform.sources.files.xml_rows import piece_of, read_xml, utf8
from import_platform.sources.files.xml_shred import Rows, Shredder, Stretch, behind, together

VERSION = 1
SEGMENT_BYTES = 16 << 20
"""Of XML; its rows are held until they are written."""
BATCH_BYTES = 4 << 20
PIECE_BYTES = 8 << 20
STALE_SECONDS = 7 * 86_400.0
"""As long as a killed sync may be gone on with."""
STALLED_SECONDS = 60.0
"""Who shreds may wait for memory that we hold; after so long without progress we read for ourselves."""
_WAIT_SECONDS = 0.05
_NUMBER, _ITEM = "__row", "__item"
_OPTIONS = ipc.IpcWriteOptions(compression="lz4")


class NoRoom(Exception):
    """The disk has not enough room for what is spooled, or refuses to take it."""


@dataclass(frozen=True)
class _State:
    """`uptos` are the last records of the segments. `whole`: the file was read to its end, or to its `damage`."""

    uptos: tuple[int, ...] = ()
    bytes: int = 0
    whole: bool = False
    damage: str | None = None
    no_room: bool = False


class SharedXml:
    """The spools of one source. `owner` tells lakes and sources apart that read the same files."""

    def __init__(self, tables: Sequence[Files], folder: Path, *, owner: str) -> None:
        self._tables = tables
        self._folder = folder
        self._owner = owner
        self._read: list[tuple[_Spool, int]] = []

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
        version = [VERSION, self._owner, reading.part.name, file.path, file.size_bytes, file.tag]
        digest = hashlib.sha256(json.dumps([*version, repr(group)]).encode()).hexdigest()[:32]
        spool = _Spool(self._folder, digest)
        with _Lock(spool.lock_path) as lock:
            try:
                yield from self._ready(spool, lock, reading, _Filling(spool, group, own, reading, check))
            except NoRoom:
                yield from read_xml(reading)
                return
            self._read.append((spool, own))
            yield from spool.pieces(reading, own, is_child=bool(reading.table.rows))

    def close(self) -> None:
        """Lets go of what was read to its end."""
        for spool, own in self._read:
            spool.use(own)
            with _Lock(spool.lock_path) as lock:
                if spool.is_used() and lock.alone():
                    spool.remove()
                    lock.remove()
        self._read.clear()

    def _ready(self, spool: _Spool, lock: _Lock, reading: Reading, filling: _Filling) -> Iterator[Piece]:
        """Ends with the spool whole and the lock shared. Raises NoRoom: this table is to read for itself."""
        seen, since = _State(), time.monotonic()
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
                yield _idle(reading)
                time.sleep(_WAIT_SECONDS)


@dataclass(frozen=True)
class _Filling:
    """A table that finds no rows shreds the file for all of its group; who holds the lock alone may."""

    spool: _Spool
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
            self.spool.give_up()
            raise
        try:
            self.check()
        except Exception:
            self.spool.remove()
            raise
        self.spool.end(damage)

    def _shredded(self) -> Generator[Piece, None, str | None]:
        """What damage the file has."""
        self.spool.begin()
        room = _room(self.spool)
        done = self.spool.state().uptos[-1:] or (0,)
        shredder = Shredder(self.group, row_bytes_max=self.reading.row_bytes_max, done=done[0])
        waiting: list[Stretch] = []
        damage = None
        try:
            for stretch in shredder.stretches(utf8(self.reading.part.open())):
                waiting.append(stretch)
                if sum(one.size_bytes for one in waiting) >= SEGMENT_BYTES:
                    self.spool.put(self.group, waiting, room_bytes=room)
                    waiting = []
                yield _idle(self.reading)
        except FileDamaged as error:
            damage = str(error)
        if waiting:
            self.spool.put(self.group, waiting, room_bytes=room)
        return damage


def _idle(reading: Reading) -> Piece:
    return Piece(empty(), np.array([], np.int64), {"row": reading.row})


class _Spool:
    """The files of one version of a file."""

    def __init__(self, folder: Path, digest: str) -> None:
        self._folder = folder / digest
        self.lock_path = folder / f"{digest}.lock"

    def state(self) -> _State:
        try:
            said = json.loads((self._folder / "state.json").read_text())
        except (OSError, ValueError):
            return _State()
        return _State(**{**said, "uptos": tuple(said["uptos"])})

    def begin(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise NoRoom from error

    def put(self, group: Sequence[Files], stretches: Sequence[Stretch], *, room_bytes: int) -> None:
        """Writes a segment. Raises NoRoom: it would take more than the room."""
        state = self.state()
        number, written = len(state.uptos), state.bytes
        for table, declared in enumerate(group):
            rows = together([stretch.rows[table] for stretch in stretches], is_child=bool(declared.rows))
            try:
                path = self._path(number, table)
                _write(path, rows)
                written += path.stat().st_size
            except OSError as error:
                raise NoRoom from error
        if written > room_bytes:
            raise NoRoom
        self._say(_State((*state.uptos, stretches[-1].upto), written))

    def end(self, damage: str | None) -> None:
        state = self.state()
        self._say(_State(state.uptos, state.bytes, whole=True, damage=damage))

    def give_up(self) -> None:
        """Nobody tries again for this version of the file."""
        self.remove()
        with suppress(OSError, NoRoom):
            self.begin()
            self._say(_State(no_room=True))

    def used(self, table: int) -> bool:
        return (self._folder / f"used-{table}").exists()

    def is_used(self) -> bool:
        """True when no table has rows to read any more."""
        return self._folder.exists() and not any(self._folder.glob("*.arrow"))

    def use(self, table: int) -> None:
        with suppress(OSError):
            (self._folder / f"used-{table}").touch()
            for path in self._folder.glob(f"*-{table}.arrow"):
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def pieces(self, reading: Reading, table: int, *, is_child: bool) -> Iterator[Piece]:
        """Raises FileDamaged behind the rows that came before the damage."""
        state = self.state()
        waiting: list[Rows] = []
        held = 0
        upto = reading.row
        for number, last in enumerate(state.uptos):
            if last <= reading.row:
                continue
            for rows, behind_it in self._segment(number, table, last, is_child=is_child):
                waiting.append(behind(rows, reading.row))
                held += rows.batch.nbytes
                upto = max(upto, behind_it)
                if held > min(reading.limit_bytes, PIECE_BYTES):
                    yield piece_of(waiting, upto)
                    waiting, held = [], 0
        yield piece_of(waiting, upto)
        if state.damage is not None:
            raise FileDamaged(state.damage)

    def _segment(self, number: int, table: int, last: int, *, is_child: bool) -> Iterator[tuple[Rows, int]]:
        try:
            yield from _read(self._path(number, table), last, is_child=is_child)
        except (pa.ArrowException, OSError):
            self.remove()
            raise SourceUnavailable("what was shredded of a file is gone", remedy="Run the sync again.") from None

    def _path(self, segment: int, table: int) -> Path:
        return self._folder / f"{segment:05d}-{table}.arrow"

    def _say(self, state: _State) -> None:
        path = self._folder / "state.json.new"
        try:
            path.write_text(json.dumps(asdict(state)))
            path.replace(self._folder / "state.json")
        except OSError as error:
            raise NoRoom from error


def _write(path: Path, rows: Rows) -> None:
    """In batches that end with a record; the last record of each, and what cannot be read, are told beside them."""
    batch = rows.batch.append_column(_NUMBER, pa.array(rows.numbers))
    if rows.items is not None:
        batch = batch.append_column(_ITEM, pa.array(rows.items))
    said = {b"bad": json.dumps([[bad.row, bad.reason, bad.values] for bad in rows.bad]).encode()}
    with ipc.new_file(str(path), batch.schema.with_metadata(said), options=_OPTIONS) as writer:
        for part in _cut(batch, rows):
            writer.write_batch(part.replace_schema_metadata(said))


def _cut(batch: pa.RecordBatch, rows: Rows) -> Iterator[pa.RecordBatch]:
    count = max(batch.num_rows * BATCH_BYTES // max(batch.nbytes, 1), 1)
    begin = 0
    while begin < batch.num_rows:
        end = min(begin + count, batch.num_rows)
        if end < batch.num_rows:
            end = int(np.searchsorted(rows.numbers, rows.numbers[end - 1], side="right"))
        yield batch.slice(begin, end - begin)
        begin = end


def _read(path: Path, last: int, *, is_child: bool) -> Iterator[tuple[Rows, int]]:
    """Rows, and the record behind which to go on."""
    with pa.OSFile(str(path)) as file, ipc.open_file(file) as reader:
        bad = tuple(Bad(*one) for one in json.loads(reader.schema.metadata[b"bad"]))
        names = [name for name in reader.schema.names if name not in (_NUMBER, _ITEM)]
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            numbers = batch[_NUMBER].to_numpy()
            items = batch[_ITEM].to_numpy() if is_child else None
            final = index == reader.num_record_batches - 1
            upto = last if final else int(numbers[-1])
            said = tuple(one for one in bad if one.row <= upto)
            bad = bad[len(said) :]
            yield Rows(batch.select(names).replace_schema_metadata(None), numbers, items, said), upto
        if bad:
            none = np.array([], np.int64)
            yield Rows(empty(), none, none if is_child else None, bad), last


def _room(spool: _Spool) -> int:
    """Bytes that a spool may take: half of what is free. What nobody came back for is deleted first."""
    folder = spool.lock_path.parent
    for path in folder.glob("*.lock"):
        other = _Spool(folder, path.stem)
        with suppress(OSError):
            if path != spool.lock_path and time.time() - path.stat().st_mtime > STALE_SECONDS:
                with _Lock(path) as lock:
                    if lock.alone():
                        other.remove()
                        lock.remove()
    return shutil.disk_usage(folder).free // 2


class _Lock:
    """A file that the kernel locks for us until we let go of it or die. Never waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def alone(self) -> bool:
        return self._take(fcntl.LOCK_EX)

    def together(self) -> bool:
        return self._take(fcntl.LOCK_SH)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _take(self, how: int) -> bool:
        if self._file is None:
            try:
                self._file = self._path.open("ab")
            except OSError as error:
                raise NoRoom from error
        try:
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            is_ours = self._path.stat().st_ino == os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            is_ours = False
        if not is_ours:  # it was removed meanwhile
            self.__exit__()
            return False
        os.utime(self._path)
        return True

"""What is shredded of one version of an XML file, as files on this machine's disk that outlive the process.

<scratch>/<digest>.lock             who shreds holds it alone, who reads together; dead ones hold none
<scratch>/<digest>/about.json       whose it is, of which version of which file, and for which tables
<scratch>/<digest>/state.json       what is there so far; a shredding that was killed goes on behind it
<scratch>/<digest>/00003-7.arrow    rows of the eighth table, of the fourth stretch of records
<scratch>/<digest>/used-7           the eighth table has read its rows
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from import_platform.sources.files.declaration import Files
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.piece import Bad, Piece, Reading, empty
from import_platform.sources.files.xml_rows import piece_of
from import_platform.sources.files.xml_shred import Rows, Stretch, behind, together

BATCH_BYTES = 4 << 20
PIECE_BYTES = 8 << 20
_NUMBER, _ITEM = "__row", "__item"
_OPTIONS = ipc.IpcWriteOptions(compression="lz4")


class Gone(Exception):
    """What was shredded is not there any more, or cannot be read."""


class NoRoom(Exception):
    """The disk has not enough room for what is spooled, or refuses to take it."""


@dataclass(frozen=True)
class State:
    """How far a file is shredded: `uptos` are the last records of the segments, which take `bytes` and were
    `xml_bytes`. `whole`: it was read to its end, or to its `damage`."""

    uptos: tuple[int, ...] = ()
    bytes: int = 0
    xml_bytes: int = 0
    whole: bool = False
    damage: str | None = None
    no_room: bool = False


@dataclass(frozen=True)
class About:
    """Whose a spool is: `owner` names lake and source, `version` is size and tag of the file, `declared` a digest of
    what is declared for it, `tables` are in the order of their numbers."""

    owner: str
    path: str
    version: tuple[int, str]
    declared: str
    tables: tuple[str, ...]


class Spool:
    """The files of one version of a file."""

    def __init__(self, folder: Path, digest: str) -> None:
        self._folder = folder / digest
        self.lock_path = folder / f"{digest}.lock"

    def state(self) -> State:
        try:
            said = json.loads((self._folder / "state.json").read_text())
        except (OSError, ValueError):
            return State()
        return State(**{**said, "uptos": tuple(said["uptos"])})

    def about(self) -> About | None:
        """None where nothing, or nothing of use, was begun."""
        try:
            said = json.loads((self._folder / "about.json").read_text())
        except (OSError, ValueError):
            return None
        return About(**{**said, "version": tuple(said["version"]), "tables": tuple(said["tables"])})

    def begin(self, about: About) -> None:
        """Raises NoRoom."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise NoRoom from error
        if self.about() != about:
            self._write("about.json", about)

    def put(self, group: Sequence[Files], stretches: Sequence[Stretch], *, room_bytes: int) -> None:
        """Writes a segment. Raises NoRoom: it would take more than the room."""
        state = self.state()
        number, written = len(state.uptos), state.bytes
        for table, declared in enumerate(group):
            rows = together([stretch.rows[table] for stretch in stretches], is_child=bool(declared.rows))
            try:
                path = self._path(number, table)
                write_rows(path, rows)
                written += path.stat().st_size
            except OSError as error:
                raise NoRoom from error
        if written > room_bytes:
            raise NoRoom
        xml_bytes = state.xml_bytes + sum(stretch.size_bytes for stretch in stretches)
        self._say(State((*state.uptos, stretches[-1].upto), written, xml_bytes))

    def end(self, damage: str | None) -> None:
        state = self.state()
        self._say(State(state.uptos, state.bytes, state.xml_bytes, whole=True, damage=damage))

    def give_up(self, about: About) -> None:
        """Nobody tries again for this version of the file."""
        self.remove()
        with suppress(NoRoom):
            self.begin(about)
            self._say(State(no_room=True))

    def used(self, table: int) -> bool:
        return (self._folder / f"used-{table}").exists()

    def is_used(self) -> bool:
        """True when no table has rows to read any more, or needs to be told that there is no room for them."""
        if self.state().no_room and (about := self.about()) is not None:
            return all(self.used(table) for table in range(len(about.tables)))
        return not any(self._folder.glob("*.arrow"))

    def use(self, table: int) -> None:
        with suppress(OSError):
            (self._folder / f"used-{table}").touch()
            for path in self._folder.glob(f"*-{table}.arrow"):
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """What says that rows are there goes first: who is killed in between leaves nothing that could be believed."""
        with suppress(OSError):
            (self._folder / "state.json").unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def pieces(self, reading: Reading, table: int, *, is_child: bool) -> Iterator[Piece]:
        """Raises FileDamaged behind the rows that came before the damage, and Gone behind those of earlier segments."""
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
            raise Gone from None

    def _path(self, segment: int, table: int) -> Path:
        return self._folder / f"{segment:05d}-{table}.arrow"

    def _say(self, state: State) -> None:
        self._write("state.json", state)

    def _write(self, name: str, said: State | About) -> None:
        path = self._folder / f"{name}.new"
        try:
            path.write_text(json.dumps(asdict(said)))
            path.replace(self._folder / name)
        except OSError as error:
            raise NoRoom from error


def write_rows(path: Path, rows: Rows) -> None:
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


class Lock:
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

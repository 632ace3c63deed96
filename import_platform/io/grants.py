"""Shares of one memory budget, granted to steps of any process of this machine, in the order in which they ask.

    <folder>/lock                            flock: whoever looks at the tickets or changes one
    <folder>/<number>-<bytes>.waiting|.held  flock: its owner lives; the kernel lets go of a killed owner's
    <folder>/ended/<number>-<bytes>-<time>   what the tickets of the last steps said, those of killed ones among them

A step holds one grant at a time and gives it back before it asks for another, so no two steps ever wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from import_platform.core.grants import Holder, Ticket, check_size, holder_from_json, may_go
from import_platform.errors import Interrupted
from import_platform.io.cgroup import memory_group, oom_kills

POLL_SECONDS = 0.05
ENDED_KEPT = 100
_TICKET_BYTES = 1024
"""Every ticket is written whole in one call, so that nobody reads half of one."""
_STATES = {"waiting": False, "held": True}


def _never() -> bool:
    return False


class Grant:
    """What one step holds. `give_back` may be called again."""

    def __init__(self, descriptor: int, path: Path, holder: Holder | None = None) -> None:
        self._descriptor: int | None = descriptor
        self._path = path
        self._holder = holder

    def note(self, held_bytes: int) -> None:
        """Writes on the ticket what its process has grown to beyond its base."""
        if self._descriptor is not None and self._holder is not None:
            self._holder = replace(self._holder, held_bytes=max(held_bytes, 0), seen_at=time.time())
            _write(self._descriptor, self._holder)

    def give_back(self) -> None:
        if self._descriptor is None:
            return
        if self._holder is not None:
            self._holder = replace(self._holder, seen_at=time.time(), ended=True)
            _write(self._descriptor, self._holder)
        _put_by(self._path)
        os.close(self._descriptor)
        self._descriptor = None


class Grants:
    """The budget of `total_bytes` that the processes that name the same folder share."""

    def __init__(self, folder: Path, total_bytes: int) -> None:
        self._folder = folder
        self._total_bytes = total_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, size_bytes: int, *, stop: Callable[[], bool] = _never, holder: Holder | None = None) -> Grant:
        """Waits for its turn and for so many bytes to be free. The ticket says who the holder is.

        Raises:
            ConfigError: it is more than there is altogether.
            Interrupted: stopped while it waited.
        """
        check_size(size_bytes, total_bytes=self._total_bytes)
        holder = None if holder is None else _here(holder, size_bytes)
        descriptor, waiting = self._queue(size_bytes, holder)
        held = waiting.with_suffix(".held")
        try:
            while not self._hold(waiting, held):
                _wait(stop)
        except BaseException:
            Grant(descriptor, waiting).give_back()
            raise
        return Grant(descriptor, held, holder)

    def tickets(self) -> list[Ticket]:
        """Who holds and who waits, in order; those of dead owners are removed."""
        with self._alone():
            return sorted(self._living())

    def holders(self) -> list[Holder]:
        """The living steps, as far as their tickets say."""
        with self._alone():
            held = [self._folder / _name(ticket) for ticket in self._living() if ticket.held]
            return [holder for path in held if (holder := _holder(path)) is not None]

    def gone(self) -> list[Holder]:
        """The last ENDED_KEPT steps that ended, by themselves (`ended`) or killed."""
        with self._alone():
            list(self._living())
        found = (_holder(path) for path in sorted((self._folder / "ended").glob("*-*")))
        return [holder for holder in found if holder is not None]

    def everybody(self) -> list[Holder]:
        """Steps that hold something now, and the last ones that ended."""
        return [*self.holders(), *self.gone()]

    def _queue(self, size_bytes: int, holder: Holder | None) -> tuple[int, Path]:
        with self._alone():
            number = max((ticket.number for ticket in self._living()), default=0) + 1
            path = self._folder / f"{number:012d}-{size_bytes}.waiting"
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if holder is not None:
                _write(descriptor, holder)
            return descriptor, path

    def _hold(self, waiting: Path, held: Path) -> bool:
        with self._alone():
            mine = _ticket(waiting)
            others = [ticket for ticket in self._living() if ticket != mine]
            if mine is None or not may_go(mine, others, total_bytes=self._total_bytes):
                return False
            waiting.rename(held)
            return True

    def _living(self) -> Iterator[Ticket]:
        for path in list(self._folder.iterdir()):
            ticket = _ticket(path)
            if ticket is None:
                continue
            if _is_dead(path):
                _put_by(path)
            else:
                yield ticket

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _put_by(path: Path) -> None:
    """Takes a ticket out of the queue, and keeps what it says of a step that held something, with the last others."""
    if path.suffix != ".held" or _holder(path) is None:
        path.unlink(missing_ok=True)
        return
    ended = path.parent / "ended"
    ended.mkdir(exist_ok=True)
    with suppress(FileNotFoundError):
        path.rename(ended / f"{path.stem}-{time.time_ns()}")
    by_age = sorted(ended.iterdir(), key=lambda each: each.name.rpartition("-")[2])
    for old in by_age[:-ENDED_KEPT]:
        old.unlink(missing_ok=True)


def _wait(stop: Callable[[], bool]) -> None:
    if stop():
        raise Interrupted("stopped while waiting for memory", remedy="The next run goes on from here.")
    time.sleep(POLL_SECONDS)


def _ticket(path: Path) -> Ticket | None:
    number, _, size = path.stem.partition("-")
    state = path.suffix.lstrip(".")
    if state not in _STATES or not number.isdigit() or not size.isdigit():
        return None
    holder = _holder(path)
    told = ("", 0) if holder is None else (holder.process, holder.base_bytes)
    return Ticket(int(number), int(size), _STATES[state], *told)


def _name(ticket: Ticket) -> str:
    return f"{ticket.number:012d}-{ticket.size_bytes}.{'held' if ticket.held else 'waiting'}"


def _holder(path: Path) -> Holder | None:
    try:
        return holder_from_json(path.read_bytes())
    except OSError:
        return None


def _here(holder: Holder, size_bytes: int) -> Holder:
    group = memory_group()
    kills, now = oom_kills(group), time.time()
    return replace(
        holder,
        host=os.uname().nodename,
        pid=os.getpid(),
        granted_bytes=size_bytes,
        group=str(group or ""),
        oom_kills=-1 if kills is None else kills,
        began_at=now,
        seen_at=now,
    )


def _write(descriptor: int, holder: Holder) -> None:
    os.pwrite(descriptor, holder.to_json().ljust(_TICKET_BYTES), 0)


def _is_dead(path: Path) -> bool:
    """True when nobody holds the ticket's lock. The owner gives its ticket back without asking for ours."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
    return True

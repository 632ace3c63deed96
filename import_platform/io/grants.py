"""Shares of one memory budget, granted to steps of any process of this machine, in the order in which they ask.

    <folder>/lock                            flock: whoever looks at the tickets or changes one
    <folder>/<number>-<bytes>.waiting|.held  flock: its owner lives; the kernel lets go of a killed owner's

A step holds one grant at a time and gives it back before it asks for another, so no two steps ever wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from import_platform.core.grants import Ticket, check_size, may_go
from import_platform.errors import Interrupted

POLL_SECONDS = 0.05
_STATES = {"waiting": False, "held": True}


def _never() -> bool:
    return False


class Grant:
    """What one step holds. `give_back` may be called again."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor: int | None = descriptor
        self._path = path

    def give_back(self) -> None:
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


class Grants:
    """The budget of `total_bytes` that the processes that name the same folder share."""

    def __init__(self, folder: Path, total_bytes: int) -> None:
        self._folder = folder
        self._total_bytes = total_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, size_bytes: int, *, stop: Callable[[], bool] = _never) -> Grant:
        """Waits for its turn and for so many bytes to be free.

        Raises:
            ConfigError: it is more than there is altogether.
            Interrupted: stopped while it waited.
        """
        check_size(size_bytes, total_bytes=self._total_bytes)
        descriptor, waiting = self._queue(size_bytes)
        held = waiting.with_suffix(".held")
        try:
            while not self._hold(waiting, held):
                _wait(stop)
        except BaseException:
            Grant(descriptor, waiting).give_back()
            raise
        return Grant(descriptor, held)

    def tickets(self) -> list[Ticket]:
        """Who holds and who waits, in order; those of dead owners are removed."""
        with self._alone():
            return sorted(self._living())

    def _queue(self, size_bytes: int) -> tuple[int, Path]:
        with self._alone():
            number = max((ticket.number for ticket in self._living()), default=0) + 1
            path = self._folder / f"{number:012d}-{size_bytes}.waiting"
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
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
                path.unlink(missing_ok=True)
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


def _wait(stop: Callable[[], bool]) -> None:
    if stop():
        raise Interrupted("stopped while waiting for memory", remedy="The next run goes on from here.")
    time.sleep(POLL_SECONDS)


def _ticket(path: Path) -> Ticket | None:
    number, _, size = path.stem.partition("-")
    state = path.suffix.lstrip(".")
    if state not in _STATES or not number.isdigit() or not size.isdigit():
        return None
    return Ticket(int(number), int(size), _STATES[state])


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

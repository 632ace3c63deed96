"""What the caller of a run hands to its steps: who watches, how long a table may take, whether to wait and retry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from import_platform.core.report import Observer, SyncReport
from import_platform.errors import ImportPlatformError

MAX_RUN_SECONDS = 1800.0
"""A scheduled sync ends at a checkpoint after this long, so that one huge table never freezes its source."""

UNLIMITED_SECONDS = float("inf")


@dataclass
class Session:
    """One caller's view of the runs it starts in its own process; steps add their reports by table id.

    `observer` None means that the run's own log is told. `patient` runs wait for a source to come back; a person at a
    terminal is told at once instead. `stop` is asked where no signal arrives: in threads beside the main one.
    """

    observer: Observer | None = None
    max_run_seconds: float = MAX_RUN_SECONDS
    patient: bool = True
    reports: dict[str, SyncReport] = field(default_factory=dict)
    errors: dict[str, ImportPlatformError] = field(default_factory=dict)
    interrupted: bool = False
    stop: Callable[[], bool] | None = None


_current: ContextVar[Session | None] = ContextVar("import_platform_session", default=None)


def current_session() -> Session:
    """The session of the caller in this process; a fresh patient one for runs that Dagster started."""
    return _current.get() or Session()


@contextmanager
def session(value: Session) -> Iterator[Session]:
    token = _current.set(value)
    try:
        yield value
    finally:
        _current.reset(token)

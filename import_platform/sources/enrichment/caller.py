"""What can be asked for rows, and how a caller for it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from import_platform.core.enrichment import Blame, Enrichment, Refusal
from import_platform.sources.http.waiting import Patience, TokenBucket
from import_platform.sources.http.words import RateLimit

POLL_SECONDS = 0.2


class Caller(Protocol):
    """Asks for one batch of rows."""

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Any] | Refusal:
        """An answer per row, as it came, or why the whole batch has none. Raises Interrupted: stopped on request."""
        ...

    def close(self) -> None: ...


class StoppablePatience(Patience):
    """Waits until the time is over or somebody wants the run to stop. A request under way may end: it is paid for."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        super().__init__()
        self._stop = stop

    def wait(self, seconds: float) -> None:
        """Raises Interrupted: the run is to stop."""
        while seconds > 0 and not self._stop():
            super().wait(min(seconds, POLL_SECONDS))
            seconds -= POLL_SECONDS
        if self._stop():
            self.end()
        super().wait(0)


def open_caller(enrichment: Enrichment, stop: Callable[[], bool]) -> Caller:
    """Raises ConfigError: there is no such function, or the address is no URL."""
    # Imported late: the HTTP session brings dlt, which takes a second.
    module, name = ("function", "FunctionCaller") if "function" in enrichment.call else ("http", "HttpCaller")
    kind = getattr(import_module(f"import_platform.sources.enrichment.{module}"), name)
    caller: Caller = kind(enrichment, StoppablePatience(stop))
    return caller


def bucket_of(enrichment: Enrichment, name: str) -> TokenBucket | None:
    """The rate limit of whatever has this name, shared by everybody on this machine who asks it."""
    if enrichment.rate is None:
        return None
    requests, per_seconds = enrichment.rate
    return TokenBucket(name, RateLimit(requests=requests, per_seconds=per_seconds))


def counted(answers: Any, rows: Sequence[Any], who: str) -> Sequence[Any] | Refusal:
    """The answers where there is one for each row."""
    if not isinstance(answers, list | tuple):
        return Refusal(f"{who} gave no list of answers", Blame.CALL)
    if len(answers) != len(rows):
        return Refusal(f"{who} gave {len(answers)} answers for {len(rows)} rows", Blame.CALL)
    return answers

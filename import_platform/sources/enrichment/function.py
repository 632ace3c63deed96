"""A Python function asked for rows: it gets a list of dicts and gives back a list of dicts, None for nothing found."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from import_platform.core.enrichment import Blame, Enrichment, Refusal
from import_platform.errors import ConfigError
from import_platform.sources.enrichment.caller import POLL_SECONDS, bucket_of, counted
from import_platform.sources.http.waiting import Patience, backoff_seconds

Function = Callable[[list[dict[str, Any]]], Any]


class FunctionCaller:
    """A function that raises OSError (no connection, a timeout) is tried again; any other exception blames the rows.

    It runs in a thread of its own. One that outlives its time limit is left behind, because a thread cannot be ended.
    """

    def __init__(self, enrichment: Enrichment, patience: Patience) -> None:
        self._function = imported(str(enrichment.call["function"]))
        self._enrichment = enrichment
        self._patience = patience
        self._bucket = bucket_of(enrichment, f"function {enrichment.call['function']}")

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Any] | Refusal:
        found: tuple[Any] | Refusal = Refusal("nobody asked", Blame.CALL)
        for tries in range(self._enrichment.retries + 1):
            self._patience.wait(0)
            if self._bucket is not None:
                self._bucket.take(self._patience)
            found = self._once([dict(row) for row in rows])
            if not isinstance(found, Refusal) or found.blame is not Blame.CALL:
                break
            if tries < self._enrichment.retries:
                self._patience.wait(backoff_seconds(tries))
        return found if isinstance(found, Refusal) else counted(found[0], rows, "the function")

    def close(self) -> None: ...

    def _once(self, rows: list[dict[str, Any]]) -> tuple[Any] | Refusal:
        """What the function gave, wrapped: it may be anything."""
        done: list[tuple[Any] | Refusal] = []

        def call() -> None:
            try:
                done.append((self._function(rows),))
            except OSError as error:
                done.append(Refusal(f"the function failed with {type(error).__name__}", Blame.CALL))
            except Exception as error:  # noqa: BLE001  it is anybody's function; its text may hold values of rows
                done.append(Refusal(f"the function failed with {type(error).__name__}"))

        thread = threading.Thread(target=call, name=f"enrich-{self._enrichment.name}", daemon=True)
        thread.start()
        left = self._enrichment.timeout_seconds
        while left > 0 and thread.is_alive():
            thread.join(min(left, POLL_SECONDS))
            left -= POLL_SECONDS
            if thread.is_alive():
                self._patience.wait(0)
        seconds = f"{self._enrichment.timeout_seconds:g}"
        return done[0] if done else Refusal(f"the function did not answer within {seconds} seconds", Blame.CALL)


def imported(path: str) -> Function:
    """The function of `module:function`. Raises ConfigError: it cannot be imported, or it cannot be called."""
    module, _, name = path.partition(":")
    remedy = "Write it like geo.lookup:locate; its module must be importable where the sync runs."
    try:
        function = getattr(import_module(module), name)
    except Exception as error:
        raise ConfigError(
            "the function of an enrichment cannot be imported",
            function=path,
            said=type(error).__name__,
            remedy=remedy,
        ) from error
    if not callable(function):
        raise ConfigError("the function of an enrichment cannot be called", function=path, remedy=remedy)
    found: Function = function
    return found

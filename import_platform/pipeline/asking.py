"""One enrichment asked for batches of rows, several at a time where it allows that."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from import_platform.core.enrichment import Answer, Blame, Enrichment, Refusal
from import_platform.sources.enrichment.caller import Caller, open_caller
from import_platform.sources.enrichment.shape import shaped

STRAIN: Mapping[Blame, int] = {Blame.ROWS: 1, Blame.CALL: 7, Blame.OWNER: 21}
STRAIN_MAX = 21
"""Nobody is asked any more in this run after one refusal that its owner has to mend, three batches in a row that were
not answered, or 21 single rows."""

Rows = Sequence[Mapping[str, Any]]
Batch = tuple[Sequence[bytes], Rows]
"""Rows with the digests of their keys."""


class Asking:
    """A batch that is refused for its rows is halved until the row is found that is to blame. Mutable: it counts what
    it was told.

    Every request in flight has a caller, and so a connection, of its own; a rate limit is shared by all of them.
    """

    def __init__(self, enrichment: Enrichment, stop: Callable[[], bool]) -> None:
        """Raises ConfigError: a function cannot be imported, or an address is no URL."""
        self._enrichment = enrichment
        self._callers = [open_caller(enrichment, stop) for _ in range(enrichment.in_flight)]
        self._idle: queue.SimpleQueue[Caller] = queue.SimpleQueue()
        for caller in self._callers:
            self._idle.put(caller)
        self._pool: ThreadPoolExecutor | None = None
        if enrichment.in_flight > 1:
            self._pool = ThreadPoolExecutor(enrichment.in_flight, thread_name_prefix=f"enrich-{enrichment.name}")
        self._lock = threading.Lock()
        self._strain = 0
        self._given_up: Refusal | None = None
        self.answered = self.failed = 0

    @property
    def given_up(self) -> str:
        """Why nobody is asked any more in this run; empty while somebody is."""
        return self._given_up.sentence if self._given_up is not None else ""

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        for caller in self._callers:
            caller.close()

    def answers(self, batches: Iterable[Batch]) -> Iterator[tuple[Sequence[bytes], list[Answer]]]:
        """One answer per row of each batch, beside the digests, as they are ready: in any order. A batch
        is taken when there is room for its request.

        Raises Interrupted: stopped on request; whatever was under way is given first.
        """
        told = (self._asked_in_turn if self._pool is None else self._asked_at_once)(batches)
        for digests, found in told:
            failed = sum(isinstance(answer, Refusal) for answer in found)
            self.failed += failed
            self.answered += len(found) - failed
            yield digests, found

    def _asked_in_turn(self, batches: Iterable[Batch]) -> Iterator[tuple[Sequence[bytes], list[Answer]]]:
        for digests, rows in batches:
            yield digests, self._ask(rows)

    def _asked_at_once(self, batches: Iterable[Batch]) -> Iterator[tuple[Sequence[bytes], list[Answer]]]:
        assert self._pool is not None
        left = iter(batches)
        running: dict[Future[list[Answer]], Sequence[bytes]] = {}
        error: BaseException | None = None
        while True:
            while error is None and len(running) < self._enrichment.in_flight:
                batch = next(left, None)
                if batch is None:
                    break
                running[self._pool.submit(self._ask, batch[1])] = batch[0]
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                digests = running.pop(future)
                failure = future.exception()
                if failure is None:
                    yield digests, future.result()
                error = error or failure
        if error is not None:
            raise error

    def _ask(self, rows: Rows) -> list[Answer]:
        caller = self._idle.get()
        try:
            return self._asked(caller, rows)
        finally:
            self._idle.put(caller)

    def _asked(self, caller: Caller, rows: Rows) -> list[Answer]:
        given_up = self._given_up
        if given_up is not None:
            return [given_up] * len(rows)
        found = caller.ask(rows)
        if not isinstance(found, Refusal):
            with self._lock:
                self._strain = 0
            return shaped(found, self._enrichment.outputs)
        if found.blame is Blame.ROWS and len(rows) > 1:
            half = len(rows) // 2
            return [*self._asked(caller, rows[:half]), *self._asked(caller, rows[half:])]
        with self._lock:
            self._strain += STRAIN[found.blame]
            if self._strain >= STRAIN_MAX and self._given_up is None:
                self._given_up = Refusal(f"not asked, after: {found.sentence}", found.blame)
        return [found] * len(rows)

"""The next answers are fetched while the last ones are worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from import_platform.errors import Interrupted
from import_platform.sources.http.waiting import Patience
from import_platform.sources.rest.client import Fetched

AHEAD = 12
"""About what comes while a group of answers is converted (read.py, 2,000 rows); a kill costs so many requests more."""


class Ended(Exception):
    """There are no more answers."""


class Prefetch:
    """Answers ahead of their reader, in a thread, so that requests go on while a group of answers is converted.

    Memory: up to AHEAD answers of `large_bytes` together, as bodies, beside what the reader holds; none ahead where one
    answer is larger than that.
    """

    def __init__(self, fetch: Callable[[Patience], Iterator[Fetched]], *, large_bytes: int) -> None:
        self._patience = Patience()
        self._answers: queue.Queue[Fetched | BaseException] = queue.Queue()
        self._large_bytes = large_bytes
        self._changed = threading.Condition()
        self._waiting = 0  # answers, and their bytes, that nobody has taken yet
        self._waiting_bytes = 0
        self._last_bytes = 0
        self._last_next: Mapping[str, Any] | None = None
        self._may_be_last = False
        self._wanted = False
        self._thread = threading.Thread(target=self._run, args=(fetch,), name="import_platform-fetch", daemon=True)
        self._thread.start()

    def get(self, *, timeout_seconds: float) -> Fetched | None:
        """The next answer; None when it did not come in time. Raises Ended, or what fetching it raised."""
        with self._changed:
            self._wanted = True
            self._changed.notify()
        try:
            found = self._answers.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            self._answers.put(found)  # whoever asks again hears the same
            raise found
        with self._changed:
            self._wanted = False
            self._waiting -= 1
            self._waiting_bytes -= found.body_bytes
            self._changed.notify()
        return found

    def close(self) -> None:
        """Ends the thread at its next wait; what it has under way is dropped."""
        with self._changed:
            self._patience.end()
            self._changed.notify()

    def _has_room(self) -> bool:
        if not self._waiting and self._wanted:
            return True
        if self._may_be_last:
            return False
        return self._waiting < AHEAD and self._waiting_bytes + self._last_bytes <= self._large_bytes

    def _may_go_on(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._patience.is_over or self._has_room())
        return not self._patience.is_over

    def _add(self, answer: Fetched) -> None:
        with self._changed:
            self._waiting += 1
            self._waiting_bytes += answer.body_bytes
            self._last_bytes = answer.body_bytes
            # The reader knows whether the list goes on; an API is not asked thirty times to find out that it ended.
            self._may_be_last = not answer.rows or (answer.resumable and answer.next in (None, self._last_next))
            self._last_next = answer.next
        self._answers.put(answer)

    def _run(self, fetch: Callable[[Patience], Iterator[Fetched]]) -> None:
        try:
            answers = fetch(self._patience)
            while self._may_go_on():
                answer = next(answers, None)
                if answer is None:
                    break
                self._add(answer)
        except Interrupted:
            self._answers.put(Ended())
        except BaseException as error:  # noqa: BLE001  it is raised again where the answer is awaited
            self._answers.put(error)
        else:
            self._answers.put(Ended())

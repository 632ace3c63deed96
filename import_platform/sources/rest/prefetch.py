"""The next answer is fetched while the last one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from import_platform.errors import Interrupted
from import_platform.sources.rest.client import Fetched
from import_platform.sources.rest.waiting import Patience


class Ended(Exception):
    """There are no more answers."""


class Prefetch:
    """Answers one ahead, in a thread. Memory: two answers; one where answers are larger than `large_bytes`."""

    def __init__(self, fetch: Callable[[Patience], Iterator[Fetched]], *, large_bytes: int) -> None:
        self._patience = Patience()
        self._answers: queue.Queue[Fetched | BaseException] = queue.Queue()
        self._permits = threading.Semaphore(1)
        self._owed = False
        self._large_bytes = large_bytes
        self._thread = threading.Thread(target=self._run, args=(fetch,), name="import_platform-fetch", daemon=True)
        self._thread.start()

    def get(self, *, timeout_seconds: float) -> Fetched | None:
        """The next answer; None when it did not come in time. Raises Ended, or what fetching it raised."""
        if self._owed:
            self._permits.release()
            self._owed = False
        try:
            found = self._answers.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            self._answers.put(found)  # whoever asks again hears the same
            raise found
        if found.body_bytes <= self._large_bytes:
            self._permits.release()
        else:
            self._owed = True
        return found

    def close(self) -> None:
        """Ends the thread at its next wait; what it has under way is dropped."""
        self._patience.end()
        self._permits.release()

    def _run(self, fetch: Callable[[Patience], Iterator[Fetched]]) -> None:
        try:
            answers = fetch(self._patience)
            while self._permits.acquire() and not self._patience.is_over:
                answer = next(answers, None)
                if answer is None:
                    break
                self._answers.put(answer)
        except Interrupted:
            self._answers.put(Ended())
        except BaseException as error:  # noqa: BLE001  it is raised again where the answer is awaited
            self._answers.put(error)
        else:
            self._answers.put(Ended())

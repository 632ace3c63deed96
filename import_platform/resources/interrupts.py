"""SIGINT and SIGTERM as a request to stop: the sync checkpoints its current chunk instead of dying in the middle."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(elsewhere: Callable[[], bool] | None = None) -> Iterator[Callable[[], bool]]:
    """A function that says whether a signal came since the block began.

    The second signal goes to whoever handled signals before (Dagster raises in the middle of the step), so a person can
    insist. Outside the main thread, where Python delivers no signals, it is what `elsewhere` says, else stays False.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield elsewhere or requested.is_set
        return
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}

    def request(number: int, frame: FrameType | None) -> None:
        requested.set()
        _restore(previous)

    for number in _SIGNALS:
        signal.signal(number, request)
    try:
        yield requested.is_set
    finally:
        _restore(previous)


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        # None stands for a handler that C code installed; Python cannot put it back.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)

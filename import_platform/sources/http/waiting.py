"""Waiting that can be ended: between requests, for a rate limit, for a server that asked for patience."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from import_platform.errors import Interrupted
from import_platform.own_folder import own_folder
from import_platform.sources.http.words import RateLimit

BACKOFF_SECONDS, BACKOFF_MAX_SECONDS = 0.5, 60.0


class Patience:
    """Sleeps until the time is over or somebody calls `end`."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    @property
    def is_over(self) -> bool:
        return self._ended.is_set()

    def wait(self, seconds: float) -> None:
        """Raises Interrupted: nobody wants the answer any more."""
        if self._ended.wait(max(seconds, 0)):
            raise Interrupted("the read was closed while it waited for the API")


class TokenBucket:
    """Requests per time, counted in a file of this machine, so that all tables and processes share one limit.

    The file holds numbers only. A lost file costs one burst.
    """

    def __init__(self, base_url: str, limit: RateLimit) -> None:
        self._rate = limit.requests / limit.per_seconds
        self._burst = limit.burst or max(1.0, min(limit.requests, self._rate))
        self._path = own_folder("import_platform-rates") / f"{hashlib.sha256(base_url.encode()).hexdigest()[:24]}.json"

    def take(self, patience: Patience) -> None:
        """Returns when one more request may go out."""
        while (seconds := self._reserve(time.time())) > 0:
            patience.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Lets nobody ask for so long: the API said that it is too much."""
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            tokens, at = self._read(file.fileno(), time.time())
            self._write(file.fileno(), min(tokens, -seconds * self._rate), at)

    def _reserve(self, now: float) -> float:
        """Takes a token and returns 0, or says how long to wait before asking again."""
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            tokens, _ = self._read(file.fileno(), now)
            if tokens < 1:
                return (1 - tokens) / self._rate
            self._write(file.fileno(), tokens - 1, now)
            return 0.0

    def _read(self, handle: int, now: float) -> tuple[float, float]:
        data = os.pread(handle, 100, 0)
        try:
            tokens, at = json.loads(data)
        except (ValueError, TypeError):
            return self._burst, now
        return min(self._burst, tokens + max(now - at, 0) * self._rate), now

    def _write(self, handle: int, tokens: float, at: float) -> None:
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps([tokens, at]).encode())


def backoff_seconds(tries: int) -> float:
    """Exponential with full jitter, so that many tables do not come back at the same instant."""
    return random.uniform(0.1, 1.0) * min(BACKOFF_SECONDS * 2.0**tries, BACKOFF_MAX_SECONDS)


def asked_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the server asked to be left alone: Retry-After as seconds or as a date, else the reset of its limit."""
    text = headers.get("Retry-After", "").strip()
    if text:
        return _seconds_or_date(text, now)
    for prefix in ("X-RateLimit", "RateLimit", "X-Rate-Limit"):
        reset = headers.get(f"{prefix}-Reset", "").strip()
        if headers.get(f"{prefix}-Remaining", "").strip() == "0" and reset.replace(".", "", 1).isdigit():
            value = float(reset)
            return max(value - now.timestamp(), 0.0) if value > 1e9 else value  # an instant, or seconds from now
    return None


def _seconds_or_date(text: str, now: datetime) -> float | None:
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max((at - now).total_seconds(), 0.0)

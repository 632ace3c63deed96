"""The observer of a run that Dagster started: sentences at once, progress rarely, because a log line is a
database row.
"""

from __future__ import annotations

import logging
import time

from import_platform.core.budget import format_bytes
from import_platform.core.report import Stage

PROGRESS_SECONDS = 30.0


class RunLog:
    """Writes to a Dagster context's log."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._quiet_until = time.monotonic() + PROGRESS_SECONDS

    def progress(self, table: str, stage: Stage, *, rows: int, bytes_: int, total_rows: int | None) -> None:
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + PROGRESS_SECONDS
            of_total = f" of about {total_rows:,}" if total_rows else ""
            self._log.info("%s: %s %s%s rows, %s", table, stage, f"{rows:,}", of_total, format_bytes(bytes_))

    def note(self, table: str, message: str) -> None:
        self._log.info("%s: %s", table, message)

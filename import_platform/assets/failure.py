"""Errors at Dagster's edge: what heals by itself is tried again with growing pauses, the rest fails with one
sentence.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import dagster as dg

from import_platform.core.report import SyncReport
from import_platform.errors import (
    CommitConflict,
    CommitOutcomeUnknown,
    ImportPlatformError,
    MemoryBudgetExceeded,
    Overtaken,
    RetryableError,
)

RACES = (CommitConflict, CommitOutcomeUnknown, Overtaken)
RACE_PAUSES_SECONDS = (1.0, 4.0, 15.0)
"""Another writer was faster: the next round reads its commit and mostly goes through at once."""

OUTAGE_PAUSES_SECONDS = (15.0, 60.0, 240.0)
"""A source or store that restarts is back within five minutes; later is the next tick's work."""


def retry_or_failure(error: ImportPlatformError, report: SyncReport, *, retries: int, patient: bool) -> Exception:
    """RetryRequested while another try can help, else Failure with the facts as metadata.

    `retries` counts the tries before this one. Impatient callers (a person at a terminal) wait for races only.
    """
    pauses = _pauses(error, patient=patient)
    if retries < len(pauses):
        return dg.RetryRequested(max_retries=len(pauses), seconds_to_wait=pauses[retries])
    facts: dict[str, dg.MetadataValue] = {name: _as_metadata(value) for name, value in error.facts.items()}
    facts["error_class"] = dg.MetadataValue.text(type(error).__name__)
    if error.remedy:
        facts["remedy"] = dg.MetadataValue.text(error.remedy)
    for name in ("rows_read", "bytes_read", "seconds", "peak_memory_bytes"):
        facts[name] = _as_metadata(getattr(report, name))
    return dg.Failure(description=str(error), metadata=facts, allow_retries=False)


def _pauses(error: ImportPlatformError, *, patient: bool) -> tuple[float, ...]:
    if isinstance(error, RACES):
        return RACE_PAUSES_SECONDS
    if not isinstance(error, RetryableError) or not patient:
        return ()
    # A step that met its budget meets it again with the same chunks; one more try covers a neighbour that left.
    return OUTAGE_PAUSES_SECONDS[:1] if isinstance(error, MemoryBudgetExceeded) else OUTAGE_PAUSES_SECONDS


def for_unexpected(error: Exception) -> dg.Failure:
    """Failure for an error nobody foresaw. Its own message is left out: a driver's text may quote rows or a
    password.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    stack = "\n".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return dg.Failure(
        description=f"internal error: {type(error).__name__}{place}. Please report it with the stack.",
        metadata={"stack": dg.MetadataValue.md(f"```\n{stack}\n```")},
        allow_retries=False,
    )


def _as_metadata(value: object) -> dg.MetadataValue:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    return dg.MetadataValue.float(value) if isinstance(value, float) else dg.MetadataValue.text(str(value))

"""What a sync tells: progress while it works, and one report per table when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol


class Status(StrEnum):
    """How one table's sync ended."""

    DONE = "done"
    DONE_WITH_REJECTS = "done with rejects"  # whole, but rows that could not be stored were set apart
    UNCHANGED = "unchanged"
    CHECKPOINTED = "checkpointed"  # stopped on request or time limit; the next run goes on
    FAILED = "failed"


UP_TO_DATE = frozenset({Status.DONE, Status.DONE_WITH_REJECTS, Status.UNCHANGED})
"""Nothing is left to do until the source changes."""


@dataclass
class SyncReport:
    """The JSON object of one table, field for field the contract of `import-platform sync --json`.

    Bytes: `bytes_read` decoded Arrow bytes from the source, `bytes_written` bytes of committed data files,
    `filter_bytes` key filters read, `peak_memory_bytes` the summed PSS of the process tree, `predicted_memory_bytes`
    what its merges were expected to hold. Of `files_considered` the keys of `files_probed` were read to find what to
    rewrite. `warnings` are sentences about what is most likely a slip in the declaration.
    Mutable on purpose: a sync fills it as it goes, so a failed one still tells what it did.
    """

    table: str
    status: Status = Status.UNCHANGED
    rows_read: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    rows_rejected: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    files_added: int = 0
    files_removed: int = 0
    files_considered: int = 0
    files_probed: int = 0
    filter_bytes: int = 0
    partitions_touched: int = 0
    delta_version: int | None = None
    cursor_value: str | None = None
    peak_memory_bytes: int = 0
    predicted_memory_bytes: int = 0
    seconds: float = 0.0
    resumed: bool = False
    error: str | None = None
    warnings: tuple[str, ...] = ()

    def add(self, counts: Mapping[str, int]) -> None:
        """Adds to the fields of these names."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)

    def as_json(self) -> dict[str, Any]:
        """Plain values: Dagster stores no member of an enumeration as metadata."""
        return {**asdict(self), "status": self.status.value}


def ended_as(*, changed: bool, rejected_rows: int) -> Status:
    """How a pass over the source ended that left nothing to do."""
    if rejected_rows:
        return Status.DONE_WITH_REJECTS
    return Status.DONE if changed else Status.UNCHANGED


class Stage(StrEnum):
    """Where a sync is, in the order they come."""

    READING = "reading"
    MERGING = "merging"
    COMMITTING = "committing"


class Observer(Protocol):
    """Told of progress; calls come at most once per page or file and must return quickly."""

    def progress(self, table: str, stage: Stage, *, rows: int, bytes_: int, total_rows: int | None) -> None:
        """Rows and bytes so far in this stage; `total_rows` is an estimate, None when unknown."""
        ...

    def note(self, table: str, message: str) -> None:
        """One plain sentence for the log (a retry, a resume, a choice made)."""
        ...


class Silent:
    """An observer that ignores everything."""

    def progress(self, table: str, stage: Stage, *, rows: int, bytes_: int, total_rows: int | None) -> None: ...

    def note(self, table: str, message: str) -> None: ...

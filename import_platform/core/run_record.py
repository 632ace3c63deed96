"""What the ledger keeps of one run on one table: what ran, what it cost, what its chunks held, and who pays for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

TOKEN_CHARS_MAX = 500
"""A page token is as long as a source's keys; its beginning tells the place to a person."""

CHUNKS_IN_COMMIT_MAX = 64
"""So many chunks are named in a commit. A swap of thousands of chunks would make its log entry megabytes."""

PAID_KINDS = frozenset({"incremental", "append", "full_refresh"})
"""Kinds of runs that somebody pays for, unless a person ordered them to repair something."""


@dataclass(frozen=True)
class RunOrder:
    """What whoever started a run says of it. `billable` None leaves it to the kind of run."""

    billable: bool | None = None
    dagster_run: str = ""


@dataclass(frozen=True)
class ChunkRecord:
    """One staged chunk that a run committed. The tokens are the source's places before and after it, as JSON; "" where
    the pass began, or where nobody knows any more."""

    attempt: str
    chunk: int
    rows: int
    decoded_bytes: int
    rejected_rows: int = 0
    token_before: str = ""
    token_after: str = ""


@dataclass(frozen=True)
class RunRecord:
    """One try at one table. `kind` is a sync mode, `backfill`, or what was done to the table in the lake.

    `status` as in reports, `killed` for a run of which only its commits are known. Rows and bytes of a `rebuilt` record
    are those of its commits.
    """

    run: str
    source: str
    table: str
    kind: str
    status: str
    billable: bool
    started_at: datetime
    ended_at: datetime
    dagster_run: str = ""
    attempt: str = ""
    resumed: bool = False
    seconds: float = 0.0
    rows_read: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    rows_rejected: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    files_added: int = 0
    files_removed: int = 0
    peak_memory_bytes: int = 0
    predicted_memory_bytes: int = 0
    budget_bytes: int = 0
    delta_version: int | None = None
    cursor_value: str | None = None
    error_class: str = ""
    error: str = ""
    rebuilt: bool = False
    chunks: tuple[ChunkRecord, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), default=datetime.isoformat, ensure_ascii=False).encode()


def record_from_json(data: bytes) -> RunRecord:
    value: dict[str, Any] = json.loads(data)
    for name in ("started_at", "ended_at"):
        value[name] = datetime.fromisoformat(value[name]).astimezone(UTC)
    return RunRecord(**value | {"chunks": tuple(ChunkRecord(**chunk) for chunk in value["chunks"])})


def is_billable(kind: str, order: RunOrder, *, resync: bool) -> bool:
    """Ordinary syncs are; what an operator has done again (`resync`), moved or repaired is not, unless ordered so."""
    return order.billable if order.billable is not None else kind in PAID_KINDS and not resync


def token_text(token: Mapping[str, Any] | None) -> str:
    """A page token as the ledger keeps it; "" for none."""
    return "" if token is None else json.dumps(token, default=str, ensure_ascii=False)[:TOKEN_CHARS_MAX]

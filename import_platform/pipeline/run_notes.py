"""What a run notes of itself while it works, for the ledger and for the page of its table."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from import_platform.core.fan_out import FanOutPlan
from import_platform.core.run_record import ChunkRecord, token_text
from import_platform.core.state import Attempt, Checkpoint
from import_platform.core.table import TableSpec


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def held(chunks: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Chunks with rows: the last one of a pass may only say that it is over."""
    return [chunk for chunk in chunks if chunk.rows or chunk.rejected_rows]


@dataclass
class RunNotes:
    """Mutable: it lives for one run. `spec` is the table as the run opened it, `attempt` the pass that it worked on,
    `plan` the flush that it left to steps."""

    kind: str = ""
    run: str = field(default_factory=_new_id)
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    spec: TableSpec | None = None
    attempt: Attempt | None = None
    plan: FanOutPlan | None = None
    chunks: list[ChunkRecord] = field(default_factory=list)

    def begin(self) -> None:
        """Forgets the run before: the same table may be worked on again."""
        self.run, self.begun_at = _new_id(), datetime.now(UTC)
        self.spec, self.attempt, self.plan, self.chunks = None, None, None, []

    def opened(self, spec: TableSpec, kind: str) -> None:
        self.spec, self.kind = spec, kind

    def began(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def flushed(self, attempt: Attempt, chunks: Sequence[Checkpoint]) -> None:
        """These chunks are in the lake now."""
        before = self.chunks[-1].token_after if self.chunks else ""
        for chunk in held(chunks):
            after = token_text(chunk.token)
            self.chunks.append(
                ChunkRecord(
                    attempt.id, chunk.number, chunk.rows, chunk.decoded_bytes, chunk.rejected_rows, before, after
                )
            )
            before = after

    @property
    def source_columns(self) -> Mapping[str, str]:
        """The source's columns and their types in the lake, as the run found them."""
        return {} if self.spec is None else {column.name: str(column.type) for column in self.spec.info.columns}

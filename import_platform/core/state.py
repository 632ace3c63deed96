"""The durable state of a table's syncs: what state/<n> holds, and what a writer may do about it.

State n is written with put-if-absent before Delta commit n (n travels in the commit as app transaction), so whoever
put state n owns n. The state in force is the one whose number the Delta log carries; numbers burnt by dead writers
leave gaps. Source: DESIGN section 8.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa

from import_platform.core.cursor import CursorValue, later
from import_platform.core.feed import FeedFile, feed_files

APP_ID = "import_platform"


class AttemptKind(StrEnum):
    """What one pass over the source is for; decides how its chunks reach the table."""

    FULL_REFRESH = "full_refresh"
    INCREMENTAL = "incremental"
    APPEND = "append"
    BACKFILL = "backfill"


@dataclass(frozen=True)
class TableState:
    """State n of one table.

    `cursor` is known complete; `settled` says that no row can appear at that very value any more; `sync_attempt` is
    the last attempt that is not a backfill; `progress` the last chunk in the lake of every attempt still open; `tail`
    holds hashes of the rows at an unsettled cursor value, so that reading them again changes nothing; `content` tells
    what the last full refresh swapped in, so that swapping in the same rows again changes nothing. `files` are those
    of a feed that have been read, as they were, and `tombstones` name what is remembered of deleted keys.
    """

    number: int = 0
    attempt: str = ""
    flush: str = ""
    cursor: CursorValue | None = None
    settled: bool = False
    sync_attempt: str = ""
    progress: Mapping[str, int] = field(default_factory=dict)
    tail: tuple[int, ...] = ()
    content: str = ""
    files: tuple[FeedFile, ...] = ()
    tombstones: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()


def state_from_json(data: bytes) -> TableState:
    value = json.loads(data)
    names = {name: tuple(value.get(name, ())) for name in ("tail", "tombstones")}
    return TableState(**value | names | {"files": feed_files(value.get("files", ()))})


def next_state(
    current: TableState,
    *,
    number: int,
    attempt: Attempt,
    flush: str,
    last_chunk: int,
    complete: bool,
    tail: tuple[int, ...] = (),
    content: str = "",
    tombstones: tuple[str, ...] = (),
) -> TableState:
    """The state after flushing an attempt's chunks up to `last_chunk`; the cursor moves only when it is complete."""
    progress = {**current.progress, attempt.id: last_chunk}
    if complete:
        del progress[attempt.id]
    syncs = attempt.kind is not AttemptKind.BACKFILL
    state = replace(
        current,
        number=number,
        attempt=attempt.id,
        flush=flush,
        progress=progress,
        sync_attempt=attempt.id if syncs else current.sync_attempt,
        content=content,
        tombstones=tombstones,
    )
    if complete and syncs and attempt.ceiling is not None:
        state = replace(state, cursor=attempt.ceiling, settled=attempt.settled, tail=tail)
    if complete and syncs:
        state = replace(state, files=attempt.manifest)
    return state


@dataclass(frozen=True)
class Attempt:
    """One pass over the source, durable from its start: the manifest that a resume reads.

    `base_sync_attempt` is the sync that was last in the lake when it began: if a third one is there at a flush, this
    attempt was overtaken. `start_version` is the Delta version then, -1 for no table. `ceiling` is the cursor value
    that is complete once the attempt is. A backfill replaces `range_files`, the files of its range at `start_version`.
    `columns` are those of the source then, `name type` each, and `filters` what was masked or left out: a pass over
    others is not gone on with. The `ceiling` of an append table's backfill is the cursor then, because rows past it are
    the next sync's; that of an `open_ended` attempt is what its rows reach. `files` are what it reads of a feed, and
    `manifest` what has been read of it once it is complete; `listing` is what other tables of it read as well.
    """

    id: str
    kind: AttemptKind
    base_sync_attempt: str
    start_version: int
    started_at: datetime
    after: CursorValue | None = None
    ceiling: CursorValue | None = None
    settled: bool = False
    key: str = ""
    range_files: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    open_ended: bool = False
    files: tuple[FeedFile, ...] = ()
    manifest: tuple[FeedFile, ...] = ()
    listing: int = 0

    @property
    def replaces_range(self) -> bool:
        """Rows of a partition are read to take the place of those in the lake; without a key files are read again."""
        return self.kind is AttemptKind.BACKFILL and bool(self.key)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self) | {"started_at": self.started_at.isoformat()}, sort_keys=True).encode()


def attempt_from_json(data: bytes) -> Attempt:
    value = json.loads(data)
    return Attempt(
        **value
        | {
            "kind": AttemptKind(value["kind"]),
            "range_files": tuple(value["range_files"]),
            "columns": tuple(value["columns"]),
            "filters": tuple(value.get("filters", ())),
            "files": feed_files(value.get("files", ())),
            "manifest": feed_files(value.get("manifest", ())),
            "started_at": datetime.fromisoformat(value["started_at"]),
        }
    )


@dataclass(frozen=True)
class Checkpoint:
    """What stands beside a staged chunk: its size, and where the source goes on after it.

    `token` None means that the chunk is only whole together with later ones; a resume discards such a chunk. `tail`
    holds hashes of its rows at the attempt's unsettled ceiling. `id` names its data and `previous` the chunk that it
    follows, because two processes may work on one attempt and cut the same rows into different chunks. `content` is
    the sum of its rows' hashes in a full refresh. `met` are hashes of rows that the lake has already, where they are
    counted. `reached` is the greatest cursor value of an open-ended attempt's chunk; `tail` is of the rows there.
    """

    number: int
    rows: int
    decoded_bytes: int
    token: Mapping[str, Any] | None
    rejected_rows: int = 0
    end: bool = False
    tail: tuple[int, ...] = ()
    id: str = ""
    previous: str = ""
    content: int = 0
    met: tuple[int, ...] = ()
    reached: CursorValue | None = None

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()


def checkpoint_from_json(data: bytes) -> Checkpoint:
    value = json.loads(data)
    return Checkpoint(**value | {"tail": tuple(value["tail"]), "met": tuple(value.get("met", ()))})


def ended(
    attempt: Attempt, checkpoints: Sequence[Checkpoint], dtype: pa.DataType, *, tail: tuple[int, ...]
) -> tuple[Attempt, tuple[int, ...]]:
    """An open-ended attempt with the value that it reached as its ceiling, and the hashes of the rows there; where it
    read no row, those of before, `tail`."""
    reached: CursorValue | None = None
    for checkpoint in checkpoints:
        reached = later(reached, checkpoint.reached, dtype)
    if reached is None:
        return replace(attempt, ceiling=attempt.after), tail
    there = tuple(hash_ for checkpoint in checkpoints if checkpoint.reached == reached for hash_ in checkpoint.tail)
    top = later(reached, attempt.after, dtype)
    return replace(attempt, ceiling=top), there if top == reached else tail


def content_of(attempt: Attempt, checkpoints: Sequence[Checkpoint]) -> str:
    """What a whole full refresh holds, whatever the order and the cuts of its rows: count, sum of hashes, columns, and
    how many rows it set apart, or rows newly rejected would be told nowhere."""
    rows = sum(checkpoint.rows for checkpoint in checkpoints)
    hashes = sum(checkpoint.content for checkpoint in checkpoints) % 2**64
    rejected = sum(checkpoint.rejected_rows for checkpoint in checkpoints)
    apart = f":{rejected}" if rejected else ""
    return f"{rows}:{hashes:016x}:{zlib.crc32(repr((attempt.columns, attempt.filters)).encode()):08x}{apart}"


def swapped(content: str, rows: int) -> str:
    """What the state keeps of a swap: its content, and the rows that the lake then has. When either is another later,
    somebody else wrote the table."""
    return f"{content}:{rows}"


def resumable(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """The checkpoints, each following the one before it, up to the last one that carries a token or the end."""
    whole: list[Checkpoint] = []
    for expected, checkpoint in enumerate(sorted(checkpoints, key=lambda c: c.number), start=1):
        if checkpoint.number != expected or checkpoint.previous != (whole[-1].id if whole else ""):
            break
        whole.append(checkpoint)
    while whole and whole[-1].token is None and not whole[-1].end:
        whole.pop()
    return whole


def is_overtaken(attempt: Attempt, state: TableState) -> bool:
    """True when another sync committed since this attempt began; a backfill in between does not count."""
    return attempt.kind is not AttemptKind.BACKFILL and state.sync_attempt not in (
        attempt.base_sync_attempt,
        attempt.id,
    )


def is_finished(attempt: Attempt, state: TableState) -> bool:
    """True when the attempt was committed to its end: by this process, or by another that went on with it."""
    return attempt.id in (state.sync_attempt, state.attempt) and attempt.id not in state.progress

"""One table brought up to date: resume or begin an attempt, extract, flush, report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from import_platform.core.cursor import CursorValue, later
from import_platform.core.feed import FeedPlan
from import_platform.core.layout import validate
from import_platform.core.report import Status, SyncReport, ended_as
from import_platform.core.sampled import with_known
from import_platform.core.state import (
    Attempt,
    AttemptKind,
    Checkpoint,
    TableState,
    content_of,
    ended,
    is_finished,
    is_overtaken,
    resumable,
    swapped,
)
from import_platform.core.table import SyncMode
from import_platform.core.wording import counted
from import_platform.errors import ConfigError, Interrupted, Overtaken
from import_platform.io.ledger import record_rejected
from import_platform.pipeline.context import OpenTable, TableContext, open_table
from import_platform.pipeline.extract import Extract
from import_platform.pipeline.fan_out import hand_over
from import_platform.pipeline.feeding import feed_plan, files_again, let_go, publish_release
from import_platform.pipeline.flush import RangeChanged
from import_platform.pipeline.gather import flush_or_gather
from import_platform.pipeline.keys import ROW_BYTES
from import_platform.pipeline.replace_range import range_files
from import_platform.pipeline.run_on_table import run_on_table
from import_platform.pipeline.sampled import as_staged, grown
from import_platform.pipeline.settle import settle_rejected
from import_platform.pipeline.stopping import stoppable
from import_platform.pipeline.turns import Turns
from import_platform.pipeline.versioned import by_number
from import_platform.sources.protocol import Ceiling, ColumnsGrew, TokenExpired

RESUME_WITHIN = timedelta(days=7)
FLUSH_CHUNKS = 16
"""An incremental flush takes at most this many full chunks (1 GiB decoded at 64 MiB each), so that a long first load
becomes visible and a conflict costs no more than one flush."""
FAN_OUT_CHUNKS = 64
"""Where steps may share the last flush of a pass, it waits for more; each of them reads all that is staged."""


def sync_table(context: TableContext, *, full_refresh: bool = False) -> SyncReport:
    """Brings the table up to date in its sync mode; goes on from a killed attempt where there is one.

    A stop or the time limit ends it at a checkpoint with status `checkpointed`; the next call goes on.

    Raises:
        ImportPlatformError: with the report so far as its `report` attribute. The lake holds whole commits only.
    """

    def work(table: OpenTable, report: SyncReport) -> None:
        kind = AttemptKind.FULL_REFRESH if full_refresh else AttemptKind(table.spec.sync.value)
        _Sync(table, report, kind, forced=full_refresh).run()

    context.notes.kind = AttemptKind.FULL_REFRESH if full_refresh else context.declared.sync or ""
    return run_on_table(context, work, resync=full_refresh)


def backfill_table(context: TableContext, key: str) -> SyncReport:
    """Re-imports exactly the rows of base partition `key` and replaces that range in one commit.

    Of a table whose rows have versions all files are read again, as by `read_files_again`. The cursor does not move.
    Raises as `sync_table`, and ConfigError for a key that is no partition of this table.
    """

    def work(table: OpenTable, report: SyncReport) -> None:
        validate(key, table.identity.partition)
        if table.spec.info.versions is not None:  # which rows are in the range depends on files that have none there
            _Sync(table, report, AttemptKind.BACKFILL, files=("*",)).run()
            return
        for last in (False, False, True):
            try:
                _Sync(table, report, AttemptKind.BACKFILL, key=key).run()
                break
            except RangeChanged:
                if last:
                    raise
                context.observer.note(context.table_id, "another run changed the partition meanwhile; reading it again")
                table = open_table(context)

    context.notes.kind = AttemptKind.BACKFILL
    return run_on_table(context, work)


def read_files_again(context: TableContext, patterns: Sequence[str]) -> SyncReport:
    """Reads files that a sync has read once more, in one commit: by their names, or patterns of them.

    A row stays where the lake has its key of a later version, or remembers it as deleted; without versions, of a later
    file. Which files were read, and the cursor, stay. Raises as `sync_table`, and ConfigError for files nobody read.
    """

    def work(table: OpenTable, report: SyncReport) -> None:
        _Sync(by_number(table), report, AttemptKind.BACKFILL, files=tuple(patterns)).run()

    context.notes.kind = AttemptKind.BACKFILL
    return run_on_table(context, work)


@dataclass
class _Sync:
    """One sync or backfill of an open table; a backfill of a `key`, or of `files` that were read before. Mutable: it
    lives for one run and fills the report."""

    table: OpenTable
    report: SyncReport
    kind: AttemptKind
    key: str = ""
    forced: bool = False
    files: tuple[str, ...] = ()
    turns: Turns = field(init=False)
    listing: int = 0
    again: FeedPlan | None = None

    def run(self) -> None:
        snapshot = self.table.snapshot
        state = self.table.staging.state(snapshot.transaction if snapshot else 0)
        self.report.cursor_value = state.cursor
        self.report.delta_version = snapshot.version if snapshot else None
        if self.kind is AttemptKind.APPEND:
            self._check_append(state)
        if self.files:
            self.again = files_again(self.table, state, self.files)
        notes = self.table.context.notes
        notes.opened(self.table.spec, self.kind)
        attempt, done = self._resumed(state)
        if attempt is None:
            attempt = self._begun(state)
        let_go(self.table, attempt, done)
        if attempt is None:
            publish_release(self.table, self.listing)
            return
        notes.began(attempt)
        self.table = as_staged(self.table, attempt, done)
        context = self.table.context
        with context.turns() as self.turns:
            try:
                self._extract_and_flush(attempt, done, state)
            except TokenExpired as error:
                self._start_over(attempt, error)
            except Interrupted:  # while it waited for memory, or in a flush that took long: what was read is staged
                self._stop_at_checkpoint()
        after = self.table.log.snapshot()
        if after is not None:
            self.report.delta_version = after.version
            self.report.cursor_value = self.table.staging.state(after.transaction).cursor
        publish_release(self.table, self.listing or attempt.listing)

    def _check_append(self, state: TableState) -> None:
        """An append needs to know which rows are in the lake: without a cursor value it swaps the whole table instead.

        Raises:
            ConfigError: the state is gone, so that the same rows would be added again.
        """
        if state.number and not state.attempt:
            raise ConfigError(
                "the state of an append table is gone from the staging folder",
                table=self.table.spec.id,
                remedy=f"Read it anew: import-platform sync {self.table.spec.id} --full-refresh.",
            )
        if state.cursor is None and self.table.snapshot is not None and self.table.snapshot.rows:
            self.kind = AttemptKind.FULL_REFRESH

    def _start_over(self, attempt: Attempt, error: TokenExpired) -> None:
        """Drops a pass that its source cannot go on with, and begins another."""
        self.table.context.observer.note(self.table.spec.id, f"{error.message}; reading from the beginning")
        self.table.staging.discard(attempt.id)
        self.table = replace(self.table, snapshot=self.table.log.snapshot())
        state = self.table.staging.state(self.table.snapshot.transaction if self.table.snapshot else 0)
        again = self._begun(state)
        let_go(self.table, again, [])
        if again is not None:
            self._extract_and_flush(again, [], state)

    def _extract_and_flush(self, attempt: Attempt, done: list[Checkpoint], state: TableState) -> None:
        context = self.table.context
        pending = [c for c in done if c.number > state.progress.get(attempt.id, 0)]
        tail = [h for c in done for h in c.tail]
        deadline = time.monotonic() + context.max_run_seconds
        extract = Extract(self.table, attempt, state, done, self.report, deadline=deadline)
        while True:
            self.turns.read()
            try:
                for checkpoint in extract:
                    done = [*done, checkpoint]
                    pending.append(checkpoint)
                    tail += checkpoint.tail
                    if self._in_parts and self._enough(pending):
                        pending = self._flush_whole(attempt, pending)
                        self.turns.read()
                break
            except ColumnsGrew as error:
                self.table = grown(self.table, with_known(error.table, self.table.spec.info.arrow_schema))
                extract = Extract(self.table, attempt, state, done, self.report, deadline=deadline)
        if extract.ended and attempt.open_ended:
            attempt, tail = self._ended(attempt, done, state)
        if extract.ended and self._same(attempt, pending, state):
            self._end_unchanged(attempt, done)
            return
        if extract.ended and hand_over(self.table, attempt, pending, self.report):
            return
        if extract.ended:
            self._flush(attempt, pending, complete=True, tail=tuple(tail))
            settle_rejected(self.table, attempt, done)
            self.table.staging.discard(attempt.id)
            self._end(done)
            return
        if self._in_parts and not context.stop():
            self._flush_whole(attempt, pending)
        self._stop_at_checkpoint()

    def _end_unchanged(self, attempt: Attempt, done: Sequence[Checkpoint]) -> None:
        """What a full refresh set apart this time stands in the ledger from the last time."""
        if not any(checkpoint.rejected_rows for checkpoint in done):
            settle_rejected(self.table, attempt, done)
        self.table.staging.discard(attempt.id)
        self._end(done)

    def _end(self, done: Sequence[Checkpoint]) -> None:
        """Rows that earlier runs of the same pass set apart count too."""
        rejected = sum(checkpoint.rejected_rows for checkpoint in done)
        changed = self.report.files_added + self.report.files_removed > 0
        self.report.status = ended_as(changed=changed, rejected_rows=rejected)
        if rejected:
            name = self.table.spec.id
            said = f"done with rejects: {counted(rejected, 'row')} set apart; see import-platform rejected list {name}"
            self.table.context.observer.note(name, said)

    def _ended(self, attempt: Attempt, done: list[Checkpoint], state: TableState) -> tuple[Attempt, list[int]]:
        column = self.table.spec.info.column(str(self.table.spec.cursor))
        assert column is not None, "an open-ended pass follows a column of its table"
        whole, tail = ended(attempt, done, column.type, tail=state.tail)
        return whole, list(tail)

    def _stop_at_checkpoint(self) -> None:
        self.report.status = Status.CHECKPOINTED
        self.table.context.observer.note(self.table.spec.id, "stopped at a checkpoint; the next run goes on from it")

    def _same(self, attempt: Attempt, chunks: Sequence[Checkpoint], state: TableState) -> bool:
        """True when a full refresh found exactly what the last one swapped in. A forced one is swapped all the same."""
        return (
            self.kind is AttemptKind.FULL_REFRESH
            and not self.forced
            and attempt.ceiling == state.cursor
            and self.table.snapshot is not None
            and swapped(content_of(attempt, chunks), self.table.snapshot.rows) == state.content
        )

    def _enough(self, pending: list[Checkpoint]) -> bool:
        """True when a flush should not wait: many chunks, or more rows than a merge may remember the places of."""
        rows, budget = sum(chunk.rows for chunk in pending), self.table.context.budget
        most = FLUSH_CHUNKS if self.table.context.fan_out is None else FAN_OUT_CHUNKS
        return len(pending) >= most or rows * ROW_BYTES > budget.merge_bytes

    @property
    def _in_parts(self) -> bool:
        """Only a merge by key may show parts of a pass: a swap is whole, and an append shown in part could not be begun
        again without doubling rows."""
        return self.kind is AttemptKind.INCREMENTAL

    def _flush_whole(self, attempt: Attempt, pending: list[Checkpoint]) -> list[Checkpoint]:
        """Flushes up to the last chunk with a token; returns what is left."""
        count = max((i for i, c in enumerate(pending, start=1) if c.token is not None), default=0)
        if count:
            self._flush(attempt, pending[:count], complete=False)
        return pending[count:]

    def _flush(
        self, attempt: Attempt, chunks: Sequence[Checkpoint], *, complete: bool, tail: tuple[int, ...] = ()
    ) -> None:
        context = self.table.context
        self.turns.flush(sum(chunk.decoded_bytes for chunk in chunks))
        table = replace(self.table, context=replace(context, budget=self.turns.budget))
        rejected = [(c.number, self.table.staging.rejected(attempt.id, c)) for c in chunks if c.rejected_rows]
        if rejected:
            record_rejected(context.lake, self.table.spec.source, self.table.spec.name, attempt.id, rejected)
        try:
            flush = flush_or_gather(attempt, self.table.spec, gathers=self.report.resumed and complete)
            flush(stoppable(table), attempt, chunks, self.report, complete=complete, tail=tail).run()
        except (Overtaken, RangeChanged):
            self.table.staging.discard(attempt.id)
            raise
        context.notes.flushed(attempt, chunks)

    def _resumed(self, state: TableState) -> tuple[Attempt | None, list[Checkpoint]]:
        """The open attempt to go on with, if any; what cannot be resumed is deleted."""
        staging = self.table.staging
        now = datetime.now(UTC)
        found: Attempt | None = None
        for attempt in reversed(staging.attempts()):
            if self._unrelated(attempt) and now - attempt.started_at < RESUME_WITHIN:
                continue
            known = self.table.spec.info.sampled or attempt.columns == self._columns
            same = known and attempt.filters == self.table.spec.filters
            fresh = now - attempt.started_at < RESUME_WITHIN and same
            open_ = not is_finished(attempt, state) and not is_overtaken(attempt, state)
            if attempt.kind is AttemptKind.BACKFILL:
                fresh = fresh and attempt.ceiling == self._backfill_ceiling(state)
                fresh = fresh and (self.again is None or attempt.files == self.again.files)
            if found is None and fresh and open_ and (attempt.kind, attempt.key) == (self.kind, self.key):
                found = attempt
            else:
                if is_finished(attempt, state):  # killed between its commit and its end
                    settle_rejected(self.table, attempt, resumable(staging.checkpoints(attempt.id)))
                staging.discard(attempt.id)
        if found is None:
            return None, []
        every = staging.checkpoints(found.id)
        whole = resumable(every)
        staging.drop_chunks(found.id, [c for c in every if c not in whole])
        self.report.resumed = bool(whole)
        if whole:
            self.table.context.observer.note(
                self.table.spec.id,
                f"going on after chunk {whole[-1].number} of the pass begun {found.started_at:%H:%M:%S}",
            )
        return found, whole

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(f"{column.name} {column.type}" for column in self.table.spec.info.columns)

    def _unrelated(self, attempt: Attempt) -> bool:
        """A backfill and a sync, or two backfills of other keys, may be open side by side."""
        backfills = (attempt.kind is AttemptKind.BACKFILL, self.kind is AttemptKind.BACKFILL)
        return backfills != (False, False) and (attempt.kind, attempt.key) != (self.kind, self.key)

    def _begun(self, state: TableState) -> Attempt | None:
        """A new attempt, its manifest durable; None when there is nothing to read."""
        spec, snapshot = self.table.spec, self.table.snapshot
        ceiling, known = None, self._backfill_ceiling(state)
        feed, self.listing = (self.again, 0) if self.again else feed_plan(self.table, state, self.kind) or (None, 0)
        if self.again and not self.again.files:
            return None
        if self.kind is AttemptKind.BACKFILL:
            ceiling = Ceiling(known, state.settled) if known is not None else None
        elif feed is not None and spec.cursor is not None:
            ceiling = Ceiling(str(feed.last_number), settled=True)
        elif spec.cursor is not None:
            ceiling = self.table.context.source.ceiling(spec.info, spec.cursor)
        windowed = self.kind in (AttemptKind.INCREMENTAL, AttemptKind.APPEND)
        if windowed and state.cursor is not None and (ceiling is None or self._nothing_after(state, ceiling)):
            return None
        now = datetime.now(UTC)
        attempt = Attempt(
            id=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
            kind=self.kind,
            base_sync_attempt=state.sync_attempt,
            start_version=snapshot.version if snapshot else -1,
            started_at=now,
            after=state.cursor if windowed else None,
            ceiling=ceiling.value if ceiling else None,
            settled=bool(ceiling and ceiling.settled),
            open_ended=ceiling is not None and ceiling.value is None,
            key=self.key,
            range_files=tuple(range_files(self.table, snapshot, self.key)) if self.key else (),
            columns=self._columns,
            filters=spec.filters,
            files=feed.files if feed is not None else (),
            manifest=feed.manifest if feed is not None else (),
            listing=self.listing,
        )
        self.table.staging.begin(attempt)
        return attempt

    def _backfill_ceiling(self, state: TableState) -> CursorValue | None:
        return state.cursor if self.table.spec.sync is SyncMode.APPEND else None

    def _nothing_after(self, state: TableState, ceiling: Ceiling) -> bool:
        """True when no row can be new. An append never goes back: it would add rows that are in the lake again."""
        spec = self.table.spec
        if ceiling.value is None:
            return False
        if self.kind is AttemptKind.APPEND and spec.cursor is not None and ceiling.value != state.cursor:
            column = spec.info.column(spec.cursor)
            return column is not None and later(ceiling.value, state.cursor, column.type) == state.cursor
        return state.settled and ceiling.value == state.cursor and spec.lookback is None

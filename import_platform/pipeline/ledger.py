"""Runs written down for people: once when they end, or later from the commits that they left.

Nothing correct rests on it, so a ledger that cannot be written never fails a run; the run's log says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from import_platform.core.report import Observer, Status, SyncReport
from import_platform.core.run_record import CHUNKS_IN_COMMIT_MAX, ChunkRecord, RunOrder, RunRecord, is_billable
from import_platform.core.state import Checkpoint
from import_platform.errors import ImportPlatformError, Interrupted
from import_platform.io.commit_facts import commit_history, committing_for
from import_platform.io.lake import Lake
from import_platform.io.run_ledger import add_runs, fold, has_document, known_runs, put_run, tend
from import_platform.pipeline.run_notes import RunNotes, held

KILLED = "killed"
RUN, RUN_KIND, BEGUN, BILLABLE, ATTEMPT, ROWS, CHUNKS = (
    f"import_platform.{name}" for name in ("run", "run_kind", "begun", "billable", "attempt", "rows", "chunks")
)
LOOK_BACK_VERSIONS = 20
"""A run that goes on from another looks so far back for what that one left unrecorded."""

REBUILD_VERSIONS = 2000
"""Maintenance looks at so many commits of a table, one small object each: three weeks of four an hour."""

_TOLD = {f.name for f in fields(RunRecord)} & {f.name for f in fields(SyncReport)} - {"table", "status", "error"}


@dataclass(frozen=True)
class Ran:
    """Which table a run is about, and who ordered it. A `resync` does again what was done before."""

    lake: Lake
    source: str
    table: str
    observer: Observer
    budget_bytes: int
    order: RunOrder = field(default_factory=RunOrder)
    resync: bool = False


def recorded(ran: Ran, notes: RunNotes, work: Callable[[], SyncReport]) -> SyncReport:
    """Does the work, and writes down how it ended, a failure too. Its commits carry the run's id."""
    notes.begin()
    with committing_for(lambda: _facts(ran, notes)):
        try:
            report = work()
        except ImportPlatformError as error:
            failed = error.report if isinstance(error.report, SyncReport) else SyncReport(f"{ran.source}/{ran.table}")
            ended = Status.CHECKPOINTED if isinstance(error, Interrupted) else Status.FAILED
            failed = replace(failed, status=ended, error=str(error))
            _put(ran, notes, failed, error_class=type(error).__name__)
            raise
        except Exception as error:  # its text may quote rows: only the class is written down
            failed = SyncReport(f"{ran.source}/{ran.table}", Status.FAILED, error="internal error")
            _put(ran, notes, failed, error_class=type(error).__name__)
            raise
    _put(ran, notes, report, error_class="")
    if report.resumed:
        _or_say(ran, lambda: rebuild(ran.lake, ran.source, ran.table, versions=LOOK_BACK_VERSIONS))
    return report


def fold_ledger(lake: Lake, observer: Observer) -> None:
    """Moves what ran into the ledger's tables; what hinders it is said and tried again with the next run."""
    _or_say(Ran(lake, "", "", observer, 0), lambda: fold(lake))


def keep_ledger(ran: Ran) -> None:
    """Adds what the ledger lacks of the table, and keeps its files few."""
    _or_say(ran, lambda: rebuild(ran.lake, ran.source, ran.table, versions=REBUILD_VERSIONS))
    _or_say(ran, lambda: tend(ran.lake))


def rebuild(lake: Lake, source: str, table: str, *, versions: int | None = None) -> int:
    """Adds runs that the ledger lacks and whose commits the table's log still names; returns how many.

    A log keeps its entries for 30 days. Runs that committed nothing left no trace. Without `versions` all entries are
    looked at.

    Raises:
        StoreUnavailable: the log or the ledger did not answer.
    """
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for entry in commit_history(lake.store, lake.table_path(source, table), versions=versions):
        if RUN in entry:
            runs.setdefault(str(entry[RUN]), []).append(entry)
    if not runs:
        return 0
    since = min(_instant(entries[0][BEGUN]) for entries in runs.values())
    known = known_runs(lake, since=since)
    # Of a run with a document the next fold knows more than its commits tell.
    missing = [run for run in runs if run not in known and not has_document(lake, run)]
    return add_runs(lake, [_rebuilt(source, table, run, runs[run]) for run in missing])


def commit_facts(counts: Mapping[str, int], chunks: Sequence[Checkpoint] = ()) -> dict[str, str]:
    """What a commit says of its rows, from which `rebuild` makes a run."""
    read = {"rows_read": sum(chunk.rows for chunk in chunks), "bytes_read": sum(c.decoded_bytes for c in chunks)}
    facts = {ROWS: json.dumps({**read, **counts})}
    if 0 < len(chunks) <= CHUNKS_IN_COMMIT_MAX:
        told = [[chunk.number, chunk.rows, chunk.decoded_bytes, chunk.rejected_rows] for chunk in held(chunks)]
        facts[CHUNKS] = json.dumps(told, separators=(",", ":"))
    return facts


def _facts(ran: Ran, notes: RunNotes) -> dict[str, str]:
    billable = is_billable(notes.kind, ran.order, resync=ran.resync)
    begun = notes.begun_at.isoformat()
    return {RUN: notes.run, RUN_KIND: notes.kind, BEGUN: begun, BILLABLE: str(billable).lower()}


def _rebuilt(source: str, table: str, run: str, entries: Sequence[Mapping[str, Any]]) -> RunRecord:
    counts: dict[str, int] = {}
    chunks: list[ChunkRecord] = []
    for entry in entries:
        for name, count in json.loads(str(entry.get(ROWS, "{}"))).items():
            counts[name] = counts.get(name, 0) + count
        attempt = str(entry.get(ATTEMPT, ""))
        chunks += [ChunkRecord(attempt, *told) for told in json.loads(str(entry.get(CHUNKS, "[]")))]
    first, last = entries[0], entries[-1]
    started_at = _instant(first[BEGUN])
    ended_at = datetime.fromtimestamp(int(last["timestamp"]) / 1000, UTC)
    return RunRecord(
        run,
        source,
        table,
        str(first[RUN_KIND]),
        KILLED,
        str(first[BILLABLE]) == "true",
        started_at,
        ended_at,
        attempt=str(last.get(ATTEMPT, "")),
        seconds=round((ended_at - started_at).total_seconds(), 3),
        delta_version=int(last["version"]),
        rebuilt=True,
        chunks=tuple(chunks),
        **counts,  # type: ignore[arg-type]  # names of its own fields, written by commit_facts
    )


def _instant(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).astimezone(UTC)


def _put(ran: Ran, notes: RunNotes, report: SyncReport, *, error_class: str) -> None:
    _or_say(ran, lambda: put_run(ran.lake, _record(ran, notes, report, error_class)))


def _record(ran: Ran, notes: RunNotes, report: SyncReport, error_class: str) -> RunRecord:
    told: dict[str, Any] = {name: getattr(report, name) for name in _TOLD}
    return RunRecord(
        notes.run,
        ran.source,
        ran.table,
        notes.kind,
        str(report.status),
        is_billable(notes.kind, ran.order, resync=ran.resync),
        notes.begun_at,
        datetime.now(UTC),
        dagster_run=ran.order.dagster_run,
        attempt=notes.attempt.id if notes.attempt is not None else "",
        budget_bytes=ran.budget_bytes,
        error_class=error_class,
        error=report.error or "",
        chunks=tuple(notes.chunks),
        **told,
    )


def _or_say(ran: Ran, write: Callable[[], object]) -> None:
    try:
        write()
    except Exception as error:  # noqa: BLE001  whatever it is: the run itself has done its work
        reason = error.message if isinstance(error, ImportPlatformError) else type(error).__name__
        where = f"{ran.source}/{ran.table}" if ran.table else "ledger"
        ran.observer.note(where, f"the ledger could not be written, the next run does it: {reason}")

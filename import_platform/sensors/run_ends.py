"""What can be seen of a run that did not come through: in Dagster's events, and in the tickets of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEvent

from import_platform.core.blame import Worked
from import_platform.core.grants import Holder
from import_platform.core.kills import Asked, KillFacts
from import_platform.io.cgroup import oom_kills
from import_platform.io.grants import Grants
from import_platform.resources.memory import tickets_folder
from import_platform.resources.naming import GONE, STOPPED, table_step

LOOKED_AT = {
    dg.DagsterEventType.ENGINE_EVENT,
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_SKIPPED,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_CANCELING,
    dg.DagsterEventType.RUN_CANCELED,
    dg.DagsterEventType.RUN_FAILURE,
}
_SIGNAL = re.compile(r"was terminated by signal (\d+)")
_UNASKED = "Execution was interrupted unexpectedly"
_FORCED = "marked as canceled from outside"
_POD_TEXT_CHARS = 20_000


@dataclass(frozen=True)
class StepError:
    """A step that failed: our error's class, or that of whatever else was raised, and the sentence it ended with."""

    step: str
    error_class: str
    sentence: str


@dataclass(frozen=True)
class RunEnd:
    """Facts for `core.kills`, the steps that failed or had not ended, and all who were worked on at that moment."""

    facts: KillFacts
    errors: Sequence[StepError] = ()
    unfinished: Sequence[str] = ()
    worked: Sequence[Worked] = ()


@dataclass
class _Seen:
    """What the events of one run add up to. Mutable while they are read."""

    worker_signal: int | None = None
    child_signal: int | None = None
    gone: bool = False
    unasked: bool = False
    asked: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    started: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    crashed: set[str] = field(default_factory=set)
    errors: list[StepError] = field(default_factory=list)
    last_at: float = 0.0


def look_at(instance: dg.DagsterInstance, run: dg.DagsterRun, *, tables: Mapping[str, str], home: Path) -> RunEnd:
    """`tables` maps steps to the ids of their tables; `home` is where this machine's tickets lie."""
    seen = _Seen()
    for entry in instance.all_logs(run.run_id, of_type=LOOKED_AT):
        if entry.dagster_event is not None:
            seen.last_at = max(seen.last_at, entry.timestamp)
            _note(seen, entry.dagster_event, entry.timestamp)
    unfinished = [step for step in seen.started if step not in seen.ended and step in tables]
    holders = Grants(tickets_folder(home), 0).everybody()
    mine = [each for each in holders if each.run_id == run.run_id]
    victims = [each for each in mine if not each.ended and not _lives(each)]
    stopped = {tables[step] for step in (*seen.crashed, *(e.step for e in seen.errors), *unfinished) if step in tables}
    known = _worked(holders, victims, stopped, seen) if mine else []  # else it ran on another machine
    worked = known or [Worked(table, killed=True) for table in sorted(stopped)]
    facts = KillFacts(
        worker_signal=seen.worker_signal,
        child_signal=seen.child_signal,
        **_counts(victims),
        pod_text="\n".join(seen.texts)[:_POD_TEXT_CHARS],
        process_gone=seen.gone,
        error_class=next((error.error_class for error in seen.errors), None),
        asked=_asked(seen),
        held_percent=max((_percent(each) for each in victims), default=None),
    )
    return RunEnd(facts, tuple(seen.errors), tuple(unfinished), tuple(worked))


def _note(seen: _Seen, event: DagsterEvent, at: float) -> None:
    kind, step, message = event.event_type, event.step_key and table_step(event.step_key), event.message or ""
    signal = _SIGNAL.search(message)
    if kind is dg.DagsterEventType.STEP_START and step:
        seen.started[step] = at
        seen.ended.discard(step)
    elif kind in (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_SKIPPED) and step:
        seen.ended.add(step)
    elif kind is dg.DagsterEventType.STEP_FAILURE and step:
        seen.ended.add(step)
        _note_failure(seen, event, step)
    elif kind in (dg.DagsterEventType.RUN_CANCELING, dg.DagsterEventType.RUN_CANCELED):
        seen.asked.append(message)
    elif kind is dg.DagsterEventType.ENGINE_EVENT and signal and step:
        seen.child_signal = int(signal[1])
    elif kind is dg.DagsterEventType.ENGINE_EVENT and signal:
        seen.worker_signal = int(signal[1])
    if kind in (dg.DagsterEventType.ENGINE_EVENT, dg.DagsterEventType.RUN_FAILURE):
        seen.texts.append(message)
        seen.gone = seen.gone or message.startswith(GONE)
        seen.unasked = seen.unasked or message.startswith(_UNASKED)


def _note_failure(seen: _Seen, event: DagsterEvent, step: str) -> None:
    data = event.step_failure_data
    error = data.error
    if error is not None and error.cls_name == "ChildProcessCrashException":
        seen.crashed.add(step)
        return
    failure = data.user_failure_data
    told = failure.metadata.get("error_class") if failure is not None else None
    name = str(told.value) if told is not None else str(error.cls_name if error is not None else "unknown")
    sentence = (failure.description if failure is not None else None) or name
    seen.errors.append(StepError(step, name, sentence))


def _asked(seen: _Seen) -> Asked:
    """A request from outside comes before the process says that it was asked to stop; a signal alone has none."""
    wanted = [text for text in seen.asked if not text.startswith(STOPPED)]
    if any(text.startswith("Sending run termination") or _FORCED in text for text in wanted):
        return Asked.OUTSIDE
    if seen.unasked or len(wanted) < len(seen.asked):
        return Asked.PROCESS
    return Asked.OUTSIDE if wanted else Asked.NOBODY


def _worked(holders: Iterable[Holder], victims: Sequence[Holder], stopped: Iterable[str], seen: _Seen) -> list[Worked]:
    """Everybody whose step overlapped with those of the victims, or with what the run had not ended."""
    begun = [each.began_at for each in victims] or list(seen.started.values())
    if not begun:
        return []
    names = set(stopped)
    found: dict[str, Worked] = {}
    for each in sorted(holders, key=lambda holder: holder.held_bytes):
        until = each.seen_at if each.ended else float("inf")
        near = each in victims or _is_recent(each, seen.last_at)
        if near and each.began_at <= seen.last_at and until >= min(begun):
            killed = each in victims or (not victims and each.table in names)
            found[each.table] = Worked(
                each.table, each.step, each.planned_bytes, each.granted_bytes, each.held_bytes, each.process, killed
            )
    return list(found.values())


def _is_recent(holder: Holder, at: float) -> bool:
    """A killed step's ticket is found by whoever looks next, maybe long after the run that the question is about."""
    return holder.ended or _lives(holder) or abs(at - holder.seen_at) < 3600


def _lives(holder: Holder) -> bool:
    return not holder.ended and holder.host == os.uname().nodename and Path(f"/proc/{holder.pid}").exists()


def _counts(victims: Sequence[Holder]) -> dict[str, int | None]:
    """The kernel's count in the victims' cgroup, before and now, where this machine can read it."""
    for each in victims:
        if each.group and each.oom_kills >= 0 and each.host == os.uname().nodename:
            return {"oom_kills_before": each.oom_kills, "oom_kills_after": oom_kills(Path(each.group))}
    return {}


def _percent(holder: Holder) -> int:
    return (holder.base_bytes + holder.held_bytes) * 100 // max(holder.budget_bytes, 1)

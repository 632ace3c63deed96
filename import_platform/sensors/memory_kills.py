"""A kill for memory written down for the table that grew: an incident, and what its next runs do differently."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import dagster as dg

from import_platform.core.blame import Worked, blamed
from import_platform.core.budget import MIB, format_bytes
from import_platform.core.measures import Measure, Measures
from import_platform.core.repartition import leaves_of
from import_platform.core.step_memory import Observation, Step
from import_platform.io.delta import DeltaLog
from import_platform.io.incidents import Incidents
from import_platform.io.lake import Lake
from import_platform.io.table_memory import read_memory, write_memory
from import_platform.resources.naming import TABLE_TAG, maintain_job
from import_platform.resources.run_size import rewrite_tags

ERROR_CLASS = "KilledForMemory"
SPLIT_LEAST_BYTES = 64 * MIB
"""A leaf under this is not what a merge dies of."""


@dataclass(frozen=True)
class Killed:
    """One run that was killed for memory, why that is thought, and who was worked on then."""

    run_id: str
    why: str
    worked: Sequence[Worked]
    at: datetime


def after_kill(killed: Killed, lake: Lake, incidents: Incidents, *, jobs: Collection[str] = ()) -> list[dg.RunRequest]:
    """Blames a table and records it, once per run: one more measure, its step as a hit, and an incident. Returns the
    run that splits its largest leaf, when that is the measure and there is one worth it."""
    culprit = blamed(killed.worked)
    if culprit is None:
        return []
    source, _, table = culprit.table.partition("/")
    known = incidents.of_table(source, table)
    if known is not None and known.run == killed.run_id:
        return []
    memory = read_memory(lake, source, table)
    measures = memory.measures.after_kill()
    history = memory.history
    if culprit.step in set(Step) and culprit.granted_bytes:
        held = max(culprit.held_bytes, culprit.granted_bytes)
        seen = Observation(culprit.planned_bytes, culprit.granted_bytes, held, hit=True)
        history = history.with_step(Step(culprit.step), seen)
    write_memory(lake, source, table, replace(memory, history=history, measures=measures))
    split = _split_request(lake, source, table, killed.run_id, jobs) if measures.last is Measure.SPLIT_LEAF else None
    _record(killed, culprit, measures, incidents, can_split=split is not None)
    return [split] if split is not None else []


def _record(killed: Killed, culprit: Worked, measures: Measures, incidents: Incidents, *, can_split: bool) -> None:
    source, _, table = culprit.table.partition("/")
    asks = measures.last is Measure.ASK_PERSON
    until = killed.at + measures.pause
    incidents.record(
        source,
        table,
        error_class=ERROR_CLASS,
        error=f"{killed.why}; {_grew(culprit)}",
        is_fault=asks,
        pauses=asks,
        kind="memory",
        run=killed.run_id,
        action=_action(measures, can_split=can_split),
        not_before=until.isoformat(timespec="seconds"),
        beside=[asdict(each) for each in killed.worked if each != culprit],
        facts={name: value for name, value in asdict(culprit).items() if name not in ("table", "killed")}
        | {"level": measures.level},
    )


def _grew(culprit: Worked) -> str:
    if not culprit.granted_bytes:
        return "it was the table that the run worked on"
    held, granted = format_bytes(culprit.held_bytes), format_bytes(culprit.granted_bytes)
    return f"its {culprit.step} had grown to {held} beyond the base, of {granted} granted"


def _action(measures: Measures, *, can_split: bool) -> str:
    pause = f"schedules leave it alone for {int(measures.pause.total_seconds() // 60)} minutes"
    if measures.last is Measure.ASK_PERSON:
        return "a person has to look: schedules leave it alone; diagnose says what to change"
    if measures.last is Measure.SPLIT_LEAF:
        did = "its largest leaf is split" if can_split else "no leaf is large enough to be worth a split"
        return f"{did}, chunks are a quarter; {pause}"
    return f"{measures.last} from now on; {pause}"


def _split_request(lake: Lake, source: str, table: str, run_id: str, jobs: Collection[str]) -> dg.RunRequest | None:
    snapshot = DeltaLog(lake.store, lake.table_path(source, table)).snapshot()
    largest = max((leaf.size_bytes for leaf in leaves_of(snapshot.files).values()), default=0) if snapshot else 0
    if largest < SPLIT_LEAST_BYTES or maintain_job(source) not in jobs:
        return None
    return dg.RunRequest(
        run_key=f"split:{run_id}",
        job_name=maintain_job(source),
        run_config={"tables": [table], "task": "repartition", "max_bytes": largest // 2, "by_hand": False},
        tags={TABLE_TAG: f"{source}/{table}", **rewrite_tags()},
    )

"""One pass over all tables of a source: after a failure or a kill the next one takes up only what is missing.

What is done is read from the history of its runs, so that nothing has to be written when a process is killed.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.execution.stats import StepEventStatus

from import_platform.jobs.schedules import checkpointed_tables
from import_platform.resources.naming import PASS_TAG, PASS_TRY_TAG, op_name, sync_job

GOES_ON_WITHIN = timedelta(hours=12)
_RUNS_LOOKED_AT = 20


@dataclass(frozen=True)
class SourcePass:
    """A pass that a sync of a whole source begins or goes on with. `done` are the tables that it has behind it."""

    id: str
    number: int = 1
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    done: frozenset[str] = frozenset()

    @property
    def tags(self) -> Mapping[str, str]:
        return {PASS_TAG: self.id, PASS_TRY_TAG: str(self.number)}


def next_pass(instance: dg.DagsterInstance, source: str, tables: Sequence[str]) -> SourcePass:
    """The last pass if something of it is missing, else a new one.

    A pass that ended by itself is taken up once: when tables fail again, the sync after that does everything, so a
    broken table never keeps the others from being synced.
    """
    recent = instance.get_run_records(dg.RunsFilter(job_name=sync_job(source)), limit=_RUNS_LOOKED_AT)
    last = next((record.dagster_run.tags[PASS_TAG] for record in recent if PASS_TAG in record.dagster_run.tags), None)
    if last is None:
        return _new()
    records = instance.get_run_records(dg.RunsFilter(job_name=sync_job(source), tags={PASS_TAG: last}))
    begun_at = min(record.create_timestamp for record in records)
    if datetime.now(UTC) - begun_at.astimezone(UTC) > GOES_ON_WITHIN:
        return _new()
    names = {op_name(source, table): table for table in tables}
    number = max(int(record.dagster_run.tags.get(PASS_TRY_TAG, "1")) for record in records)
    done: set[str] = set()
    tried: set[str] = set()
    for record in records:
        steps = {stats.step_key: stats.status for stats in instance.get_run_step_stats(record.dagster_run.run_id)}
        ended = {names[key] for key, status in steps.items() if key in names and status in _ENDED}
        done |= {names[key] for key, status in steps.items() if key in names and status is _DONE}
        tried |= ended if record.dagster_run.tags.get(PASS_TRY_TAG, "1") == str(number) else set()
    done -= set(checkpointed_tables(instance, source, sorted(done)))
    missing = set(tables) - done
    if not missing or not done:
        return _new()
    ended_by_itself = missing <= tried
    if ended_by_itself and number > 1:
        return _new()
    return SourcePass(last, number + ended_by_itself, begun_at.astimezone(UTC), frozenset(done))


_DONE = StepEventStatus.SUCCESS
_ENDED = (_DONE, StepEventStatus.FAILURE)


def _new() -> SourcePass:
    return SourcePass(uuid.uuid4().hex[:12])


def shares(tables: Sequence[str], sizes: Mapping[str, int], *, parts: int) -> list[list[str]]:
    """The tables in at most so many parts of about the same size, each in the order given; the largest come first."""
    parts = max(1, min(parts, len(tables)))
    loads = [0] * parts
    chosen: list[set[str]] = [set() for _ in range(parts)]
    for table in sorted(tables, key=lambda name: -sizes.get(name, 0)):
        least = loads.index(min(loads))
        loads[least] += max(sizes.get(table, 0), 1)
        chosen[least].add(table)
    return [_ordered(tables, part) for part in chosen]


def _ordered(tables: Sequence[str], part: Collection[str]) -> list[str]:
    return [table for table in tables if table in part]

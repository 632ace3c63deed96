"""The sensors that see how runs were ended: for memory, by a deploy, by a person, by their source or by us.

What a kill changes is written down for the table that grew (`memory.json` beside its staged chunks, an incident for
people); the next run reads it. Every count is bounded, so nothing loops.
"""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from import_platform.core.kills import PASSING_ERRORS, SOURCE_ERRORS, Kind, Verdict, classify
from import_platform.core.relaunch import Ended, relaunches
from import_platform.errors import ImportPlatformError
from import_platform.io.incidents import REWRITE, SYNC, Incidents
from import_platform.io.lake import Lake
from import_platform.resources.naming import (
    DEPLOYS_TAG,
    HOST_TAG,
    KILLS_TAG,
    PROCESS_TAG,
    SOURCE_TAG,
    maintain_job,
    op_name,
    table_id,
)
from import_platform.resources.platform import PlatformResource
from import_platform.resources.project import read_settings
from import_platform.sensors.memory_kills import Killed, after_kill
from import_platform.sensors.run_ends import RunEnd, look_at

INTERVAL_SECONDS = 10
"""A sensor of this kind looks at one run per tick, and a deploy may end twenty."""
Job = dg.JobDefinition | UnresolvedAssetJobDefinition
"""What `request_jobs` takes of the jobs that a source has."""
_NOT_PASSED_ON = (HOST_TAG, PROCESS_TAG, "dagster/run_key", "dagster/sensor_name", "dagster/will_retry")
_NOT_PASSED_PREFIXES = ("dagster/parent_run", "dagster/root_run", "dagster/retry", "dagster/auto_retry")


@dataclass(frozen=True)
class Ends:
    """What both sensors need to know of the declared tables: step name -> (source, table), and the job names that a
    run can be started again with."""

    tables: Mapping[str, tuple[str, str]]
    jobs: frozenset[str]

    @property
    def ids(self) -> dict[str, str]:
        return {step: table_id(*names) for step, names in self.tables.items()}


def known_ends(tables: Mapping[str, Sequence[str]], jobs: Sequence[Job]) -> Ends:
    """Of source -> its tables."""
    steps = {op_name(source, table): (source, table) for source, names in tables.items() for table in names}
    return Ends(steps, frozenset(job.name for job in jobs))


def end_sensors(ends: Ends, jobs: Sequence[Job]) -> list[dg.SensorDefinition]:
    """`import_failures` for runs that failed or were killed, `import_cancellations` for those that were stopped: a
    process that is asked to stop ends its run at a checkpoint as canceled, which no failure sensor sees.

    Both look at the runs of the command line too, which belong to no code location, and start none of them again.
    """
    settings: dict[str, Any] = {
        "minimum_interval_seconds": INTERVAL_SECONDS,
        "default_status": dg.DefaultSensorStatus.RUNNING,
        "monitor_all_code_locations": True,
        "request_jobs": list(jobs),
    }

    @dg.run_failure_sensor(
        name="import_failures",
        description="Tells runs killed for memory from those that a deploy, their source or the platform ended; "
        "records an incident with the table that grew, and makes its next run more careful.",
        **settings,
    )
    def import_failures(context: dg.RunFailureSensorContext, platform: PlatformResource) -> dg.SensorResult | None:
        return react(context.instance, context.dagster_run, platform.lake(), ends, context.log.info)

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.CANCELED,
        name="import_cancellations",
        description="Starts runs again that a deploy stopped, with the same partition and tags; what a person "
        "terminated stays terminated.",
        **settings,
    )
    def import_cancellations(context: dg.RunStatusSensorContext, platform: PlatformResource) -> dg.SensorResult | None:
        return react(context.instance, context.dagster_run, platform.lake(), ends, context.log.info)

    return [import_failures, import_cancellations]


def react(
    instance: dg.DagsterInstance, run: dg.DagsterRun, lake: Lake, ends: Ends, tell: Callable[[str], None]
) -> dg.SensorResult | None:
    """Records what there is to be recorded of the run and returns the runs to start; None for a run that is none of
    ours or needs nothing. A lake that is away keeps no run from being started again."""
    if SOURCE_TAG not in run.tags:
        return None
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)  # a killed process gave none back
    end = look_at(instance, run, tables=ends.ids, home=read_settings().home)
    verdict = classify(end.facts)
    tell(f"run {run.run_id[:8]} of {run.job_name}: {verdict.kind}: {verdict.why}")
    requests: list[dg.RunRequest] = []
    try:
        requests += _recorded(run, end, verdict, lake, ends)
    except ImportPlatformError as error:
        tell(f"no incident could be recorded: {error.message}")
    again = _again(run, verdict, ends)
    if again is not None:
        tell(f"starting it again: {again.tags['import_platform/why']}")
        requests.append(again)
    return dg.SensorResult(run_requests=requests) if requests else None


def _recorded(run: dg.DagsterRun, end: RunEnd, verdict: Verdict, lake: Lake, ends: Ends) -> list[dg.RunRequest]:
    """Incidents of the run; the runs that a memory kill asks for beside the relaunch."""
    incidents = Incidents(lake)
    if verdict.kind is Kind.MEMORY:
        killed = Killed(run.run_id, verdict.why, tuple(end.worked), datetime.now(UTC))
        return after_kill(killed, lake, incidents, jobs=ends.jobs)
    if verdict.kind is Kind.DEPLOY and _again(run, verdict, ends) is None and not _by_terminal(run):
        for step in end.unfinished:
            told = "was ended by deploys again and again, and is not started once more"
            _record(incidents, run, ends.tables[step], verdict, _Told("DeployedOver", told))
    if verdict.kind is Kind.OURS:
        for error in end.errors:
            if error.step in ends.tables and error.error_class not in PASSING_ERRORS | SOURCE_ERRORS:
                _record(incidents, run, ends.tables[error.step], verdict, _Told(error.error_class, error.sentence))
        if not end.errors:
            for step in end.unfinished:
                _record(incidents, run, ends.tables[step], verdict, _Told("RunEnded", verdict.why))
    return []


@dataclass(frozen=True)
class _Told:
    error_class: str
    sentence: str


def _record(incidents: Incidents, run: dg.DagsterRun, table: tuple[str, str], verdict: Verdict, told: _Told) -> None:
    about = REWRITE if run.job_name == maintain_job(table[0]) else SYNC
    facts = {"job": run.job_name, "why": verdict.why}
    incidents.record(
        *table,
        about=about,
        error_class=told.error_class,
        error=told.sentence,
        is_fault=False,
        kind=str(verdict.kind),
        run=run.run_id,
        facts=facts,
    )


def _again(run: dg.DagsterRun, verdict: Verdict, ends: Ends) -> dg.RunRequest | None:
    """The run once more, with its config, selection, partition and tags, unless there is a reason to leave it."""
    deploys, kills = (int(run.tags.get(tag, "0")) for tag in (DEPLOYS_TAG, KILLS_TAG))
    ended = Ended(
        verdict.kind,
        after_deploys=deploys,
        after_kills=kills,
        by_terminal=_by_terminal(run) or run.job_name not in ends.jobs,
        comes_again="dagster/schedule_name" in run.tags,
    )
    why = relaunches(ended)
    if why is None:
        return None
    counted = {DEPLOYS_TAG: deploys + 1} if verdict.kind is Kind.DEPLOY else {KILLS_TAG: kills + 1}
    tags = {name: value for name, value in run.tags.items() if _is_passed_on(name)}
    return dg.RunRequest(
        run_key=f"relaunch:{run.run_id}",
        job_name=run.job_name,
        run_config=dict(run.run_config),
        asset_selection=sorted(run.asset_selection) if run.asset_selection else None,
        tags={**tags, **{tag: str(count) for tag, count in counted.items()}, "import_platform/why": why},
    )


def _by_terminal(run: dg.DagsterRun) -> bool:
    """True for a run that a process executed itself instead of launching it."""
    return run.remote_job_origin is None


def _is_passed_on(tag: str) -> bool:
    return tag not in _NOT_PASSED_ON and not tag.startswith(_NOT_PASSED_PREFIXES)

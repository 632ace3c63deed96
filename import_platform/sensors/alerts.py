"""The sensor that tells people what went wrong, and other programs what came in.

What is wrong is read anew at every tick; the cursor holds what was told. A webhook that refuses is asked again by a
later tick, and no sync ever waits for one.
"""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from import_platform.core.alerts import Cause, Said, is_worth_telling, messages, retry_at, said_from_cursor
from import_platform.core.kills import PASSING_ERRORS
from import_platform.core.report import Status
from import_platform.errors import ImportPlatformError
from import_platform.io.incidents import Incident, Incidents
from import_platform.io.lake import Lake
from import_platform.io.webhook import Posted, post_json
from import_platform.resources.naming import SOURCE_TAG, asset_key, op_name, table_id, table_step
from import_platform.resources.platform import PlatformResource
from import_platform.resources.variables import optional_variable

WEBHOOK_VARIABLE = "IMPORT_PLATFORM_ALERT_WEBHOOK"
"""Name of the variable whose value is the address for alerts (Slack's incoming webhooks and everything like them)."""

INTERVAL_SECONDS = 30
TICK_SECONDS = 25.0
STALE_EVERY_SECONDS = 300.0
SETTLES = timedelta(seconds=90)
"""A failed run is looked at so much later: by then its incident is written, which tells the same better."""
FAILING_MOST_SECONDS = 7 * 86400.0
RUNS_PER_TICK = 50
INCIDENTS_PER_TICK = 200

Stale = Callable[[dg.DagsterInstance, datetime], Collection[str]]
"""Ids of the tables that are behind their schedule."""


@dataclass(frozen=True)
class Told:
    """One table, and the variable that holds the address to tell of its successes."""

    source: str
    table: str
    success_variable: str | None = None

    @property
    def id(self) -> str:
        return table_id(self.source, self.table)


def alert_sensor(tables: Sequence[Told], stale: Stale) -> dg.SensorDefinition:
    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Posts to {WEBHOOK_VARIABLE}, or only logs where that is not set: failures after retries, paused "
        "and stale tables, incidents; each once. Tells the webhooks of tables with `on_success` what came in.",
    )
    def alerts(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
        tick = Tick(context.instance, platform.lake(), tables, stale, datetime.now(UTC), optional_variable)
        said = said_from_cursor(context.cursor)
        for sentence in tick.run(said):
            context.log.info("%s", sentence)
        return dg.SensorResult(skip_reason=tick.summary, cursor=said.to_cursor())

    return alerts


@dataclass
class Tick:
    """One look at everything. Mutable: it counts what it told for its summary."""

    instance: dg.DagsterInstance
    lake: Lake
    tables: Sequence[Told]
    stale: Stale
    now: datetime
    value_of: Callable[[str], str | None]
    told: int = 0
    refused: int = 0
    deadline: float = field(default_factory=lambda: time.monotonic() + TICK_SECONDS)

    @property
    def summary(self) -> str:
        waiting = f", {self.refused} not taken by a webhook and sent again later" if self.refused else ""
        return f"{self.told} messages told{waiting}"

    def run(self, said: Said) -> Iterator[str]:
        """Sends what is due and updates what was said; yields the lines for the log, none of which names an address."""
        at = self.now.timestamp()
        said.born = said.born or at
        causes = self._causes(said)
        said.refresh(causes, now=at)
        for message in messages(causes, said, now=at):
            posted = self._send(WEBHOOK_VARIABLE, {"text": message.text}, said)
            if posted is not None and posted.refused is not None:
                yield f"{WEBHOOK_VARIABLE}: {posted.refused}; told again later: {message.text}"
                break
            self.told += 1
            said.has_told(message.ids, now=at)
            yield message.text
        yield from self._successes(said)

    def _causes(self, said: Said) -> list[Cause]:
        found: list[Cause] = []
        troubled: set[str] = set()
        for incident in self._incidents(said):
            troubled.add(table_id(incident.source, incident.table))
            found += _of_incident(incident, self.now)
        self._note_failures(said)
        found += [
            Cause(id_, table, what, sentence, f"import-platform status {table}")
            for id_, (table, what, sentence, _) in said.failing.items()
            if table not in troubled
        ]
        found += [
            Cause(f"stale:{table}", table, "is stale: it was not brought up to date for two of its schedule's pauses")
            for table in self._stale(said)
            if table not in troubled
        ]
        return found

    def _incidents(self, said: Said) -> list[Incident]:
        """The open ones. Only those are read that were open at the last tick, or are new."""
        incidents = Incidents(self.lake)
        try:
            new = [number for number in incidents.numbers() if number > said.last_incident][:INCIDENTS_PER_TICK]
            found = [incidents.get(number) for number in sorted({*said.open_incidents, *new})]
        except ImportPlatformError:
            return []
        still = [incident for incident in found if incident is not None and incident.resolved_at is None]
        said.last_incident = max([said.last_incident, *new])
        said.open_incidents = [incident.number for incident in still]
        return still

    def _note_failures(self, said: Said) -> None:
        """Adds the runs that failed since the last tick, and drops failures that a success has mended."""
        since, until = said.runs_until or said.born, (self.now - SETTLES).timestamp()
        if until > since:
            said.runs_until = until
            window = dg.RunsFilter(
                statuses=[dg.DagsterRunStatus.FAILURE],
                updated_after=datetime.fromtimestamp(since, UTC),
                updated_before=datetime.fromtimestamp(until, UTC),
            )
            for record in self.instance.get_run_records(window, limit=RUNS_PER_TICK):
                self._note_failure(record, said)
        if said.failing:
            done = self._last_events([table for table, *_ in said.failing.values()])
            said.failing = {
                id_: failure
                for id_, failure in said.failing.items()
                if done.get(failure[0], 0.0) < failure[3] > self.now.timestamp() - FAILING_MOST_SECONDS
            }

    def _note_failure(self, record: dg.RunRecord, said: Said) -> None:
        run, at = record.dagster_run, record.end_time or self.now.timestamp()
        if SOURCE_TAG not in run.tags or run.tags.get("dagster/will_retry") == "true":
            return
        steps = {op_name(each.source, each.table): each.id for each in self.tables}
        for entry in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            event = entry.dagster_event
            step = table_step(event.step_key or "") if event is not None else ""
            if event is None or step not in steps:
                continue
            failure = event.step_failure_data.user_failure_data
            told = failure.metadata.get("error_class") if failure is not None else None
            kind = str(told.value) if told is not None else "failure"
            if kind not in PASSING_ERRORS:
                table = steps[step]
                sentence = (failure.description if failure is not None else None) or f"run {run.run_id[:8]} failed"
                said.failing[f"failed:{table}:{kind}"] = (table, "its sync failed", sentence[:1000], at)

    def _last_events(self, tables: Collection[str]) -> dict[str, float]:
        keys = {asset_key(each.source, each.table): each.id for each in self.tables if each.id in tables}
        return {
            keys[record.asset_entry.asset_key]: record.asset_entry.last_materialization.timestamp
            for record in self.instance.get_asset_records(list(keys))
            if record.asset_entry.last_materialization is not None
        }

    def _stale(self, said: Said) -> list[str]:
        at = self.now.timestamp()
        if at - said.stale_looked_at >= STALE_EVERY_SECONDS:
            said.stale, said.stale_looked_at = sorted(self.stale(self.instance, self.now)), at
        return said.stale

    def _successes(self, said: Said) -> Iterator[str]:
        """Each table's newest success, to the webhook that its declaration names."""
        wanted = {asset_key(each.source, each.table): each for each in self.tables if each.success_variable}
        if not wanted:
            return
        for record in self.instance.get_asset_records(list(wanted)):
            told = wanted[record.asset_entry.asset_key]
            event, number = record.asset_entry.last_materialization, record.asset_entry.last_materialization_storage_id
            if event is None or number is None or number <= said.delivered.get(told.id, 0):
                continue
            document = _success(told, event, since=said.born)
            if document is not None:
                posted = self._send(str(told.success_variable), document, said)
                if posted is None:
                    yield f"{told.id}: {told.success_variable} is not set, so nobody is told of its success"
                elif posted.refused is not None:
                    yield f"{told.id}: {told.success_variable}: {posted.refused}; told again later"
                    continue
                self.told += 1
            said.delivered[told.id] = number

    def _send(self, variable: str, document: Mapping[str, Any], said: Said) -> Posted | None:
        """None where the variable is not set. A webhook that refused is left alone for as long as it asked."""
        url, at = self.value_of(variable), self.now.timestamp()
        if url is None:
            return None
        if said.quiet.get(variable, 0.0) > at or time.monotonic() > self.deadline:
            self.refused += 1
            return Posted("it is asked again later")
        posted = post_json(url, document)
        if posted.refused is None:
            said.quiet.pop(variable, None)
        else:
            self.refused += 1
            said.quiet[variable] = retry_at(at, posted.wait_seconds)
        return posted


def _of_incident(incident: Incident, now: datetime) -> list[Cause]:
    table, command = table_id(incident.source, incident.table), f"import-platform incidents show {incident.number}"
    age = (now - datetime.fromisoformat(incident.first_at)).total_seconds()
    if incident.is_paused:
        what = f"is paused by incident {incident.number}; only a person can mend it"
        return [Cause(f"paused:{incident.number}", table, what, incident.error, command)]
    if not is_worth_telling(asdict(incident), age_seconds=age):
        return []
    did = f" ({incident.action})" if incident.action else ""
    return [Cause(f"incident:{incident.number}", table, f"incident {incident.number}{did}", incident.error, command)]


_CHANGED = {str(Status.DONE), str(Status.DONE_WITH_REJECTS)}
_COUNTS = ("rows_inserted", "rows_updated", "rows_deleted", "rows_rejected", "delta_version", "cursor_after")


def _success(told: Told, event: dg.EventLogEntry, *, since: float) -> dict[str, Any] | None:
    """The document of a sync that changed the table; None for other events, and for those from before the sensor."""
    found = event.asset_materialization
    metadata = found.metadata if found is not None else {}
    status = metadata.get("status")
    if status is None or status.value not in _CHANGED or event.timestamp < since:
        return None
    counts = {name: metadata[name].value for name in _COUNTS if name in metadata}
    changes = ", ".join(f"{counts.get(f'rows_{word}', 0):,} {word}" for word in ("inserted", "updated", "deleted"))
    uri = metadata.get("dagster/uri")
    at = datetime.fromtimestamp(event.timestamp, UTC).isoformat(timespec="seconds")
    return {
        "text": f"*{told.id}*: {changes}",
        "source": told.source,
        "table": told.table,
        "run_id": event.run_id,
        "finished_at": at,
        "uri": str(uri.value) if uri is not None else "",
        **counts,
    }

"""The sensor that notices leaves over the limit and asks for one repartition of their table, unasked by anybody.

It reads Delta logs and small records only, never data: 500 tables of 200 leaves took 3 s on local disk. Everything it
decides is in `evaluate`, which a test calls directly.
"""

# No postponed annotations: Dagster reads those of the decorated functions below at run time.

import json
import time
import warnings
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from import_platform.core.budget import format_bytes
from import_platform.core.layout import base_of
from import_platform.core.repartition import (
    FAILURES_MAX,
    RepartitionRecord,
    coarsenable,
    leaves_of,
    oversized,
    pause_reason,
)
from import_platform.core.table import DeclaredTable, PartitionSpec
from import_platform.errors import ImportPlatformError
from import_platform.io.delta import DeltaLog
from import_platform.io.incidents import REWRITE, Incidents
from import_platform.io.lake import Lake
from import_platform.pipeline.context import stored_identity
from import_platform.pipeline.repartition import read_record
from import_platform.resources.in_flight import InFlight, tables_in_flight
from import_platform.resources.naming import TABLE_TAG, maintain_job, table_id
from import_platform.resources.partition_keys import reconcile_keys
from import_platform.resources.platform import PlatformResource
from import_platform.resources.project import read_settings
from import_platform.resources.run_size import rewrite_tags

# Dagster itself passes this parameter whenever it binds resources to a sensor, and warns whoever starts it.
warnings.filterwarnings(
    "ignore", message="Parameter `owners` of initializer `SensorDefinition", category=dg.BetaWarning
)

INTERVAL_SECONDS = 50
"""No divisor of a minute: a schedule of every minute is then not met at work at every tick."""
TICK_SECONDS = 20.0
"""A tick ends after this and the next one goes on: Dagster kills one at 60 s, and a slow store must not reach that."""
REQUESTS_MAX = 20
LOOK_AGAIN = timedelta(hours=6)
"""A table without a new version is not looked at in between; quiet leaves to merge back can wait that long."""
PATIENCE = timedelta(minutes=5)
"""A table that is being synced whenever the sensor looks gets its run after this all the same."""
ASK_AGAIN = timedelta(minutes=30)
"""A run that was asked for and did not even begin is asked for again after this."""


@dataclass(frozen=True)
class Watched:
    """One table, the limit of its leaves (None: the platform's own), and whether only people may change its layout."""

    source: str
    table: str
    limit_bytes: int | None = None
    pinned: bool = False

    @property
    def id(self) -> str:
        return table_id(self.source, self.table)


@dataclass
class Memory:
    """What the sensor remembers from tick to tick. Mutable: a tick updates it.

    `fine` maps tables to the version that needed nothing; `asked` to [version, times asked, when]; `keys` are tables
    whose partition keys may still hold some of an old layout: those that were asked for, and all of them at a full
    look, because whoever changed a layout may have been killed before the keys followed; `blocked` says since when a
    table waits for syncs; `given_up` are tables with an open incident, because their rewrites failed for good.
    """

    start: int = 0
    full_look: float = 0.0
    fine: dict[str, int] = field(default_factory=dict)
    asked: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    blocked: dict[str, float] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)

    @classmethod
    def from_cursor(cls, cursor: str | None) -> "Memory":
        """An unreadable cursor (reset, or of another release) only means that everything is looked at again."""
        try:
            value = json.loads(cursor or "{}")
            asked = {table: (int(v), int(n), float(at)) for table, (v, n, at) in value.pop("asked", {}).items()}
            return cls(**value, asked=asked)
        except (ValueError, TypeError, AttributeError):
            return cls()

    def to_cursor(self) -> str:
        return json.dumps(self.__dict__, separators=(",", ":"))


def watched_tables(source: str, tables: Sequence[DeclaredTable]) -> list[Watched]:
    return [Watched(source, table.name, table.partition_max_bytes, table.pinned) for table in tables]


def repartition_sensor(tables: Sequence[Watched], jobs: Sequence[dg.JobDefinition]) -> dg.SensorDefinition:
    """Watches the tables; `jobs` are the maintenance jobs of their sources."""

    @dg.sensor(
        name="repartition_oversized",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts a repartition of each table with a leaf over the limit (IMPORT_PLATFORM_PARTITION_MAX, or "
        "the table's partition_max), and of tables whose small old leaves are worth merging back.",
    )
    def repartition_oversized(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
        memory = Memory.from_cursor(context.cursor)
        requests, reasons = evaluate(
            context.instance, platform.lake(), tables, memory, now=datetime.now(UTC),
            limit_bytes=read_settings().partition_max_bytes,
        )  # fmt: skip
        for table, reason in sorted(reasons.items()):
            context.log.info("%s: %s", table, reason)
        skip = None if requests else _summary(reasons)
        return dg.SensorResult(run_requests=requests, skip_reason=skip, cursor=memory.to_cursor())

    return repartition_oversized


def evaluate(
    instance: dg.DagsterInstance,
    lake: Lake,
    tables: Sequence[Watched],
    memory: Memory,
    *,
    now: datetime,
    limit_bytes: int,
) -> tuple[list[dg.RunRequest], dict[str, str]]:
    """Runs to start, and for tables that would need one why they get none. Updates the memory.

    Tables are looked at in turn from where the last tick ended, until time is up or enough runs are asked for.
    """
    if now.timestamp() - memory.full_look >= LOOK_AGAIN.total_seconds():
        memory.fine, memory.full_look = {}, now.timestamp()
        memory.keys = [each.id for each in tables]
    by_source: dict[str, list[str]] = {}
    for each in tables:
        by_source.setdefault(each.source, []).append(each.table)
    look = _Look(instance, lake, memory, now, limit_bytes, tables_in_flight(instance, by_source))
    deadline = time.monotonic() + TICK_SECONDS
    requests: list[dg.RunRequest] = []
    reasons: dict[str, str] = {}
    start = memory.start % max(len(tables), 1)
    memory.start = 0
    for at, watched in enumerate([*tables[start:], *tables[:start]]):
        if time.monotonic() > deadline or len(requests) >= REQUESTS_MAX:
            memory.start = (start + at) % len(tables)
            break
        try:
            found = look.at(watched)
        except ImportPlatformError as error:
            found = error.message
        if isinstance(found, dg.RunRequest):
            requests.append(found)
        elif found:
            reasons[watched.id] = found
    return requests, reasons


@dataclass(frozen=True)
class _Look:
    instance: dg.DagsterInstance
    lake: Lake
    memory: Memory
    now: datetime
    limit_bytes: int
    in_flight: Mapping[str, InFlight]

    def at(self, watched: Watched) -> dg.RunRequest | str | None:
        """A request; or why there is none though the table needs one; or None for a table that needs nothing."""
        path, table = self.lake.table_path(watched.source, watched.table), watched.id
        if (watched.pinned and table not in self.memory.keys) or self._is_fine(path, table):
            return None
        snapshot = DeltaLog(self.lake.store, path).snapshot()
        identity = stored_identity(snapshot)
        if snapshot is None or identity is None:
            self._keys_are_done(table)
            return None
        leaves = leaves_of(snapshot.files)
        self._reconcile(watched, leaves, identity.partition)
        if watched.pinned:
            return None
        limit_bytes = watched.limit_bytes or self.limit_bytes
        is_over = any(leaf.size_bytes > limit_bytes for leaf in leaves.values())
        record = read_record(self.lake.store, path) if is_over else None
        large = oversized(leaves, record, limit_bytes=limit_bytes) if record is not None else []
        nodes = coarsenable(leaves, identity.partition, limit_bytes=limit_bytes, now=self.now)
        if not large and not nodes:
            self.memory.asked.pop(table, None)
            self.memory.blocked.pop(table, None)
            self._note_incident(watched, None)
            if table not in self.memory.keys:
                self.memory.fine[table] = snapshot.version
            return None
        largest_bytes = leaves[large[0]].size_bytes if large else 0
        record = record or read_record(self.lake.store, path)
        reason = pause_reason(record, largest_bytes, now=self.now)
        self._note_incident(watched, record if reason and record.failures >= FAILURES_MAX else None)
        if reason is None:
            reason = self._blocked(table)
        return reason or self._asked(watched, snapshot.version, [*large, *nodes], record.failures)

    def _reconcile(self, watched: Watched, leaves: Collection[str], partition: PartitionSpec) -> None:
        """Makes the table's partition keys follow its leaves, once nothing works on it."""
        if watched.id in self.memory.keys and watched.id not in self.in_flight:
            bases = {base_of(leaf) for leaf in leaves}
            changes = reconcile_keys(self.instance, watched.source, watched.table, bases=bases, partition=partition)
            if not changes.waiting:
                self._keys_are_done(watched.id)

    def _note_incident(self, watched: Watched, given_up: RepartitionRecord | None) -> None:
        """Opens an incident for a table whose rewrites were given up, and closes it when they come through again."""
        incidents = Incidents(self.lake)
        if given_up is None and watched.id in self.memory.given_up:
            incidents.resolve(watched.source, watched.table, about=REWRITE)
            self.memory.given_up.remove(watched.id)
        if given_up is not None and watched.id not in self.memory.given_up:
            size = format_bytes(given_up.largest_bytes)
            incidents.record(
                watched.source,
                watched.table,
                about=REWRITE,
                error_class="RepartitionGivenUp",
                error=f"{given_up.failures} attempts to bring its leaves inside their limit failed; largest: {size}",
                is_fault=False,
                kind="ours",
                run=f"attempt of {given_up.begun_at}",
                action="nothing more is tried until the leaf has doubled, or a person runs: "
                f"import-platform repartition {watched.id}",
            )
            self.memory.given_up.append(watched.id)

    def _keys_are_done(self, table: str) -> None:
        if table in self.memory.keys:
            self.memory.keys.remove(table)

    def _blocked(self, table: str) -> str | None:
        """What the table waits for. Syncs that follow one another are waited for PATIENCE, then the pool decides."""
        working = self.in_flight.get(table)
        if working is None:
            self.memory.blocked.pop(table, None)
            return None
        since = self.memory.blocked.setdefault(table, self.now.timestamp())
        if working.is_sync and self.now.timestamp() - since >= PATIENCE.total_seconds():
            return None
        return f"waits for {working}"

    def _is_fine(self, path: str, table: str) -> bool:
        """True while the version that needed nothing is still the newest: one small request instead of a log."""
        version = self.memory.fine.get(table)
        if version is None or table in self.memory.keys:
            return False
        return self.lake.store.size_bytes(f"{path}/_delta_log/{version + 1:020d}.json") is None

    def _asked(self, watched: Watched, version: int, leaves: Sequence[str], failures: int) -> dg.RunRequest | str:
        """A request that Dagster has not seen: a run key is remembered for ever, also when its run never began."""
        seen, times, at = self.memory.asked.get(watched.id, (-1, 0, 0.0))
        if seen == version and self.now.timestamp() - at < ASK_AGAIN.total_seconds() and times > failures:
            return "was asked for, and has not begun"
        times = times + 1 if seen == version else 1
        self.memory.asked[watched.id] = (version, times, self.now.timestamp())
        if watched.id not in self.memory.keys:
            self.memory.keys.append(watched.id)
        layout = zlib.crc32(" ".join(leaves).encode())
        return dg.RunRequest(
            run_key=f"{watched.id}:{version}:{failures}.{times}:{layout:08x}",
            job_name=maintain_job(watched.source),
            run_config=run_config(watched),
            tags={TABLE_TAG: watched.id, **rewrite_tags()},
        )


def run_config(watched: Watched) -> dict[str, Any]:
    return {"tables": [watched.table], "task": "repartition", "by_hand": False}


def _summary(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return "every leaf is inside its limit"
    table, reason = min(reasons.items())
    more = f" ({len(reasons) - 1} more in the log)" if len(reasons) > 1 else ""
    return f"{table}: {reason}{more}"

"""What went wrong with a table at its source, kept for people: `_ops/incident_documents/<number>.json`, one per streak.

Beside the table's staging stands which incident is open, so that a schedule can leave the table alone. Nothing else
rests on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from import_platform.io.lake import Lake

FAULTS_MAX = 5
"""So often a fault that only a person can mend is met before schedules leave the table alone."""

SYNC, REWRITE = "open", "rewrite"
"""What an incident is about; also the name of the file that says which is open."""

_FOLDER = "_ops/incident_documents"
"""Not `_ops/incidents`: that is the Delta table which shows the same to SQL."""


@dataclass(frozen=True)
class Incident:
    """One streak of failures of one table. `is_fault` says that a person has to act: trying again cannot help.

    `kind` is whose doing it was (memory, deploy, source, ours), `run` the last Dagster run of the streak, `action` what
    the platform did about it, `beside` who was worked on at that moment and held how much. Schedules leave the table
    alone until `not_before`, and for good where it `pauses`. `about` is its work: syncs and rewrites each have their
    own open incident.
    """

    number: int
    source: str
    table: str
    error_class: str
    error: str
    is_fault: bool
    count: int
    first_at: str
    last_at: str
    resolved_at: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    exchange: Mapping[str, Any] | None = None
    columns_in_lake: Mapping[str, str] = field(default_factory=dict)
    columns_seen: Mapping[str, str] = field(default_factory=dict)
    kind: str = "source"
    run: str = ""
    action: str = ""
    beside: Sequence[Mapping[str, Any]] = ()
    not_before: str | None = None
    pauses: bool = False
    about: str = SYNC

    @property
    def is_paused(self) -> bool:
        """True when schedules leave the table alone until a person has acted."""
        return self.resolved_at is None and (self.pauses or (self.is_fault and self.count >= FAULTS_MAX))

    def rests(self, now: datetime) -> bool:
        """True while schedules leave the table alone for a while, because its memory ran out."""
        return self.resolved_at is None and self.not_before is not None and self.not_before > _text(now)


class Incidents:
    """The incidents of a lake."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def of_table(self, source: str, table: str, *, about: str = SYNC) -> Incident | None:
        """The open incident of a table."""
        pointer = self._lake.store.get(self._pointer(source, table, about))
        found = self.get(int(pointer)) if pointer is not None else None
        return found if found is not None and found.resolved_at is None else None

    def get(self, number: int) -> Incident | None:
        data = self._lake.store.get(f"{_FOLDER}/{number:06d}.json")
        return None if data is None else Incident(**json.loads(data))

    def every(self) -> list[Incident]:
        """All of them, the newest first."""
        return [found for number in self.numbers() if (found := self.get(number)) is not None]

    def numbers(self) -> list[int]:
        """Of all of them, the newest first, by one listing."""
        names = [entry.path.rsplit("/", 1)[-1] for entry in self._lake.store.entries(_FOLDER)]
        return sorted((int(name[:6]) for name in names if name[:6].isdigit()), reverse=True)

    def record(self, source: str, table: str, *, about: str = SYNC, **told: Any) -> Incident:
        """Counts a failure: into the table's open incident where it is of the same kind, else into a new one.

        A run that the incident counts already is not counted twice.
        """
        now = _text(datetime.now(UTC))
        known = self.of_table(source, table, about=about)
        if known is not None and told.get("run") and known.run == told["run"]:
            return known
        if known is not None and known.error_class == told["error_class"]:
            again = Incident(**{**asdict(known), **told, "count": known.count + 1, "last_at": now})
            self._lake.store.put(f"{_FOLDER}/{again.number:06d}.json", _json(again))
            return again
        if known is not None:
            self.resolve(source, table, about=about)
        number = max(self.numbers(), default=0) + 1
        while True:
            made = Incident(number, source, table, count=1, first_at=now, last_at=now, about=about, **told)
            if self._lake.store.put_if_absent(f"{_FOLDER}/{number:06d}.json", _json(made)):
                break
            number += 1
        self._lake.store.put(self._pointer(source, table, about), str(number).encode())
        return made

    def resolve(self, source: str, table: str, *, about: str = SYNC) -> None:
        """Closes the open incident of a table: a sync came through, or a failure of another kind began."""
        known = self.of_table(source, table, about=about)
        if known is not None:
            now = _text(datetime.now(UTC))
            self._lake.store.put(
                f"{_FOLDER}/{known.number:06d}.json", _json(Incident(**{**asdict(known), "resolved_at": now}))
            )
        self._lake.store.delete([self._pointer(source, table, about)])

    def _pointer(self, source: str, table: str, about: str) -> str:
        return f"{self._lake.staging_path(source, table)}/incident/{about}"


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")


def _json(incident: Incident) -> bytes:
    return json.dumps(asdict(incident), indent=1, default=str, ensure_ascii=False).encode()

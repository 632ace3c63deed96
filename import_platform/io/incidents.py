"""What went wrong with a table at its source, kept for people: `_ops/incident_documents/<number>.json`, one per streak.

Beside the table's staging stands which incident is open, so that a schedule can leave the table alone. Nothing else
rests on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from import_platform.io.lake import Lake

FAULTS_MAX = 5
"""So often a fault that only a person can mend is met before schedules leave the table alone."""

_FOLDER = "_ops/incident_documents"
"""Not `_ops/incidents`: that is the Delta table which shows the same to SQL."""


@dataclass(frozen=True)
class Incident:
    """One streak of failures of one table. `is_fault` says that a person has to act: trying again cannot help."""

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

    @property
    def is_paused(self) -> bool:
        return self.is_fault and self.count >= FAULTS_MAX and self.resolved_at is None


class Incidents:
    """The incidents of a lake."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def of_table(self, source: str, table: str) -> Incident | None:
        """The open incident of a table."""
        pointer = self._lake.store.get(self._pointer(source, table))
        found = self.get(int(pointer)) if pointer is not None else None
        return found if found is not None and found.resolved_at is None else None

    def get(self, number: int) -> Incident | None:
        data = self._lake.store.get(f"{_FOLDER}/{number:06d}.json")
        return None if data is None else Incident(**json.loads(data))

    def every(self) -> list[Incident]:
        """All of them, the newest first."""
        names = [entry.path.rsplit("/", 1)[-1] for entry in self._lake.store.entries(_FOLDER)]
        numbers = sorted((int(name[:6]) for name in names if name[:6].isdigit()), reverse=True)
        return [found for number in numbers if (found := self.get(number)) is not None]

    def record(self, source: str, table: str, **told: Any) -> Incident:
        """Counts a failure: into the table's open incident where it is of the same kind, else into a new one."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        known = self.of_table(source, table)
        if known is not None and known.error_class == told["error_class"]:
            again = Incident(**{**asdict(known), **told, "count": known.count + 1, "last_at": now})
            self._lake.store.put(f"{_FOLDER}/{again.number:06d}.json", _json(again))
            return again
        if known is not None:
            self.resolve(source, table)
        number = max((incident.number for incident in self.every()[:1]), default=0) + 1
        while True:
            made = Incident(number, source, table, count=1, first_at=now, last_at=now, **told)
            if self._lake.store.put_if_absent(f"{_FOLDER}/{number:06d}.json", _json(made)):
                break
            number += 1
        self._lake.store.put(self._pointer(source, table), str(number).encode())
        return made

    def resolve(self, source: str, table: str) -> None:
        """Closes the open incident of a table: a sync came through, or a failure of another kind began."""
        known = self.of_table(source, table)
        if known is not None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._lake.store.put(
                f"{_FOLDER}/{known.number:06d}.json", _json(Incident(**{**asdict(known), "resolved_at": now}))
            )
        self._lake.store.delete([self._pointer(source, table)])

    def _pointer(self, source: str, table: str) -> str:
        return f"{self._lake.staging_path(source, table)}/incident/open"


def _json(incident: Incident) -> bytes:
    return json.dumps(asdict(incident), indent=1, default=str, ensure_ascii=False).encode()

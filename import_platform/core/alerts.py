"""What is told to people without their asking: one message per cause, so many per hour, and again when it comes back.

Pure. A cause is a state that lasts (an open incident, a stale table) or a failed run that nothing has mended since.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

PER_TICK = 5
PER_HOUR = 20
"""Messages, the last of them a summary of the rest: an outage of 300 tables is one thing for a person."""
FORGOTTEN_SECONDS = 3600.0
"""A cause that has gone for so long is a new one when it comes back; sooner it only flickers."""
RETRY_LEAST_SECONDS, RETRY_MOST_SECONDS = 30.0, 3600.0
TRIES_BEFORE_TOLD = 3
"""So often a step tries again what may heal by itself (`assets.failure`); only then is it worth a message."""
LASTING_SECONDS = 900.0


@dataclass(frozen=True)
class Cause:
    """`id` is the same as long as the cause is, `what` the words that a message begins with."""

    id: str
    table: str
    what: str
    sentence: str = ""
    command: str = ""

    @property
    def text(self) -> str:
        parts = [f"*{self.table}*: {self.what}", self.sentence, f"`{self.command}`" if self.command else ""]
        return "\n".join(part for part in parts if part)


@dataclass
class Said:
    """What was told, and what a webhook asked for. Mutable: a tick updates it and keeps it as the sensor's cursor.

    `causes` maps ids to when they were last there; `sent` are the times of the last hour's messages; `failing` are
    failed runs that nothing has mended yet: id -> [table, what, sentence, at]. `delivered` maps tables to the event
    whose success was told to their own webhook; `quiet` maps webhooks to when they may be asked again.
    """

    born: float = 0.0
    causes: dict[str, float] = field(default_factory=dict)
    sent: list[float] = field(default_factory=list)
    open_incidents: list[int] = field(default_factory=list)
    last_incident: int = 0
    runs_until: float = 0.0
    failing: dict[str, tuple[str, str, str, float]] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    quiet: dict[str, float] = field(default_factory=dict)
    stale_looked_at: float = 0.0
    stale: list[str] = field(default_factory=list)

    def to_cursor(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    def has_told(self, ids: Collection[str], *, now: float) -> None:
        for id_ in ids:
            self.causes[id_] = now
        self.sent.append(now)

    def refresh(self, causes: Sequence[Cause], *, now: float) -> None:
        """Keeps told causes that are there or went away lately, and counts messages of the last hour."""
        there = {cause.id for cause in causes}
        self.causes = {
            id_: now if id_ in there else at
            for id_, at in self.causes.items()
            if id_ in there or now - at < FORGOTTEN_SECONDS
        }
        self.sent = [at for at in self.sent if now - at < 3600]


def said_from_cursor(cursor: str | None) -> Said:
    """An unreadable cursor (reset, or of another release) only means that what lasts is told again."""
    try:
        value = json.loads(cursor or "{}")
        failing = {id_: (str(t), str(w), str(s), float(at)) for id_, (t, w, s, at) in value.pop("failing", {}).items()}
        return Said(**value, failing=failing)
    except (ValueError, TypeError, AttributeError):
        return Said()


@dataclass(frozen=True)
class Message:
    """`ids` are the causes that it tells."""

    text: str
    ids: tuple[str, ...]


def messages(causes: Sequence[Cause], said: Said, *, now: float) -> list[Message]:
    """What to send now: each untold cause by itself, or where they are too many, the last message sums up the rest."""
    new = [cause for cause in causes if cause.id not in said.causes]
    room = min(PER_TICK, PER_HOUR - len([at for at in said.sent if now - at < 3600]))
    if room <= 0 or not new:
        return []
    if len(new) <= room:
        return [Message(cause.text, (cause.id,)) for cause in new]
    single, rest = new[: room - 1], new[room - 1 :]
    return [*(Message(cause.text, (cause.id,)) for cause in single), _summary(rest)]


def _summary(rest: Sequence[Cause]) -> Message:
    lines = [f"*{cause.table}*: {cause.what}" for cause in rest[:20]]
    more = [f"and {len(rest) - 20} more"] if len(rest) > 20 else []
    command = "`import-platform status` shows all of them"
    return Message("\n".join([f"{len(rest)} more:", *lines, *more, command]), tuple(cause.id for cause in rest))


def is_worth_telling(incident: Mapping[str, object], *, age_seconds: float) -> bool:
    """False for an incident that the next try may mend: the source was away, and not for long."""
    if incident["error_class"] != "SourceUnavailable":
        return True
    return int(str(incident["count"])) > TRIES_BEFORE_TOLD or age_seconds >= LASTING_SECONDS


def retry_at(now: float, asked_seconds: float | None) -> float:
    """When a webhook that refused may be asked again."""
    return now + min(max(asked_seconds or 0.0, RETRY_LEAST_SECONDS), RETRY_MOST_SECONDS)

"""Who may use how much of one memory budget: first come, first served. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from import_platform.errors import ConfigError


@dataclass(frozen=True)
class Holder:
    """The step behind a ticket, for whoever asks afterwards what was running. Bytes beyond `base_bytes` but for that
    and `budget_bytes`; times are seconds since 1970. `group` is the cgroup's folder, `oom_kills` its count at the
    start, -1 where it has none. `ended` is false for ever where the step was killed."""

    table: str
    step: str
    run_id: str = ""
    host: str = ""
    pid: int = 0
    budget_bytes: int = 0
    base_bytes: int = 0
    planned_bytes: int = 0
    granted_bytes: int = 0
    held_bytes: int = 0
    group: str = ""
    oom_kills: int = -1
    began_at: float = 0.0
    seen_at: float = 0.0
    ended: bool = False

    @property
    def process(self) -> str:
        return f"{self.host}:{self.pid}"

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def holder_from_json(data: bytes) -> Holder | None:
    """None for a ticket that says nothing of its holder, or of another release."""
    try:
        return Holder(**json.loads(data))
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, order=True)
class Ticket:
    """A step that holds, or waits for, `size_bytes` of the budget. Lesser numbers came first.

    `process` and its `base_bytes`, held before any work, are told by steps of other processes than the one that looks.
    """

    number: int
    size_bytes: int
    held: bool
    process: str = ""
    base_bytes: int = 0


def may_go(ticket: Ticket, others: Sequence[Ticket], *, total_bytes: int) -> bool:
    """True when the ticket's turn has come and its bytes are free.

    Nobody overtakes: a small step behind a large one waits too, or a stream of small ones would starve it. What other
    processes hold without any work is not free either; but where nobody else works, the first in the queue goes all
    the same, or everybody would wait for ever.
    """
    if any(not other.held and other.number < ticket.number for other in others):
        return False
    held = [other.size_bytes for other in others if other.held]
    if not held:
        return ticket.size_bytes <= total_bytes
    bases = {other.process: other.base_bytes for other in others if other.process != ticket.process}
    return sum(held) + sum(bases.values()) + ticket.size_bytes <= total_bytes


def check_size(size_bytes: int, *, total_bytes: int) -> None:
    """Raises ConfigError for a step that could never go."""
    if size_bytes > total_bytes:
        raise ConfigError(
            "a step needs more memory than the whole budget",
            needed_bytes=size_bytes,
            budget_bytes=total_bytes,
            remedy="Set IMPORT_PLATFORM_MEMORY higher.",
        )

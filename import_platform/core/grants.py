"""Who may use how much of one memory budget: first come, first served. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from import_platform.errors import ConfigError


@dataclass(frozen=True, order=True)
class Ticket:
    """A step that holds, or waits for, `size_bytes` of the budget. Lesser numbers came first."""

    number: int
    size_bytes: int
    held: bool


def may_go(ticket: Ticket, others: Sequence[Ticket], *, total_bytes: int) -> bool:
    """True when the ticket's turn has come and its bytes are free.

    Nobody overtakes: a small step behind a large one waits too, or a stream of small ones would starve it.
    """
    waiting_before = any(not other.held and other.number < ticket.number for other in others)
    held_bytes = sum(other.size_bytes for other in others if other.held)
    return not waiting_before and held_bytes + ticket.size_bytes <= total_bytes


def check_size(size_bytes: int, *, total_bytes: int) -> None:
    """Raises ConfigError for a step that could never go."""
    if size_bytes > total_bytes:
        raise ConfigError(
            "a step needs more memory than the whole budget",
            needed_bytes=size_bytes,
            budget_bytes=total_bytes,
            remedy="Set IMPORT_PLATFORM_MEMORY higher.",
        )

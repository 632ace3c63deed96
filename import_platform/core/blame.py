"""Which of the tables that were worked on outgrew the memory, when somebody was killed for it. Pure.

The kernel kills whoever is largest or unlucky, and a process dies with all its tables; so the table of the victim
proves nothing. What each had been granted and what it grew to does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Worked:
    """A table that was worked on when the kill came. `held_bytes` is what its process grew to beyond its base, 0 where
    nobody measured; tables of one `process` share that number. `killed`: its process is among the dead."""

    table: str
    step: str = ""
    planned_bytes: int = 0
    granted_bytes: int = 0
    held_bytes: int = 0
    process: str = ""
    killed: bool = False


def blamed(worked: Sequence[Worked]) -> Worked | None:
    """The table that grew furthest beyond its grant; None when nothing was worked on.

    Of the tables of one process, whose growth nobody can tell apart, the process's excess counts for the one with the
    largest plan. Where nothing was measured, the killed one with the largest plan is named.
    """
    if not worked:
        return None
    totals: dict[str, int] = {}
    for each in worked:
        if each.process:
            totals[each.process] = totals.get(each.process, 0) + each.granted_bytes

    def excess(each: Worked) -> int:
        return each.held_bytes - totals.get(each.process, each.granted_bytes)

    measured = [each for each in worked if each.held_bytes]
    grew = [each for each in measured if excess(each) > 0]
    if grew:
        return max(grew, key=lambda each: (excess(each), each.planned_bytes, each.killed, each.table))
    if len(measured) == len(worked):
        share = {each: each.held_bytes / max(totals.get(each.process, 0), each.granted_bytes, 1) for each in worked}
        return max(worked, key=lambda each: (each.killed, share[each], each.planned_bytes, each.table))
    return max(worked, key=lambda each: (each.killed, each.held_bytes, each.planned_bytes, each.table))

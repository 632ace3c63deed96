"""Whether a run that was ended from outside is started again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from import_platform.core.kills import Kind

DEPLOYS_MAX = 20
KILLS_MAX = 3


@dataclass(frozen=True)
class Ended:
    """A run that did not come through. The counts are of its forebears that were started again for the same reason.

    `by_terminal`: a command line executed it, so nobody but the person there can start it again. `comes_again`: a
    schedule started it and will do so again by itself.
    """

    kind: Kind
    after_deploys: int = 0
    after_kills: int = 0
    by_terminal: bool = False
    comes_again: bool = False


def relaunches(ended: Ended) -> str | None:
    """Why the run is started again; None when it is not.

    A deploy's victims are, DEPLOYS_MAX times in a row. One killed for memory is when no schedule comes by again, with
    measures in force and KILLS_MAX times. What a person ended stays ended.
    """
    if ended.by_terminal:
        return None
    if ended.kind is Kind.DEPLOY and ended.after_deploys < DEPLOYS_MAX:
        return f"a deploy ended it (relaunch {ended.after_deploys + 1} of {DEPLOYS_MAX})"
    if ended.kind is Kind.MEMORY and not ended.comes_again and ended.after_kills < KILLS_MAX:
        return f"it was killed for memory (relaunch {ended.after_kills + 1} of {KILLS_MAX})"
    return None

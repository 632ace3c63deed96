"""Why a run ended that did not end by itself: told from facts that others gathered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SIGINT, SIGKILL, SIGTERM = 2, 9, 15
SOURCE_ERRORS = frozenset({"SourceRejected", "SourceUnavailable", "ConfigError"})
PASSING_ERRORS = frozenset({"TableBusy", "Interrupted", "Overtaken"})
"""Another run's work or a wish of somebody: nobody's fault."""
FULL_PERCENT = 70


class Kind(StrEnum):
    """Whose doing it was. What is neither of the others' is ours: the platform, its lake, a bug."""

    MEMORY = "memory"
    DEPLOY = "deploy"
    PERSON = "person"
    SOURCE = "source"
    OURS = "ours"


class Asked(StrEnum):
    """Who asked a run to end."""

    OUTSIDE = "outside"  # the UI, the API, a cancelled backfill
    PROCESS = "process"  # a signal, which no request came before
    NOBODY = "nobody"


@dataclass(frozen=True)
class KillFacts:
    """`worker_signal` ended the run's own process, `child_signal` a step's. The counts are the kernel's of processes
    killed for memory in the run's cgroup, None where nobody could read them. `held_percent` is the share of its budget
    that the run's largest process held when it was last measured."""

    worker_signal: int | None = None
    child_signal: int | None = None
    oom_kills_before: int | None = None
    oom_kills_after: int | None = None
    pod_text: str = ""
    process_gone: bool = False
    error_class: str | None = None
    asked: Asked = Asked.NOBODY
    held_percent: int | None = None

    @property
    def oom_kills(self) -> int | None:
        """How many the kernel killed for memory since the step began; None where that is not known."""
        if self.oom_kills_before is None or self.oom_kills_after is None:
            return None
        return max(self.oom_kills_after - self.oom_kills_before, 0)


@dataclass(frozen=True)
class Verdict:
    """`why` is what a person reads first."""

    kind: Kind
    why: str


def classify(facts: KillFacts) -> Verdict:
    """The kind of end. A request from outside is a person's whatever signal followed it; after that the surest sign of
    memory counts first. A SIGKILL that nobody explains is taken for memory: to be careful once too often costs little.
    """
    if facts.asked is Asked.OUTSIDE:
        return Verdict(Kind.PERSON, "somebody asked for the run to be terminated")
    memory = _memory(facts)
    if memory is not None:
        return Verdict(Kind.MEMORY, memory)
    return _stopped(facts) or _failed(facts)


def _stopped(facts: KillFacts) -> Verdict | None:
    if facts.asked is Asked.PROCESS or SIGTERM in (facts.worker_signal, facts.child_signal):
        return Verdict(Kind.DEPLOY, "its process was asked to stop, and nobody had asked for the run to end")
    if facts.process_gone:
        return Verdict(Kind.DEPLOY, "its process is gone, and nothing says that memory was short")
    if SIGINT in (facts.worker_signal, facts.child_signal):
        return Verdict(Kind.PERSON, "it was interrupted from a terminal")
    return None


def _failed(facts: KillFacts) -> Verdict:
    if facts.error_class in SOURCE_ERRORS:
        return Verdict(Kind.SOURCE, "the source, or its declaration, is at fault")
    signal = facts.child_signal or facts.worker_signal
    return Verdict(Kind.OURS, f"its process died of signal {signal}" if signal else "the platform failed")


def _memory(facts: KillFacts) -> str | None:
    """What says that memory ran out, the surest first."""
    if "OOMKilled" in facts.pod_text:
        return "Kubernetes says OOMKilled"
    killed = SIGKILL in (facts.worker_signal, facts.child_signal)
    ended = killed or facts.process_gone
    if ended and facts.oom_kills:
        return f"the kernel killed {facts.oom_kills} process(es) of its cgroup for memory"
    if killed:
        whose = "a step's process" if facts.child_signal == SIGKILL else "its process"
        doubt = (
            "" if facts.oom_kills is None else "; the kernel counted no kill for memory, so it may have been a person"
        )
        return f"{whose} was killed by signal 9{doubt}"
    if facts.process_gone and (facts.held_percent or 0) >= FULL_PERCENT and facts.oom_kills is None:
        return f"its process is gone, and held {facts.held_percent} % of its budget shortly before"
    if facts.error_class == "MemoryBudgetExceeded":
        return "a step stopped itself before it outgrew its budget"
    return None

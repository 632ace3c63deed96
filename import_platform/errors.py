"""Every error a person or a retry policy can meet, grouped by what to do next.

    ImportPlatformError
    ├── ConfigError              a person edits configuration, YAML or the environment; never retried
    ├── SourceRejected           the source says no (password, permission, missing table); tell its owner
    ├── TargetRejected           the database that a table is published to says no; tell its owner
    ├── RetryableError           trying again later can succeed
    │   ├── SourceUnavailable    the source did not answer
    │   ├── TargetUnavailable    the database that a table is published to did not answer; it holds what it held
    │   ├── StoreUnavailable     the object store did not answer
    │   ├── CommitConflict       other writers won every round
    │   ├── CommitOutcomeUnknown the acknowledgement was lost: look before touching anything
    │   ├── TableBusy            another run holds the table
    │   ├── Overtaken            another attempt committed first; its result stands, ours is discarded
    │   └── MemoryBudgetExceeded the step stopped itself before the kernel would have
    ├── Interrupted              stopped on request after a checkpoint; the next run goes on
    └── InvariantBroken          our bug: a check on our own work failed, nothing was committed on top of it

A message is one sentence in lower case without values of rows or secrets; `facts` carry names, counts and bytes;
`remedy` is one sentence that says what to do. Idea of grouping by recovery: the Singer SDK's `exceptions.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ImportPlatformError(Exception):
    """Base of all errors raised on purpose. `exit_code` is the CLI's: 1 some table failed, 2 usage or configuration."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str = "", **facts: Any) -> None:
        self.message = message
        self.remedy = remedy
        self.facts: Mapping[str, Any] = facts
        self.report: Any = None  # a sync attaches what it did before it failed (core.report.SyncReport)
        super().__init__(str(self))

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value!r}" for name, value in self.facts.items())
        sentence = f"{self.message} ({facts})" if facts else self.message
        return f"{ended(sentence)} {self.remedy}" if self.remedy else sentence

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive the default pickling that multiprocess executors rely on.
        return (_rebuild, (type(self), self.message, self.remedy, dict(self.facts)))


def ended(sentence: str) -> str:
    """The sentence with one sign at its end, so that another may follow; several of its own become one."""
    bare = sentence.rstrip().rstrip(".")
    return bare if bare.endswith(("!", "?")) else f"{bare}."


def _rebuild(kind: type[ImportPlatformError], message: str, remedy: str, facts: dict[str, Any]) -> ImportPlatformError:
    return kind(message, remedy=remedy, **facts)


class ConfigError(ImportPlatformError):
    """Configuration is wrong; a person edits it. Never retried."""

    exit_code = 2


class SourceRejected(ImportPlatformError):
    """The source answered and said no; its owner has to act. Never retried by the platform."""


class TargetRejected(ImportPlatformError):
    """The database that a table is published to said no; its owner has to act. Nothing of ours is visible there."""


class RetryableError(ImportPlatformError):
    """The same step can succeed later without anyone editing anything."""

    retryable = True


class SourceUnavailable(RetryableError):
    """The source did not answer in time or dropped the connection."""


class TargetUnavailable(RetryableError):
    """The database that a table is published to did not answer or dropped the connection; nothing is visible there."""


class StoreUnavailable(RetryableError):
    """The lake's object store did not answer; nothing was committed."""


class CommitConflict(RetryableError):
    """Other writers committed first in every round; nothing of ours is visible."""


class CommitOutcomeUnknown(RetryableError):
    """The commit may or may not have landed; the next attempt looks at the log before it touches anything."""


class TableBusy(RetryableError):
    """Another run is writing this table."""


class Overtaken(RetryableError):
    """Another attempt committed first. Its rows stand; ours are discarded and the cursor is read again."""


class MemoryBudgetExceeded(RetryableError):
    """The step measured its own peak nearing the budget and stopped cleanly."""


class Interrupted(ImportPlatformError):
    """Stopped on request (SIGINT, SIGTERM, time limit) after a durable checkpoint; the next run goes on from it."""

    exit_code = 130


class InvariantBroken(ImportPlatformError):
    """A check on our own work failed. Please report it; the lake still holds the last good version."""

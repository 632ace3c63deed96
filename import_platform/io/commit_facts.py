"""Which run makes the commits of a block: it stands in the facts of each, so that a lost ledger can be rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from import_platform.errors import StoreUnavailable
from import_platform.io.store import Store

Facts = Mapping[str, str]
_told: ContextVar[Callable[[], Facts] | None] = ContextVar("import_platform_commit_facts", default=None)


@contextmanager
def committing_for(facts: Callable[[], Facts]) -> Iterator[None]:
    """Commits of this thread carry what `facts` says at their time, while the block runs."""
    token = _told.set(facts)
    try:
        yield
    finally:
        _told.reset(token)


def run_facts() -> Facts:
    told = _told.get()
    return {} if told is None else told()


def commit_history(store: Store, path: str, *, versions: int | None) -> list[Mapping[str, Any]]:
    """`version`, `timestamp` in milliseconds and the facts of a table's commits, oldest first; those of the newest
    `versions` only, if given. Empty where there is no table; the log keeps entries for 30 days.

    Raises:
        StoreUnavailable: the log cannot be read.
    """
    try:
        entries = DeltaTable(f"{store.uri}/{path}", storage_options=store.storage_options).history(versions)
    except TableNotFoundError:
        return []
    except DeltaError as error:
        raise StoreUnavailable(
            "the table's log cannot be read", table=path, remedy="Check the lake; then try again."
        ) from error
    return sorted(entries, key=lambda entry: int(entry["version"]))

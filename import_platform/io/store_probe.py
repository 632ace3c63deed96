"""Whether an object store really keeps all but one of several creates out, tried on itself."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from import_platform.errors import ConfigError
from import_platform.io.store import Store

WRITERS, ROUNDS = 8, 4
"""OpenStack Swift's S3 let more than one of eight racing creates win in 18 to 88 of 120 rounds, none one by one."""


def probe_conditional_put(store: Store) -> None:
    """Several creates of one key at once, then one more: exactly one may win, and its bytes stay.

    Raises:
        ConfigError: the store accepts more, so two writers would lose each other's commits.
    """
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="probe") as pool:
        sound = all(_one_create_wins(store, pool) for _ in range(1 if store.is_local else ROUNDS))
    if not sound:
        raise ConfigError(
            "the object store does not honour conditional put (If-None-Match)",
            lake=store.uri,
            remedy="Commits would be lost; use a store that does, such as AWS S3, MinIO or Ceph.",
        )


def _one_create_wins(store: Store, pool: ThreadPoolExecutor) -> bool:
    key = f"_staging/probe/{uuid.uuid4().hex}"
    each = [f"{key} {writer}".encode() for writer in range(WRITERS + 1)]
    try:
        won = [*pool.map(partial(store.put_if_absent, key), each[:-1]), store.put_if_absent(key, each[-1])]
        return won.count(True) == 1 and store.get(key) == each[won.index(True)]
    finally:
        store.delete([key])

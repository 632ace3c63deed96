"""Releases of feeds: documents that are put once, and `_ops/releases`, which shows them to SQL.

_ops/release_documents/<source>/<feed>/listings/<n>.json         the files that the tables read together
_ops/release_documents/<source>/<feed>/points/<n>/<table>.json   the version at which a table had read them
_ops/release_documents/<source>/<feed>/releases/<n>.json         the versions of all tables: now it is a release
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta

import pyarrow as pa

from import_platform.core.feed import feed_files
from import_platform.core.names import escape, unescape
from import_platform.core.releases import Listing, Release
from import_platform.io.lake import Lake
from import_platform.io.ops_table import OpsTable
from import_platform.io.store import Store

FOLDER = "_ops/release_documents"
KEPT_RELEASES = 100
SHOWN_FOR = timedelta(days=400)
SPARED_RELEASES = 2
"""Of so many of the newest releases vacuum spares the files, however old: a reader may still hold the one before."""

RELEASES = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("feed", pa.string()),
        ("release", pa.int64()),
        ("table", pa.string()),
        ("delta_version", pa.int64()),
        ("files", pa.int64()),
        ("released_at", pa.timestamp("us", "UTC")),
    ]
)


class FeedReleases:
    """Those of one feed. Everything is put once and never changed; two processes may write at once."""

    def __init__(self, store: Store, source: str, feed: str) -> None:
        self._store = store
        self._path = f"{FOLDER}/{escape(source)}/{feed}"

    def latest_listing(self) -> Listing | None:
        numbers = self._numbers("listings")
        return self.listing(numbers[-1]) if numbers else None

    def listing(self, number: int) -> Listing | None:
        data = self._store.get(f"{self._path}/listings/{number:08d}.json")
        return Listing(number, feed_files(json.loads(data))) if data is not None else None

    def put_listing(self, listing: Listing) -> bool:
        """False when somebody else put one of this number first."""
        data = json.dumps([asdict(file) for file in listing.files]).encode()
        return self._store.put_if_absent(f"{self._path}/listings/{listing.number:08d}.json", data)

    def put_point(self, number: int, table: str, version: int) -> None:
        """The first version at which the table had read the listing counts."""
        path = f"{self._path}/points/{number:08d}/{escape(table)}.json"
        self._store.put_if_absent(path, json.dumps({"delta_version": version}).encode())

    def points(self, number: int) -> dict[str, int]:
        """Version by table."""
        found = {}
        for entry in self._store.entries(f"{self._path}/points/{number:08d}"):
            data = self._store.get(entry.path)
            if data is not None:
                name = entry.path.rsplit("/", 1)[-1].removesuffix(".json")
                found[unescape(name)] = int(json.loads(data)["delta_version"])
        return found

    def put_release(self, release: Release) -> Release:
        """The release of this number: ours, or that of whoever was first. Forgets what older ones were made from."""
        path = f"{self._path}/releases/{release.number:08d}.json"
        if not self._store.put_if_absent(path, json.dumps(asdict(release)).encode()):
            data = self._store.get(path)
            release = Release(**json.loads(data)) if data is not None else release
        for kind, keep in (("listings", release.number), ("releases", release.number - KEPT_RELEASES)):
            old = [number for number in self._numbers(kind) if number < keep]
            self._store.delete(f"{self._path}/{kind}/{number:08d}.json" for number in old)
        for name in self._store.folders(f"{self._path}/points"):
            if int(name) < release.number:
                self._store.remove_folder(f"{self._path}/points/{name}")
        return release

    def releases(self, newest: int) -> list[Release]:
        """So many of the newest, newest first."""
        found = []
        for number in reversed(self._numbers("releases")[-newest:]):
            data = self._store.get(f"{self._path}/releases/{number:08d}.json")
            if data is not None:
                found.append(Release(**json.loads(data)))
        return found

    def release(self, number: int) -> Release | None:
        data = self._store.get(f"{self._path}/releases/{number:08d}.json")
        return Release(**json.loads(data)) if data is not None else None

    def knows(self, table: str) -> bool:
        """True when a release or a point names the table."""
        name = f"/{escape(table)}.json"
        points = any(entry.path.endswith(name) for entry in self._store.entries(f"{self._path}/points"))
        return points or any(table in release.tables for release in self.releases(KEPT_RELEASES))

    def forget(self) -> None:
        self._store.remove_folder(self._path)

    def _numbers(self, kind: str) -> list[int]:
        names = (entry.path.rsplit("/", 1)[-1] for entry in self._store.entries(f"{self._path}/{kind}"))
        return sorted(int(name.removesuffix(".json")) for name in names)


def feeds_of(store: Store, source: str) -> list[FeedReleases]:
    """Of every feed of a source that was ever listed."""
    return [FeedReleases(store, source, feed) for feed in store.folders(f"{FOLDER}/{escape(source)}")]


def released_versions(store: Store, source: str, number: int | None = None) -> dict[str, int]:
    """Version by table of the newest release of each feed of a source, or of release `number`; tables of no release
    are left out."""
    found: dict[str, int] = {}
    for feed in feeds_of(store, source):
        release = next(iter(feed.releases(1)), None) if number is None else feed.release(number)
        found |= release.tables if release is not None else {}
    return found


def spared_versions(store: Store, source: str, table: str) -> set[int]:
    """Versions of a table that readers of releases may ask for."""
    newest = [release for feed in feeds_of(store, source) for release in feed.releases(SPARED_RELEASES)]
    return {release.tables[table] for release in newest if table in release.tables}


def forget_feeds_of(store: Store, source: str, table: str) -> None:
    """Deletes what feeds know of a table that begins anew: its old versions mean nothing any more. The feed's other
    tables are listed and released again with their next syncs."""
    for feed in feeds_of(store, source):
        if feed.knows(table):
            feed.forget()


def show_release(lake: Lake, release: Release) -> None:
    """Appends the release to `_ops/releases`, in one commit and once, and keeps that small; raises StoreUnavailable."""
    at = datetime.fromisoformat(release.released_at)
    rows = [
        {
            "id": f"{release.source}/{release.feed}/{release.number}/{table}",
            "source": release.source,
            "feed": release.feed,
            "release": release.number,
            "table": table,
            "delta_version": version,
            "files": release.files,
            "released_at": at,
        }
        for table, version in sorted(release.tables.items())
    ]
    ledger = OpsTable(lake, "releases", RELEASES, time_column="released_at")
    ledger.append_new(pa.Table.from_pylist(rows, schema=RELEASES), key="id", since=at)
    if ledger.is_scattered():
        ledger.tend(keep_since=at - SHOWN_FOR)

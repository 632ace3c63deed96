"""The files that a sync of a feed reads, and the release of the feed's tables once all have read the same.

A release is made of points: the version at which a table had read a listing whole. Whoever puts the last point makes
it, and whoever was killed before puts it with its next sync; so no order of syncs, and no kill, can join tables that
have read different files.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from import_platform.core.feed import FeedFile, FeedPlan, plan_again, plan_feed, unread
from import_platform.core.releases import Listing, Release, has_read, next_listing, release_of
from import_platform.core.state import Attempt, AttemptKind, Checkpoint, TableState
from import_platform.core.table import SyncMode
from import_platform.core.wording import close_names, counted
from import_platform.errors import ConfigError, ImportPlatformError
from import_platform.io.delta import DeltaLog
from import_platform.io.lake import Lake
from import_platform.io.releases import FeedReleases, show_release
from import_platform.io.staging import Staging
from import_platform.pipeline.context import OpenTable
from import_platform.sources.protocol import ReadsFeed, UsesScratch


def feed_plan(table: OpenTable, state: TableState, kind: AttemptKind) -> tuple[FeedPlan, int] | None:
    """The files to read, for a source of files, and the number of their listing (0: the table is read alone).

    A table that follows no file numbers reads all of them.
    """
    source, spec = table.context.source, table.spec
    if not isinstance(source, ReadsFeed):
        return None
    everything = kind is not AttemptKind.INCREMENTAL or spec.cursor not in (spec.info.cursors or ())
    last = max((int(state.cursor or 0), *(file.number for file in state.files)))
    found = source.files(spec.info)
    listing = _listing(table, found, state)
    files = found if listing is None else listing.files
    plan = plan_feed(files, state.files, last_number=last, everything=everything, unfinished=bool(state.progress))
    return plan, listing.number if listing is not None else 0


def files_again(table: OpenTable, state: TableState, patterns: Sequence[str]) -> FeedPlan:
    """The files that have been read, are as they were then, and match one of the patterns of their names.

    Raises:
        ConfigError: the table is not made of files, it does not follow their numbers, or a pattern fits none of them.
    """
    source, spec = table.context.source, table.spec
    if not isinstance(source, ReadsFeed):
        raise ConfigError("only tables of files have files to be read again", table=table.id, remedy=_PARTITION)
    if spec.sync is not SyncMode.INCREMENTAL or spec.cursor not in (spec.info.cursors or ()):
        remedy = f"Read all of them: import-platform sync {table.id} --full-refresh."
        raise ConfigError("this table does not follow which files it has read", table=table.id, remedy=remedy)
    plan = plan_again(source.files(spec.info), state.files, patterns)
    if plan.unknown:
        raise _unread(table.id, plan.unknown[0], state.files)
    if plan.changed:
        said = (
            f"{len(plan.changed)} of the files changed or went away since they were read, and are left to the next sync"
        )
        table.context.observer.note(table.id, said)
    return FeedPlan(plan.files, state.files, int(state.cursor or 0))


def check_were_read(lake: Lake, source: str, table: str, patterns: Sequence[str]) -> None:
    """Asks the lake alone, before anything is started.

    Raises:
        ConfigError: the table is not in the lake, or a pattern fits none of the files that it has read.
    """
    snapshot = DeltaLog(lake.store, lake.table_path(source, table)).snapshot()
    name = f"{source}/{table}"
    if snapshot is None:
        raise ConfigError("the lake has no such table", table=name, remedy=f"Import it: import-platform sync {name}")
    files = Staging(lake.store, lake.staging_path(source, table)).state(snapshot.transaction).files
    for pattern in unread(files, patterns):
        raise _unread(name, pattern, files)


def _unread(table: str, pattern: str, files: Sequence[FeedFile]) -> ConfigError:
    paths = [file.path for file in files]
    by_name = {path.rpartition("/")[2]: path for path in paths}
    close = close_names(pattern, paths) or [by_name[name] for name in close_names(_last(pattern), by_name)]
    read = f"Did you mean {', '.join(close)}?" if close else f"It has read {', '.join(paths[:5])}." if paths else ""
    remedy = "Give a file's name as _file has it, or a pattern of names; new files come with a sync"
    asked = pattern.partition("?")[0] if "://" in pattern else pattern  # a query may hold a signature
    return ConfigError(
        "no file of this name was read", table=table, file=asked, remedy=f"{read} {remedy} of {table}.".lstrip()
    )


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


_PARTITION = "Read partitions again: --partition KEY."


def let_go(table: OpenTable, attempt: Attempt | None, done: Sequence[Checkpoint]) -> None:
    """What the source keeps on this machine for files that the table has read, or that no longer are, goes away."""
    source = table.context.source
    if not isinstance(source, UsesScratch):
        return
    reads = attempt is not None and not (done and done[-1].end)
    source.let_go(
        table.spec.info,
        attempt.files if attempt is not None and reads else (),
        done[-1].token if done and reads else None,
    )


def publish_release(table: OpenTable, number: int) -> None:
    """Notes that the table has read listing `number`, if it has, and makes the release where it was the last one.

    What cannot be written is said, and written by the next sync: the rows are in the lake already.
    """
    if not number:
        return
    try:
        _publish(table, number)
    except ImportPlatformError as error:
        table.context.observer.note(table.id, f"its release was not written, the next sync does it: {error.message}")


def _publish(table: OpenTable, number: int) -> None:
    feed, tables = _feed(table)
    listing, snapshot = feed.listing(number), table.log.snapshot()
    if listing is None or snapshot is None:
        return
    state = table.staging.state(snapshot.transaction)
    if state.sync_attempt in state.progress or not has_read(state.files, listing.files):
        return
    feed.put_point(number, table.spec.name, snapshot.version)
    versions = release_of(feed.points(number), tables)
    if versions is None:
        return
    at = datetime.now(UTC).isoformat()
    source, name = table.spec.source, _name(table)
    release = feed.put_release(Release(source, name, number, at, len(listing.files), versions))
    show_release(table.context.lake, release)
    table.context.observer.note(
        table.id, f"release {number}: {len(versions)} tables hold the same {counted(release.files, 'file')}"
    )


def _listing(table: OpenTable, found: Sequence[FeedFile], state: TableState) -> Listing | None:
    """What the tables of the feed read together; None for a table that is fed alone."""
    feed, tables = _feed(table)
    if len(tables) < 2:
        return None
    while True:
        latest = feed.latest_listing()
        listing = next_listing(latest, found, state.files)
        if latest is not None and listing.number == latest.number:
            return listing
        if feed.put_listing(listing):
            return listing


def _feed(table: OpenTable) -> tuple[FeedReleases, tuple[str, ...]]:
    """The feed, and those of its tables that are imported."""
    source, imported = table.context.source, table.context.tables
    assert isinstance(source, ReadsFeed), "only files come in feeds"
    _, names = source.feed(table.spec.info)
    chosen = tuple(name for name in names if imported is None or name in imported)
    return FeedReleases(table.store, table.spec.source, _name(table)), chosen


def _name(table: OpenTable) -> str:
    source = table.context.source
    assert isinstance(source, ReadsFeed), "only files come in feeds"
    return source.feed(table.spec.info)[0]

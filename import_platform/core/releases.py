"""Which files the tables of one feed read together, and when all of them have read the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from import_platform.core.feed import FeedFile


@dataclass(frozen=True)
class Listing:
    """The files of a feed at one moment, as every table of the feed is to read them. Numbers grow by one."""

    number: int
    files: tuple[FeedFile, ...]


@dataclass(frozen=True)
class Release:
    """Versions of the tables of a feed that hold the same files, each of them whole. `number` is the listing's."""

    source: str
    feed: str
    number: int
    released_at: str
    files: int
    tables: Mapping[str, int]


def next_listing(latest: Listing | None, found: Sequence[FeedFile], manifest: Sequence[FeedFile]) -> Listing:
    """What a table that has read `manifest` reads next, when `found` is what there is.

    The latest listing while the table lacks some of it, so that tables meet in one however fast files come. A new one
    of all there is once the table has read the latest, or where a file of it changed or went away.
    """
    if latest is not None and has_read(found, latest.files):
        if not has_read(manifest, latest.files):
            wanted = _versions(latest.files)
            return Listing(latest.number, tuple(file for file in found if _version(file) in wanted))
        if _versions(found) == _versions(latest.files):
            return latest
    return Listing(latest.number + 1 if latest is not None else 1, tuple(found))


def has_read(manifest: Iterable[FeedFile], files: Iterable[FeedFile]) -> bool:
    """True when every file is there in the same version."""
    return _versions(files) <= _versions(manifest)


def release_of(points: Mapping[str, int], tables: Iterable[str]) -> dict[str, int] | None:
    """The version of each table at one listing; None while one has none."""
    names = set(tables)
    return {name: points[name] for name in sorted(names)} if names <= set(points) else None


def _versions(files: Iterable[FeedFile]) -> set[tuple[str, int, str]]:
    return {_version(file) for file in files}


def _version(file: FeedFile) -> tuple[str, int, str]:
    return file.path, file.size_bytes, file.tag

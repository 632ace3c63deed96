"""Files of a feed: which of them a table has read, and which a pass is to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class FeedFile:
    """One file as it was when it was listed. `tag` changes with its content (an etag, or the time of its last change);
    `modified` is when that was, in ISO 8601.

    `number` counts the versions of all files of the table in the order in which they are read. `again` says that an
    earlier version of the file was read before.
    """

    path: str
    size_bytes: int
    tag: str
    number: int = 0
    again: bool = False
    modified: str = ""


@dataclass(frozen=True)
class FeedPlan:
    """The files that a pass reads, in order, and the whole manifest once it is complete."""

    files: tuple[FeedFile, ...]
    manifest: tuple[FeedFile, ...]
    last_number: int


def plan_feed(
    found: Sequence[FeedFile],
    manifest: Sequence[FeedFile],
    *,
    last_number: int,
    everything: bool,
    unfinished: bool = False,
) -> FeedPlan:
    """What to read of the files `found`, in their order: new and changed ones, or all of them.

    Numbers only grow, so a file that arrives late is read whatever its age. Files that are gone leave the manifest;
    their rows stay. `unfinished` says that an earlier pass may have left rows of any file behind.
    """
    known = {file.path: file for file in manifest}
    files, after = [], []
    for file in found:
        before = known.get(file.path)
        same = before is not None and (before.size_bytes, before.tag) == (file.size_bytes, file.tag)
        if before is not None and same:
            number = before.number
        else:
            last_number = number = last_number + 1
        after.append(replace(file, number=number))
        planned = replace(file, number=number, again=unfinished or before is not None)
        if everything or not same:
            files.append(planned)
    return FeedPlan(tuple(files), tuple(after), last_number)


@dataclass(frozen=True)
class Again:
    """Files to be read again; `changed` are asked for too, but are others now, and `unknown` patterns fit none."""

    files: tuple[FeedFile, ...]
    changed: tuple[FeedFile, ...]
    unknown: tuple[str, ...]


def plan_again(found: Sequence[FeedFile], manifest: Sequence[FeedFile], patterns: Sequence[str]) -> Again:
    """Of the files in `manifest`, which have been read, those whose names match a pattern or are one."""
    now = {file.path: (file.size_bytes, file.tag) for file in found}
    asked = [file for file in manifest if any(_fits(file, pattern) for pattern in patterns)]
    same = [file for file in asked if now.get(file.path) == (file.size_bytes, file.tag)]
    return Again(
        tuple(replace(file, again=True) for file in same),
        tuple(file for file in asked if file not in same),
        unread(manifest, patterns),
    )


def unread(manifest: Sequence[FeedFile], patterns: Sequence[str]) -> tuple[str, ...]:
    """The patterns that fit none of the files that have been read."""
    return tuple(pattern for pattern in patterns if not any(_fits(file, pattern) for file in manifest))


def _fits(file: FeedFile, pattern: str) -> bool:
    return file.path == pattern or fnmatchcase(file.path, pattern)


def feed_files(values: Sequence[Mapping[str, Any]]) -> tuple[FeedFile, ...]:
    """As JSON holds them."""
    return tuple(FeedFile(**value) for value in values)

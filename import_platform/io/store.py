"""The object store under the lake: a local folder or an S3 bucket, with the same verbs and the same guarantees.

Everything the platform's correctness rests on is `put_if_absent`; `store_probe` tells a store that only pretends to
honour it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import obstore
import pyarrow as pa
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore

from import_platform.errors import ConfigError, StoreUnavailable
from import_platform.io.store_streams import Reader, Writer
from import_platform.s3 import NO_BUCKET, S3Access

UPLOAD_PART_BYTES = 8 << 20
UPLOAD_PARTS = 2
"""Parts of one file under way at once; each is held until the store has it, so a slow one slows the writer down."""

READ_BUFFER_BYTES = 1 << 20
WHOLE_BYTES = 4 << 20
"""Remote objects up to this size are fetched by one request; a request costs as much time as a megabyte does."""


REQUESTS = 16
"""Requests under way at once to a remote store, where threads wait more than they work."""

PAGE = 1000
"""Objects that S3 lists, or deletes, by one request."""

TRIES = 4
PATIENCE_SECONDS = 60.0
"""The client repeats requests by itself for up to three minutes, but not those whose answer broke off. They are sent so
often, and not again once this has passed: then it was an outage, and the run ends with a sentence."""

_MISREAD = re.compile(r"[%\\\[\]^|\x00-\x1f\x7f]")
_MISREAD_SHOWN = "% \\ [ ] ^ | and control characters"
"""deltalake 1.6.6 and DuckDB read `a%20b` and `a\\b` in other folders, and deltalake panics at the others."""

_BUCKET_ADDRESS = re.compile(rf"s3://[A-Za-z0-9][A-Za-z0-9._-]*(/(?!\.{{1,2}}(/|$))(?:(?!{_MISREAD.pattern})[^/#?])+)*")
"""What obstore, deltalake and DuckDB all take for the same place: each undoes and cuts addresses in its own way."""


T = TypeVar("T")


class Inputs(Protocol):
    """What objects are opened from for reading."""

    def open_input(self, path: str) -> pa.NativeFile: ...


LAKE = "IMPORT_PLATFORM_LAKE"
"""The setting that says where the lake is."""


@dataclass(frozen=True)
class Entry:
    """One stored object; `path` is relative to the store's root."""

    path: str
    size_bytes: int
    modified_at: datetime


class Store:
    """Objects by relative path. Every method raises StoreUnavailable when the store does not answer (retry later)
    and ConfigError when it refuses (fix credentials, bucket or permissions)."""

    def __init__(self, uri: str, *, env: Mapping[str, str] | None = None, setting: str = LAKE) -> None:
        """`setting` is where a person wrote the address; errors send them there."""
        self.uri = uri.rstrip("/")
        self._setting = setting
        self._kind = "lake" if setting == LAKE else "folder"
        self.is_local = "://" not in uri
        self._access: S3Access | None = None
        if self.is_local:
            self._root = Path(self.uri).absolute()
            self.uri = str(self._root)
            if setting == LAKE and (misread := _MISREAD.search(self.uri)):
                raise ConfigError(
                    "the lake's path holds a character that Delta's libraries misread",
                    lake=self.uri,
                    found=misread[0],
                    remedy=f"Set {setting} to a path without {_MISREAD_SHOWN}.",
                )
            self._make_root()
            self._store: Any = LocalStore(str(self._root), mkdir=True)
        elif uri.startswith("s3://"):
            if not _BUCKET_ADDRESS.fullmatch(self.uri):
                raise ConfigError(
                    "the address does not name a bucket and a folder in it",
                    remedy=f"Set {setting} to s3://bucket/prefix without empty or dotted parts, # ? {_MISREAD_SHOWN}.",
                )
            self._access = S3Access(env)
            self._store = self._access.bucket(self.uri)
        else:
            raise ConfigError(
                "the address is neither a folder nor an s3:// address",
                found=uri.split("://", maxsplit=1)[0] + "://",
                remedy=f"Set {setting} to a path or to s3://bucket/prefix.",
            )

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    @property
    def storage_options(self) -> dict[str, str]:
        """What deltalake is told; nothing of a local store. The keys are those of now: ask again rather than keep them.

        Raises as `S3Access.keys`."""
        return {} if self._access is None else self._access.storage_options()

    def _make_root(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                "the folder cannot be created",
                path=str(self._root),
                reason=error.strerror,
                remedy=f"Point {self._setting} at a folder you may write to.",
            ) from error

    def get(self, path: str) -> bytes | None:
        """The object's bytes, None if there is none."""
        with self._translated(path):
            try:
                return bytes(obstore.get(self._store, path).bytes())
            except FileNotFoundError as error:
                if NO_BUCKET in str(error):
                    raise
                return None

    def put(self, path: str, data: bytes) -> None:
        """Stores or replaces; readers see the old or the new object, never a part."""
        with self._translated(path):
            obstore.put(self._store, path, data)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """True if the object is ours, False if another was there. Of calls with different data exactly one gets True.

        A create whose answer got lost is sent again, and whatever the store says, these very bytes are ours.
        """

        def create() -> bool:
            try:
                obstore.put(self._store, path, data, mode="create")
            except AlreadyExistsError:
                return self.get(path) == data
            return True

        return self._patiently(path, create)

    def size_bytes(self, path: str) -> int | None:
        with self._translated(path):
            try:
                return int(obstore.head(self._store, path)["size"])
            except FileNotFoundError:
                return None

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Objects under a folder, any depth, in no order; nothing when the folder does not exist."""
        if self.is_local:
            with self._translated(prefix):
                for page in obstore.list(self._store, prefix):
                    yield from map(_entry, page)
            return
        found: list[Entry] | None = None
        while found is None or len(found) == PAGE:
            found = self._patiently(prefix, partial(self._page, prefix, found[-1].path if found else None))
            yield from found

    def _page(self, prefix: str, after: str | None) -> list[Entry]:
        """The next objects in order: a listing that broke off goes on behind what it had shown."""
        return [_entry(meta) for meta in next(obstore.list(self._store, prefix, offset=after, chunk_size=PAGE), ())]

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly under a folder."""
        found = self._patiently(prefix, lambda: obstore.list_with_delimiter(self._store, prefix or None))
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def delete(self, paths: Iterable[str]) -> None:
        """Deletes; a path that is already gone is no error."""
        if not self.is_local:
            self._delete_many(list(paths))
            return
        for path in paths:
            with self._translated(path), suppress(FileNotFoundError):
                obstore.delete(self._store, path)

    def _delete_many(self, paths: list[str]) -> None:
        for at in range(0, len(paths), PAGE):
            some = paths[at : at + PAGE]
            self._patiently(some[0], partial(obstore.delete, self._store, some))

    def remove_folder(self, prefix: str) -> None:
        """Deletes every object under a folder (and, on a local disk, the empty folders that remain)."""
        self.delete(entry.path for entry in list(self.entries(prefix)))
        if self.is_local:
            root = self._root / prefix
            for folder in [*sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True), root]:
                with suppress(OSError):  # gone already, or another process has just put something there
                    folder.rmdir()

    def open_input(self, path: str) -> pa.NativeFile:
        """A seekable file for pyarrow. Local files are read, not mapped: mapped pages would count as our memory."""
        if self.is_local:
            try:
                return pa.OSFile(str(self._root / path))
            except FileNotFoundError as error:
                raise StoreUnavailable("an object is gone", path=path, remedy="Run the sync again.") from error
        with self._translated(path):
            found = obstore.get(self._store, path)
            if found.meta["size"] <= WHOLE_BYTES:
                return pa.BufferReader(pa.py_buffer(memoryview(found.bytes())))
            reader = obstore.open_reader(self._store, path, buffer_size=READ_BUFFER_BYTES)
        return pa.PythonFile(Reader(reader, partial(self._translated, path)), mode="r")

    @contextmanager
    def open_output(self, path: str) -> Iterator[pa.NativeFile]:
        """A file to write once. On S3 a multipart upload that becomes visible whole when the block ends."""
        with self._translated(path):
            if self.is_local:
                target = self._root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with pa.OSFile(str(target), mode="wb") as sink:
                    yield sink
                return
            yield from self._uploaded(path)

    def _uploaded(self, path: str) -> Iterator[pa.NativeFile]:
        """An error in the block makes no object: half a file under its name would be taken for a whole one."""
        upload = obstore.open_writer(self._store, path, buffer_size=UPLOAD_PART_BYTES, max_concurrency=UPLOAD_PARTS)
        writer = Writer(upload)
        sink = pa.PythonFile(writer, mode="w")
        try:
            yield sink
        except BaseException:
            writer.give_up()
            raise
        try:
            sink.close()
        except (BaseError, OSError):
            # The answer to the last request may be what got lost; asked again, S3 knows of no such upload any more.
            if self.size_bytes(path) != writer.written_bytes:
                raise

    def local_path(self, path: str) -> Path | None:
        """Where the object lies on this machine's disk; None on a remote store."""
        return self._root / path if self.is_local else None

    def _patiently(self, path: str, request: Callable[[], T]) -> T:
        """What the request answers; it is sent again where its answer got lost, so it must bear that."""
        started = time.monotonic()
        for left in range(TRIES - 1, -1, -1):
            with self._translated(path):
                try:
                    return request()
                except GenericError as error:  # refusals are errors of other kinds
                    is_over = not left or time.monotonic() - started > PATIENCE_SECONDS
                    if self.is_local or is_over or NO_BUCKET in str(error):
                        raise
            time.sleep(0.1 * (TRIES - left))
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            self._raise_for_keys()
            raise ConfigError(
                f"the {self._kind} refuses access",
                **{self._kind: self.uri},
                path=path,
                remedy=f"Check the credentials and permissions of {self._setting}.",
            ) from error
        except (BaseError, OSError) as error:
            self._raise_for_keys()
            self.refuse_missing_bucket(error)
            if "Permission denied" in str(error):
                raise ConfigError(
                    f"the {self._kind} cannot be written",
                    **{self._kind: self.uri},
                    path=path,
                    remedy=f"Check the permissions of {self._setting}.",
                ) from error
            reason = str(error).splitlines()[0][:200]
            raise StoreUnavailable(
                f"the {self._kind}'s store did not answer",
                **{self._kind: self.uri},
                path=path,
                reason=reason,
                remedy="Check that it is reachable; the next run goes on.",
            ) from error

    def refuse_missing_bucket(self, error: BaseException) -> None:
        """Raises ConfigError where this error of obstore, deltalake or Polars says that there is no such bucket."""
        if NO_BUCKET in str(error):
            raise ConfigError(
                "the bucket does not exist",
                **{self._kind: self.uri},
                remedy=f"Create it, or correct {self._setting} and the endpoint.",
            ) from error

    def _raise_for_keys(self) -> None:
        """Where the keys are what failed: obstore hands on no more than a text."""
        if self._access is not None and self._access.failure is not None:
            raise self._access.failure from None


def _entry(meta: Mapping[str, Any]) -> Entry:
    return Entry(str(meta["path"]), int(meta["size"]), meta["last_modified"])

"""Where files lie: this machine's disk, or a bucket of S3 as boto3 would reach it. See also `web`."""

from __future__ import annotations

import fnmatch
import glob
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable, StoreUnavailable
from import_platform.s3 import NO_BUCKET, S3Access

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Found:
    """A file as it is now. `tag` is its etag, or the time of its last change where there is none."""

    path: str
    size_bytes: int
    tag: str
    modified_at: datetime


class Place(Protocol):
    """Methods raise SourceUnavailable (try later) and SourceRejected (permissions)."""

    def found(self) -> list[Found]:
        """The files of the pattern, in no order."""
        ...

    def look(self, path: str) -> Found | None:
        """One file as it is now; None when it is gone."""
        ...

    def open(self, path: str) -> BinaryIO:
        """To read and seek."""
        ...


def place_of(pattern: str, *, env: Mapping[str, str] | None = None) -> Place:
    """Raises ConfigError for an address that is neither a path nor s3://."""
    if pattern.startswith("s3://"):
        return _Bucket(pattern, S3Access(env))
    if "://" in pattern:
        raise ConfigError(
            "the files are neither on this machine nor on S3 nor behind http(s)",
            found=pattern.split("://", maxsplit=1)[0] + "://",
            remedy="Write a path, s3://bucket/prefix/*.csv, or the https:// address of each file.",
        )
    return _Disk(pattern)


class _Disk:
    def __init__(self, pattern: str) -> None:
        self._pattern = str(Path(pattern).expanduser())

    def found(self) -> list[Found]:
        paths = glob.glob(self._pattern, recursive=True)  # noqa: PTH207  it may be absolute
        return [found for path in paths if Path(path).is_file() and (found := self.look(path)) is not None]

    def look(self, path: str) -> Found | None:
        try:
            told = Path(path).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(path, error) from None
        at = datetime.fromtimestamp(told.st_mtime, UTC)
        return Found(path, told.st_size, f"{told.st_mtime_ns}", at)

    def open(self, path: str) -> BinaryIO:
        try:
            return Path(path).open("rb")
        except OSError as error:
            raise _refused(path, error) from None


class _Bucket:
    def __init__(self, pattern: str, access: S3Access) -> None:
        bucket, _, self._pattern = pattern.removeprefix("s3://").partition("/")
        self._bucket = f"s3://{bucket}"
        self._access = access
        self._store: Any = access.bucket(self._bucket)

    def found(self) -> list[Found]:
        fixed = self._pattern[: min((self._pattern.find(s) for s in "*?[" if s in self._pattern), default=None)]
        folder = fixed.rpartition("/")[0]
        with self._translated(self._pattern):
            every = [self._told(meta) for page in obstore.list(self._store, folder or None) for meta in page]
        return [found for found in every if fnmatch.fnmatchcase(self._key(found.path), self._pattern)]

    def look(self, path: str) -> Found | None:
        with self._translated(path):
            try:
                return self._told(obstore.head(self._store, self._key(path)))
            except FileNotFoundError:
                return None

    def open(self, path: str) -> BinaryIO:
        with self._translated(path):
            reader = obstore.open_reader(self._store, self._key(path), buffer_size=READ_BYTES)
        return cast("BinaryIO", _Object(reader, self, path))

    def _told(self, meta: Any) -> Found:
        tag = str(meta.get("e_tag") or meta["last_modified"].isoformat())
        return Found(f"{self._bucket}/{meta['path']}", int(meta["size"]), tag, meta["last_modified"])

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self._bucket}/")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError):
            self._raise_for_keys()
            raise SourceRejected(
                "the bucket refuses us", path=path, remedy="Check the AWS_* variables and the bucket's policy."
            ) from None
        except (BaseError, OSError) as error:  # OSError: what a reader raises whose store does not answer any more
            self._raise_for_keys()
            if NO_BUCKET in str(error):
                raise SourceRejected(
                    "the bucket does not exist", bucket=self._bucket, remedy="Correct pattern and the endpoint."
                ) from None
            raise SourceUnavailable(
                "the bucket did not answer", path=path, said=type(error).__name__, remedy="Run the sync again."
            ) from None

    def _raise_for_keys(self) -> None:
        """Where the keys are what failed: obstore hands on no more than a text."""
        failure = self._access.failure
        if isinstance(failure, StoreUnavailable):
            raise SourceUnavailable(failure.message, **failure.facts, remedy=failure.remedy) from None
        if failure is not None:
            raise failure from None


class _Object(io.RawIOBase):
    """An object of a bucket as Python's file object: `io` and zipfile ask for these."""

    def __init__(self, reader: Any, bucket: _Bucket, path: str) -> None:
        self._reader = reader
        self._bucket = bucket
        self._path = path

    def read(self, size: int = -1) -> bytes:
        with self._bucket._translated(self._path):  # noqa: SLF001  one module, one owner
            return bytes(self._reader.read(None if size < 0 else size))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._reader.close()


def _refused(path: str, error: OSError) -> SourceRejected | SourceUnavailable:
    if isinstance(error, FileNotFoundError):
        return SourceUnavailable("a file went away", path=path, remedy="Run the sync again.")
    return SourceRejected(
        "a file may not be read", path=path, reason=error.strerror, remedy="Let this user read the file."
    )

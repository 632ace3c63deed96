"""What a server says of one version of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Told:
    """`etag` without the mark of a weak one; `is_strong` says that it stands for every byte."""

    size_bytes: int
    etag: str | None
    is_strong: bool
    modified: str | None
    has_no_ranges: bool

    @classmethod
    def of(cls, headers: Mapping[str, str], size_bytes: int) -> Told:
        etag = headers.get("ETag", "").strip()
        no_ranges = headers.get("Accept-Ranges", "").strip().lower() == "none"
        plain = etag.removeprefix("W/")
        return cls(size_bytes, plain or None, bool(etag) and plain == etag, headers.get("Last-Modified"), no_ranges)

    @property
    def tag(self) -> str:
        """Of the manifest, beside the size."""
        return self.etag or self.modified or "size"

    @property
    def is_by_size(self) -> bool:
        return self.etag is None and self.modified is None

    def is_of(self, headers: Mapping[str, str], size_bytes: int | None) -> bool:
        """An answer with these headers is about this version, as far as it says. An etag outweighs a date, because
        servers behind one address often differ in dates."""
        other = Told.of(headers, -1 if size_bytes is None else size_bytes)
        if size_bytes is not None and size_bytes != self.size_bytes:
            return False
        if self.etag is not None and other.etag is not None:
            return self.etag == other.etag
        return self.modified is None or other.modified is None or self.modified == other.modified

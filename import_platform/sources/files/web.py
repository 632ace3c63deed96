"""Files behind http:// and https://: what a server says of each, and one version of one as a file object."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import BinaryIO, cast

from requests import Response

from import_platform.errors import SourceRejected
from import_platform.sources.files.places import Found
from import_platform.sources.files.web_read import WebFile
from import_platform.sources.files.web_session import WebSession
from import_platform.sources.files.web_told import Told
from import_platform.sources.files.web_words import Web

_TOTAL = re.compile(r"bytes\s+(?:\d+-\d+|\*)/(\d+)", re.IGNORECASE)
_log = logging.getLogger(__name__)


class WebPlace:
    """The declared addresses of one table. A file is read as it was when it was looked at last, or not at all."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._session = WebSession(web.http, next(iter(web.urls.values()), ""))
        self._told: dict[str, Told] = {}

    def found(self) -> list[Found]:
        """Raises SourceRejected where an address has no file: it was declared, so it is missed."""
        every = []
        for name in self._web.urls:
            found = self.look(name)
            if found is None:
                raise SourceRejected(
                    "the server has no such file", path=name, remedy="Correct the address, or take it off the list."
                )
            every.append(found)
        return every

    def look(self, path: str) -> Found | None:
        url = self._web.urls.get(path)
        told = None if url is None else self._ask(path, url)
        if told is None:
            self._told.pop(path, None)
            return None
        if path not in self._told and told.is_by_size:
            _log.warning("the server tells no version of %s: only a change of its size is seen", path)
        self._told[path] = told
        at = datetime.fromtimestamp(0, UTC) if told.modified is None else _date(told.modified)
        return Found(path, told.size_bytes, told.tag, at)

    def open(self, path: str) -> BinaryIO:
        if path not in self._told and self.look(path) is None:
            raise SourceRejected("the server has no such file", path=path, remedy="Correct the address.")
        return cast("BinaryIO", WebFile(self._session, path, self._web.urls[path], self._told[path]))

    def close(self) -> None:
        self._session.close()

    def _ask(self, name: str, url: str) -> Told | None:
        """By HEAD; by a GET of one byte where HEAD is refused or says too little."""
        with self._session.ask(name, url, method="HEAD") as head:
            size = _length(head.headers)
            if head.status_code == 200 and size:
                return Told.of(head.headers, size)
        with self._session.ask(name, url, headers={"Range": "bytes=0-0"}) as one:
            if one.status_code in (404, 410):
                return None
            size = self._size(name, one)
            if size is None:
                raise SourceRejected(
                    "the server does not tell how large a file is",
                    path=name,
                    remedy="Copy the file to S3 or to disk, or let the server send Content-Length.",
                )
            return Told.of(one.headers, size)

    def _size(self, name: str, one: Response) -> int | None:
        if one.status_code in (206, 416):
            total = _TOTAL.fullmatch(one.headers.get("Content-Range", "").strip())
            # A range of nothing: servers answer so to an empty file.
            return int(total[1]) if total else 0 if one.status_code == 416 else None
        if one.status_code == 200:
            return _length(one.headers)
        remedy = "Correct the address, or auth and headers under http." if one.status_code < 500 else "Ask its owner."
        raise SourceRejected("the server refuses a file", path=name, status=one.status_code, remedy=remedy)


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isdigit() else None


def _date(text: str) -> datetime:
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at

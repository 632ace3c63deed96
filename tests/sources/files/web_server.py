"""A web server on 127.0.0.1 with files that change, break off, and are given whole or in ranges."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


@dataclass
class Served:
    """One file. `etag` and `modified` are left out where they are None; `head` False refuses HEAD."""

    data: bytes
    etag: str | None = None
    modified: str | None = None
    ranges: bool = True
    head: bool = True


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class WebServer:
    """`faults` are statuses with headers given first, `cuts` the bytes after which the next bodies break off. With a
    `certificate` and its key it speaks TLS; of the first `hangups` connections nothing is answered."""

    files: dict[str, Served] = field(default_factory=dict)
    faults: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    cuts: deque[int] = field(default_factory=deque)
    before: Callable[[Asked], None] | None = None
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    certificate: Path | None = None
    hangups: int = 0

    def __post_init__(self) -> None:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def gets(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if (asked.method, asked.path.partition("?")[0]) == ("GET", path)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, web: WebServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.web = web
        self._tls: ssl.SSLContext | None = None
        if web.certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(web.certificate)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Raises OSError, after which the server waits for the next one."""
        connection, address = super().get_request()
        if self.web.hangups:
            self.web.hangups -= 1
            connection.close()
            raise OSError
        # Who is greeted is for a thread of its own.
        wrap = self._tls and self._tls.wrap_socket
        return (wrap(connection, server_side=True, do_handshake_on_connect=False) if wrap else connection), address

    def handle_error(self, *_: object) -> None:
        """A client that hangs up in the middle of a body is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._web.connections += 1

    def do_GET(self) -> None:
        web, path = self._web, self.path.partition("?")[0]
        asked = Asked(self.command, self.path, dict(self.headers.items()))
        web.asked.append(asked)
        if web.before is not None:
            web.before(asked)
        if web.faults:
            return self._answer(*web.faults.popleft(), b"")
        if path in web.redirects:
            return self._answer(302, {"Location": web.redirects[path]}, b"")
        found = web.files.get(path)
        if found is None:
            return self._answer(404, {}, b"no such file")
        if self.command == "HEAD" and not found.head:
            return self._answer(405, {}, b"")
        return self._file(found)

    do_HEAD = do_GET  # noqa: N815

    @property
    def _web(self) -> WebServer:
        assert isinstance(self.server, _Server)
        return self.server.web

    def _file(self, found: Served) -> None:
        said = {"ETag": found.etag, "Last-Modified": found.modified}
        headers = {name: value for name, value in said.items() if value is not None}
        if self.headers.get("If-Match", found.etag) != found.etag:
            return self._answer(412, {}, b"")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, found.etag)
        if asked is None or not found.ranges or not same:
            return self._answer(200, headers, found.data)
        begin, end = int(asked[1]), min(int(asked[2] or 1 << 60), len(found.data) - 1)
        if begin > end:
            return self._answer(416, {"Content-Range": f"bytes */{len(found.data)}"}, b"")
        headers["Content-Range"] = f"bytes {begin}-{end}/{len(found.data)}"
        return self._answer(206, headers, found.data[begin : end + 1])

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = self._web.cuts
        cut = cuts.popleft() if cuts and status in (200, 206) and len(body) > 1 else None
        self.wfile.write(body if cut is None else body[:cut])
        self.wfile.flush()
        self.close_connection = self.close_connection or cut is not None

    def log_message(self, *_: Any) -> None: ...

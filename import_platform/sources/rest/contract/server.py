"""An HTTP server on 127.0.0.1 that answers as it is told: what a contract is tried against."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]
    at: float


@dataclass
class LocalServer:
    """Runs in a thread. `faults` are answers given instead, one per request; `refuse` may answer in place of any
    request. Mutable: whoever tries something changes what it answers."""

    latency_seconds: float = 0.0
    faults: deque[Answer | None] = field(default_factory=deque)
    refuse: Callable[[Asked], Answer | None] | None = None
    asked: list[Asked] = field(default_factory=list)
    keep_log: bool = True
    port: int = 0

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve_forever(self) -> None:
        self._server.serve_forever()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, asked: Asked) -> Answer:
        """What is answered where nothing else was ordered."""
        raise NotImplementedError

    def answer(self, method: str, target: str, headers: dict[str, str], raw: bytes) -> Answer:
        parts = urlsplit(target)
        params = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {name: values[-1] for name, values in parse_qs(raw.decode()).items()}
        asked = Asked(method, parts.path, params, headers, body, time.time())
        if self.keep_log:
            self.asked.append(asked)
        if self.latency_seconds:
            time.sleep(self.latency_seconds)
        with self._lock:
            fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            return fault[0], dict(fault[1]), fault[2]
        if self.refuse is not None and (refused := self.refuse(asked)) is not None:
            return refused
        return self.page(asked)


def _handler(server: LocalServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length) if length else b""
            status, headers, body = server.answer(self.command, self.path, dict(self.headers.items()), raw)
            self.send_response(status)
            cut = headers.pop("X-Cut", None)
            self.send_header("Content-Type", headers.pop("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: int(cut)] if cut else body)
            self.wfile.flush()
            if cut:
                self.close_connection = True

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    return Handler


def ok(body: Any, headers: dict[str, str] | None = None) -> Answer:
    return 200, dict(headers or {}), json.dumps(body).encode()


def status(code: int, headers: dict[str, str] | None = None, body: str = '{"error": "no"}') -> Answer:
    return code, dict(headers or {}), body.encode()

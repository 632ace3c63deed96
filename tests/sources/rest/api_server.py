"""A local HTTP server that behaves like an API: pages in every style, rate limits, failures, data that changes.

Runs in a thread (`ApiServer`) or as a process (`python -m tests.sources.rest.api_server`, prints its port).
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

Rows = list[dict[str, Any]]
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
class Listed:
    """One list: its rows (or what gives them, from the request), and how it is paged."""

    rows: Rows | Callable[[Asked], Rows]
    style: str = "page_number"
    per_page: int = 100
    since: str | None = None  # parameter: only rows with `cursor` >= its value
    until: str | None = None
    cursor: str = "updated_at"
    token: Callable[[int], str] = str
    newest_first: bool = False


@dataclass
class ApiServer:
    """`faults` are answers given instead, one per request; `refuse` may answer in place of any request."""

    lists: dict[str, Listed] = field(default_factory=dict)
    latency_seconds: float = 0.0
    faults: deque[Answer | None] = field(default_factory=deque)
    refuse: Callable[[Asked], Answer | None] | None = None
    asked: list[Asked] = field(default_factory=list)
    keep_log: bool = True
    port: int = 0

    def __post_init__(self) -> None:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length) if length else b""
                answer = api.answer(self.command, self.path, dict(self.headers.items()), raw)
                status, headers, body = answer
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

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
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
        found = self.lists.get(parts.path) or self._pattern(parts.path)
        if found is None:
            return 404, {}, b'{"error": "no such path"}'
        return self._page(found, asked)

    def _pattern(self, path: str) -> Listed | None:
        return next((v for k, v in self.lists.items() if k.startswith("^") and re.fullmatch(k[1:], path)), None)

    def _page(self, spec: Listed, asked: Asked) -> Answer:
        rows = spec.rows(asked) if callable(spec.rows) else spec.rows
        said = {**asked.params, **asked.body}
        if spec.since and said.get(spec.since):
            rows = [row for row in rows if str(row[spec.cursor]) >= str(said[spec.since])]
        if spec.until and said.get(spec.until):
            rows = [row for row in rows if str(row[spec.cursor]) <= str(said[spec.until])]
        return getattr(self, f"_{spec.style}")(spec, rows, asked, said)

    def _single_page(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        return ok(rows)

    def _page_number(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        start = (int(said.get("page", 1)) - 1) * spec.per_page
        return ok({"data": rows[start : start + spec.per_page], "pages": -(-len(rows) // spec.per_page)})

    def _offset(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        start, limit = int(said.get("offset", 0)), int(said.get("limit", spec.per_page))
        return ok({"data": rows[start : start + limit], "total": len(rows)})

    def _cursor(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        start = int(str(said.get("cursor") or "0").removeprefix("c"))
        end = start + spec.per_page
        return ok({"data": rows[start:end], "next": f"c{end}" if end < len(rows) else None})

    def _after_key(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        """As Stripe does: the last row's id is the token, and stays good while rows come and go."""
        start = 0
        if said.get("starting_after"):
            ids = [row["id"] for row in rows]
            if said["starting_after"] not in map(str, ids):
                return 400, {}, b'{"error": {"message": "No such object"}}'
            start = [str(i) for i in ids].index(said["starting_after"]) + 1
        limit = int(said.get("limit", spec.per_page))
        return ok({"object": "list", "data": rows[start : start + limit], "has_more": start + limit < len(rows)})

    def _keyset(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        """The first rows after an id that the request names; `rows` left out those before it."""
        return ok({"data": rows[: spec.per_page]})

    def _header_cursor(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        start = int(said.get("cursor") or 0)
        end = start + spec.per_page
        return ok(rows[start:end], {"X-Next": str(end)} if end < len(rows) else {})

    def _header_link(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        page = int(said.get("page", 1))
        end = page * spec.per_page
        link = self._link(asked, page=page + 1)
        return ok(rows[end - spec.per_page : end], {"Link": f'<{link}>; rel="next"'} if end < len(rows) else {})

    def _json_link(self, spec: Listed, rows: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        page = int(said.get("page", 1))
        end = page * spec.per_page
        link = self._link(asked, page=page + 1) if end < len(rows) else None
        return ok({"data": rows[end - spec.per_page : end], "links": {"next": link}})

    def _link(self, asked: Asked, **changed: Any) -> str:
        return f"{self.url}{asked.path}?{urlencode({**asked.params, **changed})}"


def ok(body: Any, headers: dict[str, str] | None = None) -> Answer:
    return 200, dict(headers or {}), json.dumps(body).encode()


def status(code: int, headers: dict[str, str] | None = None, body: str = '{"error": "no"}') -> Answer:
    return code, dict(headers or {}), body.encode()


def main() -> None:
    """Serves invoices whose text is made once: `api_server.py ROWS STYLE LATENCY`."""
    count, style, latency = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    server = ApiServer(latency_seconds=latency, keep_log=False)
    pages: dict[int, bytes] = {}

    def rows(asked: Asked) -> Rows:
        raise AssertionError

    def page(spec: Listed, _: Rows, asked: Asked, said: dict[str, Any]) -> Answer:
        start = int(said.get("offset", 0))
        if start not in pages:
            data = [invoice(n) for n in range(start, min(start + spec.per_page, count))]
            pages[start] = json.dumps({"data": data, "total": count}).encode()
        return 200, {}, pages[start]

    asked = 0

    def counted(request: Asked) -> Answer | None:
        nonlocal asked
        if request.path == "/_asked":
            return ok({"asked": asked})
        asked += 1
        return None

    server.refuse = counted
    server._offset = page  # type: ignore[method-assign]
    server.lists["/invoices"] = Listed([], "offset")
    if style == "children":
        server.latency_seconds = 0.0
        server.lists["^/invoices/[^/]+/lines"] = Listed(lambda asked: lines(asked, latency), "single_page")
        server._single_page = lambda spec, rows, asked, said: ok({"data": rows})  # type: ignore[method-assign]
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


def lines(asked: Asked, latency: float) -> Rows:
    time.sleep(latency)
    invoice_id = asked.path.split("/")[2]
    return [{"id": f"l{invoice_id}_{k}", "amount": k, "text": f"line {k}"} for k in range(3)]


def invoice(n: int) -> dict[str, Any]:
    return {
        "id": n,
        "customer": f"cus_{n % 977:06d}",
        "status": ("paid", "open", "void")[n % 3],
        "amount_due": n * 7 % 100_000,
        "rate": n / 8,
        "currency": "eur",
        "created": f"2025-{n % 12 + 1:02d}-{n % 28 + 1:02d}T{n % 24:02d}:00:00Z",
        "livemode": n % 2 == 0,
        "metadata": {"order": str(n), "tags": ["a", "b"]},
        "description": f"Invoice {n} for services rendered",
    }


if __name__ == "__main__":
    main()

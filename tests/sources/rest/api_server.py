"""A local HTTP server that behaves like an API: pages in every style, rate limits, failures, data that changes.

Runs in a thread (`ApiServer`) or as a process (`python -m tests.sources.rest.api_server`, prints its port).
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from import_platform.sources.rest.contract.server import Answer, Asked, LocalServer, ok, status

__all__ = ["Answer", "ApiServer", "Asked", "Listed", "Rows", "ok", "status"]

Rows = list[dict[str, Any]]


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
class ApiServer(LocalServer):
    """Lists by path, paged in the style that each says."""

    lists: dict[str, Listed] = field(default_factory=dict)

    def page(self, asked: Asked) -> Answer:
        found = self.lists.get(asked.path) or self._pattern(asked.path)
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

"""Stripe as its pages describe it: newest first, 100 at most, `starting_after`, events of the last 30 days, 429s."""

from __future__ import annotations

import time
from fnmatch import fnmatch
from typing import Any

from tests.sources.rest.api_server import ApiServer, Asked, Listed, status

START = 1_735_689_600
KEY = "sk_test_s3cr3t-token"


class FakeStripe:
    """Objects by kind, in order of creation. Every change leaves an event, as Stripe's do."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.objects: dict[str, dict[str, dict[str, Any]]] = {
            kind: {} for kind in ("customer", "charge", "invoice", "subscription")
        }
        self.lines: dict[str, list[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self.seconds_ago = 3600
        for kind in self.objects:
            server.lists[f"/{kind}s"] = Listed(lambda asked, kind=kind: self.newest(kind), "after_key")
        server.lists["/events"] = Listed(self._events, "after_key")
        server.lists["^/invoices/[^/]+/lines"] = Listed(lambda a: self.lines.get(a.path.split("/")[2], []), "after_key")
        server.refuse = self._refused

    def newest(self, kind: str) -> list[dict[str, Any]]:
        return list(self.objects[kind].values())[::-1]

    def add(self, kind: str, n: int, **fields: Any) -> dict[str, Any]:
        made = {"id": f"{kind[:2]}_{n:06d}", "object": kind, "created": START + n, "metadata": {}, **fields}
        self.objects[kind][made["id"]] = made
        self._tell(f"{kind}.created", made)
        return made

    def update(self, kind: str, id_: str, **fields: Any) -> None:
        self.objects[kind][id_] = {**self.objects[kind][id_], **fields}
        self._tell(f"{kind}.updated", self.objects[kind][id_])

    def delete(self, kind: str, id_: str) -> None:
        gone = self.objects[kind].pop(id_)
        self._tell(f"{kind}.deleted", {"id": id_, "object": kind, "created": gone["created"], "deleted": True})

    def _tell(self, type_: str, object_: dict[str, Any]) -> None:
        type_ = type_.replace("subscription.", "customer.subscription.")
        event = {
            "id": f"evt_{len(self.events):08d}",
            "object": "event",
            "created": int(time.time()) - self.seconds_ago,
            "type": type_,
        }
        self.events.append({**event, "data": {"object": object_}})

    def _events(self, asked: Asked) -> list[dict[str, Any]]:
        since, wanted = int(asked.params.get("created[gte]", 0)), asked.params.get("type", "*")
        return [e for e in self.events[::-1] if e["created"] >= since and fnmatch(e["type"], wanted)]

    def _refused(self, asked: Asked) -> Any:
        if asked.headers.get("Authorization") != f"Bearer {KEY}":
            return status(401, {}, '{"error": {"message": "Invalid API Key provided"}}')
        if int(asked.params.get("limit", 10)) > 100:
            return status(400, {}, '{"error": {"message": "limit is at most 100"}}')
        return None

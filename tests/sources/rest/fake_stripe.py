"""Stripe as its pages describe it: newest first, 100 at most, `starting_after`, events of the last 30 days, 429s."""

from __future__ import annotations

import sys
import time
from fnmatch import fnmatch
from typing import Any

from tests.sources.rest.api_server import ApiServer, Asked, Listed, ok, status

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


def main() -> None:
    """Serves objects for the demo and prints its port; `POST /_change` changes some, `GET /_facts` tells what there is."""
    server = ApiServer(latency_seconds=0.01, keep_log=False)
    stripe = FakeStripe(server)
    for n in range(4000):
        stripe.add("customer", n, email=f"{n}@example.com", balance=n % 500)
    for n in range(1500):
        stripe.add("invoice", n, customer=f"cu_{n % 4000:06d}", amount_due=n * 25)
        stripe.lines[f"in_{n:06d}"] = [{"id": f"il_{n}_{k}", "amount": k * 25} for k in range(n % 4)]
    stripe.seconds_ago = 0
    asked = 0

    def answer(request: Asked) -> Any:
        nonlocal asked
        if request.path == "/_change":
            for n in range(3, 1500, 100):
                stripe.lines[f"in_{n:06d}"] = [{"id": f"il_{n}_new", "amount": 7}]
                stripe.update("invoice", f"in_{n:06d}", amount_due=7)
                stripe.update("customer", f"cu_{n:06d}", balance=-1)
            stripe.delete("customer", "cu_000001")
            stripe.add("customer", 9000, email="new@example.com", balance=0)
            return ok({})
        if request.path == "/_facts":
            lines = [line for found in stripe.lines.values() for line in found]
            customers = stripe.objects["customer"].values()
            return ok({
                "asked": asked,
                "customers": [len(customers), sum(c["balance"] for c in customers)],
                "invoices": [1500, sum(i["amount_due"] for i in stripe.objects["invoice"].values())],
                "invoice_line_items": [len(lines), sum(line["amount"] for line in lines)],
            })  # fmt: skip
        asked += 1
        return stripe._refused(request)

    server.refuse = answer
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()

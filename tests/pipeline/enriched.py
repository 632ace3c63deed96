"""An endpoint that enriches rows, and tables that ask it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from import_platform.core.enrichment import Enrichment, Output, cache_id
from import_platform.sources.rest.contract.server import Answer, Asked, LocalServer, ok

OUTPUTS = (Output("lat", pa.float64(), ("lat",)), Output("town", pa.string(), ("place", "town")))


@dataclass
class Geocoder(LocalServer):
    """Answers a POST of `[{text}]` row by row; `bad` says for which texts the whole request is refused with 400."""

    bad: Callable[[str], bool] = lambda text: False
    texts: list[str] = field(default_factory=list)

    def page(self, asked: Asked) -> Answer:
        rows: Any = asked.body if asked.method == "POST" else [asked.params]
        texts = [row["text"] for row in rows]
        self.texts += texts
        if any(self.bad(text) for text in texts):
            return 400, {}, b'{"error": "bad address"}'
        found = [{"lat": float(len(text)), "place": {"town": text.upper()}} for text in texts]
        return ok(found if asked.method == "POST" else found[0])


def enrichment(call: dict[str, Any], **options: Any) -> Enrichment:
    """Named `geo`: sends `text` and fills `lat` and `town`."""
    named = {"batch_rows": 10, "retries": 0, "timeout_seconds": 20.0} | options
    outputs = named.pop("outputs", OUTPUTS)
    return Enrichment("geo", ("text",), ("text",), outputs, cache_id(call, "t", "t", outputs), call, **named)


def locate(rows: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """What a project may write: a list of dicts in, one answer per row out."""
    return [{"lat": "52.5", "place": {"town": row["text"]}} if row["text"] != "x1" else None for row in rows]


def short(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"lat": 1}]


def failing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if any(row["text"] == "x7" for row in rows):
        raise ValueError("x7 is a value of a row")
    return [{"lat": 1} for _ in rows]


def endless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:

    threading.Event().wait()
    return []


def wrong(rows: list[dict[str, Any]]) -> list[Any]:
    """One of each kind of answer that does not fit."""
    return [{"lat": "north"}, 5, {"error": "unknown"}, [], {"lat": 1, "place": None}]

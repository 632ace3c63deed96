"""One JSON document posted to an address that is itself a secret: it stands in no message, log or repr."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = (3.0, 7.0)
"""To connect, and to wait for the answer: a tick of a sensor is killed after a minute."""


@dataclass(frozen=True)
class Posted:
    """`refused` is None for an answer of 2xx, else why it counts as not delivered; `wait_seconds` what it asked for."""

    refused: str | None = None
    wait_seconds: float | None = None


def post_json(url: str, document: Mapping[str, Any]) -> Posted:
    """Posts once and follows no redirect; never raises for what the other side does. The answer's body is not read."""
    import requests  # noqa: PLC0415  40 ms that definitions of a project without webhooks need not pay

    try:
        with requests.post(url, json=document, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True) as answer:
            if answer.ok and answer.status_code < 300:
                return Posted()
            return Posted(f"it answered {answer.status_code}", _seconds(answer.headers.get("Retry-After")))
    except (requests.RequestException, ValueError) as error:  # its text would quote the address
        return Posted(f"it could not be reached ({type(error).__name__})")


def _seconds(text: str | None) -> float | None:
    with contextlib.suppress(ValueError, TypeError):
        return float(text or "")
    return None

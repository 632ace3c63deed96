"""What was asked and answered when something went wrong, with every secret blotted out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from requests import PreparedRequest, Response

HIDDEN = "***"
BODY_CHARACTERS_MAX = 20_000
_TELLING = re.compile(r"auth|token|key|secret|password|cookie|session|signature|credential", re.IGNORECASE)


class Secrets:
    """The secret values of one API, for hiding them wherever they turn up. Its repr shows none."""

    def __init__(self, values: Iterator[str]) -> None:
        found = {value for value in values if value}
        self._values = sorted({*found, *(quote(value, safe="") for value in found)}, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)})"

    def are_in(self, text: Any) -> bool:
        value = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        return any(secret in value for secret in self._values)

    def hidden(self, text: str) -> str:
        for secret in self._values:
            text = text.replace(secret, HIDDEN)
        return text


@dataclass(frozen=True)
class Exchange:
    """One request and its answer as people may see them: no credentials, the answer cut."""

    method: str
    url: str
    request_headers: Mapping[str, str]
    status: int | None
    answer_headers: Mapping[str, str]
    answer: str

    @classmethod
    def of(cls, request: PreparedRequest, response: Response | None, secrets: Secrets) -> Exchange:
        return cls(
            str(request.method),
            _url(str(request.url), secrets),
            _headers(request.headers, secrets),
            response.status_code if response is not None else None,
            _headers(response.headers, secrets) if response is not None else {},
            "" if response is None else secrets.hidden(_start(response)),
        )


def _start(response: Response) -> str:
    return response.content[:BODY_CHARACTERS_MAX].decode("utf-8", "replace")


def _headers(headers: Mapping[str, Any], secrets: Secrets) -> dict[str, str]:
    return {
        name: HIDDEN if _TELLING.search(name) else secrets.hidden(str(value)) for name, value in dict(headers).items()
    }


def _url(url: str, secrets: Secrets) -> str:
    parts = urlsplit(url)
    query = [(name, HIDDEN if _TELLING.search(name) else value) for name, value in parse_qsl(parts.query)]
    return secrets.hidden(
        urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(query, safe="*"), ""))
    )

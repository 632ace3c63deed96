"""What was asked and answered when something went wrong, with every secret blotted out."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from requests import PreparedRequest, Response

HIDDEN = "***"
BODY_CHARACTERS_MAX = 20_000
LEAST_CHARACTERS = 6
"""A shorter part of a secret is a part of many words too."""

_TELLING = re.compile(r"auth|token|key|secret|password|cookie|session|signature|credential", re.IGNORECASE)


class Secrets:
    """The secret values of one API, for hiding them wherever they turn up. Its repr shows none."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = {spelling for value in values if value for spelling in _spellings(value)}

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)})"

    def are_in(self, text: Any) -> bool:
        value = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        return any(secret in value for secret in self._values)

    def hidden(self, text: str) -> str:
        for secret in sorted(self._values, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def and_sent(self, request: PreparedRequest) -> Secrets:
        """These, and the credentials of the request: a token that was fetched for it is declared nowhere."""
        sent = [str(value) for name, value in request.headers.items() if _TELLING.search(name)]
        words = [value.rpartition(" ")[2] for value in sent]  # without `Bearer`
        found = Secrets(word for word in words if len(word) >= LEAST_CHARACTERS)
        found._values |= self._values
        return found


def _spellings(value: str) -> Iterator[str]:
    """The ways in which an answer may give a secret back: as it is, quoted for a URL or JSON, inside a base64 text."""
    yield value
    yield quote(value, safe="")
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    raw = value.encode()
    for ahead in range(3):  # bytes before it, in the group of three in which it begins
        length = ahead + len(raw)
        # The characters that hold bits of nothing but the secret.
        begin, end = (0, 2, 3)[ahead], length // 3 * 4 + (0, 1, 2)[length % 3]
        for encode in (b64encode, urlsafe_b64encode):
            inside = encode(b"\0" * ahead + raw).decode()[begin:end]
            if len(inside) >= LEAST_CHARACTERS:
                yield inside


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
        secrets = secrets.and_sent(request)
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

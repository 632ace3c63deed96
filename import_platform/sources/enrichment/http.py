"""An HTTP endpoint asked for rows, by the session that reads APIs: time limits, retries, Retry-After, rate limit.

POST sends a JSON array with an object per row; GET asks for one row, whose values stand in the address or in `params`
as {column}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
from pydantic import ValidationError
from requests.adapters import HTTPAdapter

from import_platform.core.enrichment import Blame, Enrichment, Refusal
from import_platform.errors import ConfigError, ImportPlatformError, Interrupted, SourceUnavailable
from import_platform.sources.enrichment.caller import bucket_of, counted
from import_platform.sources.enrichment.shape import at_path
from import_platform.sources.http.evidence import Secrets
from import_platform.sources.http.session import HttpSession
from import_platform.sources.http.waiting import Patience
from import_platform.sources.http.words import Client

PLACE = re.compile(r"\{([^{}]+)\}")
ANSWER_BYTES_MAX = 32 << 20
_OF_ROWS = frozenset({400, 406, 409, 413, 414, 422})
_NOT_FOUND = frozenset({404, 410})


class HttpCaller:
    """One of `in_flight` callers. Memory: one answer, of at most 32 MiB among them all.

    Secrets are hidden wherever the session tells of a request.
    """

    def __init__(self, enrichment: Enrichment, patience: Patience) -> None:
        call = enrichment.call
        self._url, self._method = str(call["url"]), str(call.get("method", "POST"))
        self._params: Mapping[str, str] = call.get("params") or {}
        self._headers: Mapping[str, str] = call.get("headers") or {}
        self._answers = tuple(str(call["answers"]).split(".")) if call.get("answers") else ()
        root = "{0.scheme}://{0.netloc}".format(urlsplit(self._url))
        try:
            client = Client(base_url=root, retries=enrichment.retries, timeout=enrichment.timeout_seconds)
        except ValidationError:
            raise ConfigError(
                "the address of an enrichment is no URL",
                enrichment=enrichment.name,
                remedy="Write url: https://..., or correct the variable that it comes from.",
            ) from None
        hidden = [*self._headers.values(), *(value for value in self._params.values() if not PLACE.search(value))]
        words = [word for value in hidden for word in (value, value.rpartition(" ")[2]) if len(word) > 5]
        self._adapter = HTTPAdapter()
        self._session = HttpSession(
            client,
            self._adapter,
            patience=patience,
            bucket=bucket_of(enrichment, root),
            secrets=Secrets(words),
            body_bytes_max=ANSWER_BYTES_MAX // enrichment.in_flight,
        )
        self._patience = patience

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Any] | Refusal:
        self._patience.wait(0)
        try:
            body = self._get(rows[0]) if self._method == "GET" else self._post(rows)
        except Interrupted:
            raise
        except ImportPlatformError as error:
            return self._refusal(error)
        found = at_path(body, self._answers)
        return [found] if self._method == "GET" else counted(found, rows, "the endpoint")

    def close(self) -> None:
        self._session.close()
        self._adapter.close()

    def _post(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        body = orjson.dumps(list(rows), default=_text)
        headers = {**self._headers, "Content-Type": "application/json"}
        return self._session.request("POST", self._url, data=body, params=self._params, headers=headers).json()

    def _get(self, row: Mapping[str, Any]) -> Any:
        url = PLACE.sub(lambda match: quote(_put(match, row), safe=""), self._url)
        params = {name: PLACE.sub(lambda match: _put(match, row), text) for name, text in self._params.items()}
        return self._session.request("GET", url, params=params, headers=dict(self._headers)).json()

    def _refusal(self, error: ImportPlatformError) -> Refusal:
        status = error.facts.get("status")
        sentence = error.message
        if status is not None:
            sentence += f" (status {status})"
        rows = _OF_ROWS | _NOT_FOUND if self._method == "GET" else _OF_ROWS
        if status in rows:
            return Refusal(sentence, Blame.ROWS)
        later = isinstance(error, SourceUnavailable) and "retry_after_seconds" not in error.facts
        broken = status is not None and status < 400
        return Refusal(sentence, Blame.CALL if later or broken else Blame.OWNER)


def _put(match: re.Match[str], row: Mapping[str, Any]) -> str:
    if match[1] not in row:
        return match[0]
    value = row[match[1]]
    return "" if value is None else value if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)

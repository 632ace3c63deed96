"""What an answer of an API means: rows, a reason to wait, the owner's fault, or ours.

    status or failure                          outcome
    2xx with JSON                              rows, unless a response action says otherwise
    429, 5xx, 408, 425, 403 with a rate limit  busy: tried again, as long as Retry-After asks
    timeout, reset, cut answer                 busy
    401, 403                                   the owner has to act: credentials, permission
    400, 404, 410, 422, other 4xx              the owner has to act: path or parameters; an expired page token on resume
    HTML, text, JSON cut in the middle         busy, and after the last try the owner's

Rules of the source's YAML (`response_actions`) come first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from requests import Response

from import_platform.errors import ImportPlatformError, SourceRejected, SourceUnavailable
from import_platform.sources.http.words import ResponseAction
from import_platform.sources.json.paths import values_at
from import_platform.sources.json.typing import JsonNumber
from import_platform.sources.protocol import TokenExpired

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
LIMITED = frozenset({403, 408, 425, 429, 503, 529})
"""Those of them that ask for patience; the others say that the API broke."""
EXPIRED = frozenset({400, 404, 410, 422})
"""Statuses that may mean "this page token is no longer known" when the first request after a resume gets one."""


class Outcome(StrEnum):
    ROWS = "rows"
    BUSY = "busy"
    IGNORED = "ignored"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Verdict:
    """`body` is the parsed JSON of rows; `error` what to raise when there is nothing more to try."""

    outcome: Outcome
    body: Any = None
    error: ImportPlatformError | None = None


def judge(
    response: Response, actions: Sequence[ResponseAction], *, facts: Mapping[str, Any], exact_decimals: bool
) -> Verdict:
    status = response.status_code
    body, flaw = (None, None) if status >= 400 or status == 204 else parse(response, exact_decimals=exact_decimals)
    for action in actions:
        if _matches(action, response, body):
            return _by_rule(action, status, facts)
    if status in BUSY or (status == 403 and _is_limited(response)):
        return Verdict(Outcome.BUSY, error=_busy(status, facts))
    if status == 204:
        return Verdict(Outcome.ROWS, [])
    if status >= 400:
        return Verdict(Outcome.REJECTED, error=_refusal(status, facts))
    if flaw is not None:
        return Verdict(Outcome.BUSY, error=_broken(flaw, status, facts))
    return Verdict(Outcome.ROWS, body)


def parse(response: Response, *, exact_decimals: bool) -> tuple[Any, str | None]:
    """The JSON of an answer, or a sentence why there is none. Text that is not UTF-8 keeps its odd bytes as lone
    surrogates, so that only its rows are set apart. Of a field given twice the last counts."""
    content = response.content
    head = content[:200].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return None, "the API answered with HTML or XML instead of JSON"
    if not head:
        return None, "the API gave an empty answer instead of JSON"
    text = _text(content, response)
    try:
        return json.loads(text, parse_float=JsonNumber if exact_decimals else None), None
    except RecursionError:
        return None, "the API answered with JSON that is nested too deeply to be read"
    except ValueError as error:
        cut = getattr(error, "pos", 0) >= len(text) - 1 or "Unterminated" in str(error)
        return None, "the API's answer ends in the middle" if cut else "the API answered with something that is no JSON"


def _text(content: bytes, response: Response) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        charset = _charset(response)
        if charset not in ("", "utf-8", "utf8"):
            try:
                return content.decode(charset)
            except (LookupError, UnicodeDecodeError):
                pass
        return content.decode("utf-8", "surrogateescape")


def _charset(response: Response) -> str:
    """What the header really says: requests itself assumes Latin-1 for every text."""
    _, _, rest = response.headers.get("Content-Type", "").lower().partition("charset=")
    return rest.split(";")[0].strip().strip('"')


def _matches(action: ResponseAction, response: Response, body: Any) -> bool:
    status = response.status_code
    wanted = action.status_code
    if wanted is None and status >= 400 and action.content is None:
        return False
    if wanted is not None and not _status_is(status, str(wanted)):
        return False
    if action.content is not None and action.content not in response.text:
        return False
    return action.json_path is None or any(value not in (None, False, []) for value in _at(action.json_path, body))


def _at(path: str, body: Any) -> list[Any]:
    return values_at(path, body) if isinstance(body, (dict, list)) else []


def _status_is(status: int, wanted: str) -> bool:
    return wanted.lower() == f"{status // 100}xx" or wanted == str(status)


def _is_limited(response: Response) -> bool:
    headers = response.headers
    return "Retry-After" in headers or any(
        headers.get(f"{prefix}-Remaining", "").strip() == "0" for prefix in ("X-RateLimit", "RateLimit")
    )


def _by_rule(action: ResponseAction, status: int, facts: Mapping[str, Any]) -> Verdict:
    said = action.message or "an answer that response_actions names"
    if action.action == "ignore":
        return Verdict(Outcome.IGNORED)
    if action.action == "retry":
        return Verdict(Outcome.BUSY, error=_unavailable(said, status, facts))
    if action.action == "expired":
        return Verdict(Outcome.EXPIRED, error=expired(facts))
    remedy = "This answer is declared as the owner's to mend; see the API's own pages."
    return Verdict(Outcome.REJECTED, error=SourceRejected(said, **facts, status=status, remedy=remedy))


def expired(facts: Mapping[str, Any]) -> TokenExpired:
    return TokenExpired("the API no longer knows the page to go on from", **facts, remedy="It is read again.")


def _busy(status: int, facts: Mapping[str, Any]) -> SourceUnavailable:
    if status in LIMITED:
        return _unavailable("the API is busy or over its rate limit", status, facts)
    remedy = "The next run goes on from here; tell the API's owner when it stays."
    return SourceUnavailable("the API failed with a server error", **facts, status=status, remedy=remedy)


def _unavailable(message: str, status: int, facts: Mapping[str, Any]) -> SourceUnavailable:
    remedy = "The next run goes on from here; a lower client.rate_limit asks less of it."
    return SourceUnavailable(message, **facts, status=status, remedy=remedy)


def _broken(flaw: str, status: int, facts: Mapping[str, Any]) -> ImportPlatformError:
    if "ends in the middle" in flaw:
        return SourceUnavailable(flaw, **facts, status=status, remedy="The next run goes on from here.")
    remedy = "Open the address in a browser: a login page, a proxy or a wrong base_url answers like this."
    return SourceRejected(flaw, **facts, status=status, remedy=remedy)


_REMEDIES = {
    401: ("the API does not accept the credentials", "Renew the token or password in the environment."),
    403: ("the API denies access", "Grant the credentials the right to read this, or leave the table out."),
    404: ("the API has nothing at this address", "Correct path or base_url; an old page token may also end like this."),
    400: ("the API refuses the request", "Correct params; the API's pages say which it takes."),
    422: ("the API refuses the request", "Correct params; the API's pages say which it takes."),
    410: ("the API has removed this address", "Use the address that its pages name now."),
}


def _refusal(status: int, facts: Mapping[str, Any]) -> SourceRejected:
    message, remedy = _REMEDIES.get(status, ("the API refuses the request", "See the API's pages for this status."))
    return SourceRejected(message, **facts, status=status, remedy=remedy)

"""The HTTP of a polite client: every request waits its turn, has a time limit, and is tried again when that helps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from dlt.sources.helpers.rest_client.exceptions import IgnoreResponseException
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from import_platform.core.budget import format_bytes
from import_platform.errors import ConfigError, ImportPlatformError, SourceRejected, SourceUnavailable
from import_platform.sources.http.answers import EXPIRED, Outcome, Verdict, expired, judge
from import_platform.sources.http.evidence import Exchange, Secrets
from import_platform.sources.http.waiting import Patience, TokenBucket, asked_seconds, backoff_seconds
from import_platform.sources.http.words import Client, ResponseAction

BODY_BYTES_MAX = 256 << 20
CONNECT_SECONDS = 10.0
_PIECE_BYTES = 1 << 18
_BODY_TIMES = 10  # an answer may take this many times its time limit in all, so that a trickle ends


class HttpSession(requests.Session):
    """One thread's session; connections are shared through the adapter. `send` returns parsed, good answers only.

    Raises what `answers` says; IgnoreResponseException where a rule says that the table ends there.
    """

    def __init__(
        self,
        client: Client,
        adapter: HTTPAdapter,
        *,
        patience: Patience,
        bucket: TokenBucket | None,
        secrets: Secrets,
        actions: Sequence[ResponseAction] = (),
        exact_decimals: bool = False,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        super().__init__()
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        # Asked once: reading every variable of the environment took a third of the time of a request.
        settings = self.merge_environment_settings(client.base_url, {}, None, None, None)
        self.proxies, self.verify, self.trust_env = settings["proxies"], settings["verify"], False
        self._client = client
        self._patience = patience
        self._bucket = bucket
        self._secrets = secrets
        self._actions = [*actions, *client.response_actions]
        self._exact_decimals = exact_decimals
        self._body_bytes_max = body_bytes_max
        self._hosts = {urlsplit(client.base_url).netloc, *client.allowed_hosts}
        self.resumed = False
        self.last: Response | None = None  # a good answer until it was looked at
        self.renew: Callable[[PreparedRequest], None] | None = None
        self.clock_ahead_seconds = 0.0

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        facts = self._facts(request)
        resumed, self.resumed = self.resumed, False
        renewal = self.renew
        tries = 0
        while True:
            if self._bucket is not None:
                self._bucket.take(self._patience)
            response, verdict = self._once(request, kwargs, facts)
            if response is not None and verdict.outcome is Outcome.ROWS:
                response.__dict__["json"] = lambda body=verdict.body, **_: body  # parsed once, asked for by several
                self.last = response
                return response
            if verdict.outcome is Outcome.IGNORED:
                raise IgnoreResponseException
            status = response.status_code if response is not None else 0
            if status == 401 and renewal is not None:
                renewal(request)
                renewal = None
                continue  # no try: a token that ended is nobody's fault, not even where `retries` is 0
            if verdict.outcome is not Outcome.BUSY:
                raise self._with_evidence(
                    expired(facts) if resumed and status in EXPIRED else verdict.error, request, response
                )
            if tries == self._client.retries:
                raise self._with_evidence(verdict.error, request, response)
            self._pause(response, tries, facts)
            tries += 1

    def allow(self, url: str) -> None:
        """Lets requests go to the host of a declared address."""
        self._hosts.add(urlsplit(url).netloc)

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """A redirect to another host gets no credentials of ours, whatever header they are in."""
        super().rebuild_auth(prepared_request, response)
        if urlsplit(str(prepared_request.url)).netloc not in self._hosts:
            for name in [name for name, value in prepared_request.headers.items() if self._secrets.are_in(value)]:
                del prepared_request.headers[name]

    def _once(
        self, request: PreparedRequest, kwargs: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> tuple[Response | None, Verdict]:
        seconds = self._client.timeout
        try:
            response = super().send(
                request, **{**kwargs, "timeout": (min(CONNECT_SECONDS, seconds), seconds), "stream": True}
            )
            if response.is_redirect:
                return response, Verdict(Outcome.ROWS)
            self._read_body(response, facts)
        except requests.exceptions.SSLError:
            remedy = "Check the name in base_url and the certificate; REQUESTS_CA_BUNDLE names another authority."
            return None, Verdict(
                Outcome.REJECTED, error=SourceRejected("the API's certificate is not trusted", **facts, remedy=remedy)
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
            raise ConfigError("the address is no URL", **facts, remedy="Correct base_url and path.") from None
        except requests.RequestException as error:
            remedy = "The next run goes on from here; check base_url if it never answered."
            said = type(error).__name__
            return None, Verdict(
                Outcome.BUSY, error=SourceUnavailable("the API did not answer", **facts, said=said, remedy=remedy)
            )
        self._look_at_clock(response)
        return response, judge(response, self._actions, facts=facts, exact_decimals=self._exact_decimals)

    def _read_body(self, response: Response, facts: Mapping[str, Any]) -> None:
        """The whole answer in memory, up to a limit and within a time."""
        if response._content_consumed:  # noqa: SLF001  read by a redirect's own send
            return
        end = time.monotonic() + _BODY_TIMES * self._client.timeout
        pieces, size = [], 0
        for piece in response.iter_content(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > self._body_bytes_max:
                response.close()
                raise SourceRejected(
                    f"one answer of the API is larger than {format_bytes(self._body_bytes_max)}",
                    **facts,
                    remedy="Ask for fewer rows per page in params.",
                )
            if time.monotonic() > end:
                response.close()
                raise requests.exceptions.ReadTimeout
            if self._patience.is_over:
                response.close()
                self._patience.wait(0)
        response._content = b"".join(pieces)  # noqa: SLF001  what `content` itself would set
        response._content_consumed = True  # noqa: SLF001

    def _pause(self, response: Response | None, tries: int, facts: Mapping[str, Any]) -> None:
        asked = None
        if response is not None:
            asked = asked_seconds(response.headers, self._server_now())
        if asked is not None and asked > self._client.retry_after_max:
            raise SourceUnavailable(
                "the API asks to be left alone for a long time",
                **facts,
                retry_after_seconds=round(asked),
                remedy="The next run after that goes on from here.",
            )
        if asked is not None and self._bucket is not None:
            self._bucket.pause(asked)
        self._patience.wait(asked + backoff_seconds(0) / 5 if asked is not None else backoff_seconds(tries))

    def _look_at_clock(self, response: Response) -> None:
        try:
            stamp = parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError):
            return
        self.clock_ahead_seconds = (stamp - datetime.now(UTC)).total_seconds() if stamp.tzinfo else 0.0

    def _server_now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.clock_ahead_seconds, UTC)

    def _facts(self, request: PreparedRequest) -> dict[str, Any]:
        """Host and path only: a query may hold values or a key.

        Raises:
            SourceRejected: the address came out of an answer and leads to another host.
        """
        parts = urlsplit(str(request.url))
        if parts.netloc not in self._hosts:
            raise SourceRejected(
                "the API sends us to another host",
                host=parts.netloc,
                remedy="If that is right, add the host to client.allowed_hosts; credentials go there too then.",
            )
        return {"host": parts.netloc, "path": self._secrets.hidden(parts.path)}

    def _with_evidence(
        self, error: ImportPlatformError | None, request: PreparedRequest, response: Response | None
    ) -> ImportPlatformError:
        assert error is not None
        error.evidence = Exchange.of(request, response, self._secrets)  # type: ignore[attr-defined]
        return error

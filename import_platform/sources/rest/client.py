"""The only module that knows dlt: its RESTClient, paginators and authenticators, from its public modules.

A paginator of dlt changes the request for the next page in place. What it changed, compared with the first request, is
all that a resume needs: it works for every paginator alike, and holds neither credentials nor other parameters.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dlt.common.configuration.specs.runtime_configuration import RuntimeConfiguration
from dlt.sources.helpers.rest_client import paginators as dlt_paginators
from dlt.sources.helpers.rest_client.auth import APIKeyAuth, BearerTokenAuth, HttpBasicAuth, OAuth2ClientCredentials
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.helpers.rest_client.detector import PaginatorFactory
from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from import_platform.errors import ConfigError, ImportPlatformError, SourceRejected
from import_platform.sources.http.evidence import Exchange, Secrets
from import_platform.sources.http.session import BODY_BYTES_MAX, HttpSession
from import_platform.sources.http.waiting import Patience, TokenBucket
from import_platform.sources.http.words import Auth, Paginator
from import_platform.sources.json.paths import compiled, values_at
from import_platform.sources.rest.declaration import Resource, RestApi

_TYPES: Mapping[str, type[BasePaginator]] = {
    "single_page": dlt_paginators.SinglePagePaginator,
    "page_number": dlt_paginators.PageNumberPaginator,
    "offset": dlt_paginators.OffsetPaginator,
    "cursor": dlt_paginators.JSONResponseCursorPaginator,
    "header_cursor": dlt_paginators.HeaderCursorPaginator,
    "header_link": dlt_paginators.HeaderLinkPaginator,
    "json_link": dlt_paginators.JSONLinkPaginator,
}
_PATHS = ("total_path", "has_more_path", "cursor_path", "next_url_path")
CLOCK_SECONDS = 1.0
_FAILED = {"error", "errors", "fault", "message"}
NextPage = Mapping[str, Any]
"""What the request for a page differs in from the first one: url, params, json, value. JSON."""


@dataclass(frozen=True)
class Fetched:
    """One answer: its rows as the API gave them, the page after it (None: the last), its size."""

    rows: list[Any]
    next: NextPage | None
    body_bytes: int
    body_hash: int
    resumable: bool = True


class Resumable(BasePaginator):
    """A paginator of dlt that can begin at a page remembered from an earlier one, and tells the page to come."""

    def __init__(self, inner: BasePaginator | None, begin: NextPage | None, hidden: str | None) -> None:
        super().__init__()
        self._inner = inner
        self._begin = begin
        self._hidden = hidden
        self._first: Mapping[str, Any] = {}
        self.next: NextPage | None = None

    @property
    def has_next_page(self) -> bool:
        return self._inner is not None and self._inner.has_next_page

    def __deepcopy__(self, memo: Any) -> Resumable:
        return self

    def init_request(self, request: Any) -> None:
        self._first = {"url": request.url, "params": dict(request.params or {}), "json": copy.deepcopy(request.json)}
        if self._inner is not None:
            self._inner.init_request(request)
        if self._begin is not None:
            if "url" in self._begin:
                request.url, request.params = self._begin["url"], {}
            request.params = {**(request.params or {}), **self._begin.get("params", {})}
            if "json" in self._begin:
                request.json = {**(request.json or {}), **self._begin["json"]}
            if "value" in self._begin and isinstance(self._inner, dlt_paginators.RangePaginator):
                self._inner.current_value = self._begin["value"]

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        if self._inner is None:
            self._inner = _detected(response, data)
        self._inner.update_state(response, data)

    def update_request(self, request: Any) -> None:
        assert self._inner is not None
        if not self._inner.has_next_page:
            self.next = None
            return
        self._inner.update_request(request)
        changed: dict[str, Any] = {}
        if request.url != self._first["url"]:
            request.url = without_parameter(str(request.url), self._hidden)
            changed["url"] = request.url
        params = {k: v for k, v in (request.params or {}).items() if self._first["params"].get(k) != v}
        body = {k: v for k, v in (request.json or {}).items() if (self._first["json"] or {}).get(k) != v}
        changed |= {"params": params} if params else {}
        changed |= {"json": copy.deepcopy(body)} if body else {}
        if isinstance(self._inner, dlt_paginators.RangePaginator):
            changed["value"] = self._inner.current_value
        self.next = changed


@dataclass(frozen=True)
class Listing:
    """One list to read: a resource with the values of its path and parameters filled in. `begin` is where to go on."""

    resource: Resource
    path: str
    params: Mapping[str, Any]
    begin: NextPage | None = None
    body_bytes_max: int = BODY_BYTES_MAX


class RestClient:
    """Requests of one API. Safe to use from several threads, each with pages of its own."""

    def __init__(self, api: RestApi) -> None:
        self.api = api
        self._patience = Patience()
        client = api.client
        self.secrets = Secrets(_secret_values(api))
        self._adapter = HTTPAdapter(pool_connections=4, pool_maxsize=client.parallel + 2)
        self._bucket = TokenBucket(client.base_url, client.rate_limit) if client.rate_limit else None
        self._auth = _auth(client.auth, self._session()) if client.auth else None
        self._ahead_seconds = 0.0
        self._runtime = RuntimeConfiguration()
        self._sessions = threading.local()

    def pages(self, listing: Listing, patience: Patience) -> Iterator[Fetched]:
        """Answers from the first page, or from a remembered one. Raises as `HttpSession.send`."""
        resource, begin = listing.resource, listing.begin
        endpoint, client = resource.endpoint, self.api.client
        said = endpoint.paginator or client.paginator or Paginator()
        hidden = client.auth.name if client.auth and client.auth.location != "header" else None
        paginator = Resumable(_paginator(said), begin, hidden)
        session = self._session_of(resource, patience, listing.body_bytes_max)
        session.resumed = begin is not None
        session.renew = self._auth.renew if isinstance(self._auth, _SharedToken) else None
        rest = RESTClient(client.base_url, headers=dict(client.headers), session=session, config=self._runtime)
        answers = rest.paginate(
            listing.path,
            method="POST" if endpoint.method.upper() == "POST" else "GET",
            params=dict(listing.params),
            json=copy.deepcopy(dict(endpoint.json_body)) if endpoint.json_body is not None else None,
            headers=dict(endpoint.headers),
            auth=self._auth,
            paginator=paginator,
            data_selector=compiled(endpoint.data_selector) if endpoint.data_selector else None,
            hooks={"response": []},
        )
        while (page := self._next(answers, resource, session)) is not None:
            self._ahead_seconds = session.clock_ahead_seconds
            rows = list(page)
            content = page.response.content
            yield Fetched(rows, paginator.next, len(content), hash(content))

    def _next(self, answers: Iterator[Any], resource: Resource, session: HttpSession) -> Any:
        """The next page, or None; what an answer breaks is raised with that answer as evidence."""
        try:
            page = _next(answers, resource)
            if page is not None:
                _check_answer(resource, page.response, list(page))
        except ImportPlatformError as error:
            if session.last is not None and not hasattr(error, "evidence"):
                error.evidence = Exchange.of(session.last.request, session.last, self.secrets)  # type: ignore[attr-defined]
            raise
        finally:
            session.last = None
        return page

    def server_now(self) -> datetime:
        """The API's clock as far as its answers told, never later than our own; in whole seconds and a little before,
        because rows and the Date header tell no finer."""
        behind_seconds = min(self._ahead_seconds, 0.0) - CLOCK_SECONDS
        return (datetime.now(UTC) + timedelta(seconds=behind_seconds)).replace(microsecond=0)

    def close(self) -> None:
        self._patience.end()
        self._adapter.close()

    def _session_of(self, resource: Resource, patience: Patience, body_bytes_max: int) -> HttpSession:
        """This thread's session for a resource; making one costs a tenth of a request."""
        key = (resource.name, patience, body_bytes_max)
        kept: tuple[Any, HttpSession] | None = getattr(self._sessions, "last", None)
        if kept is None or kept[0] != key:
            kept = self._sessions.last = (key, self._session(resource, patience, body_bytes_max))
        return kept[1]

    def _session(
        self, resource: Resource | None = None, patience: Patience | None = None, body_bytes_max: int = BODY_BYTES_MAX
    ) -> HttpSession:
        exact = resource is not None and any(c.type_name.startswith(("decimal", "wei")) for c in resource.columns)
        return HttpSession(
            self.api.client,
            self._adapter,
            patience=patience or self._patience,
            bucket=self._bucket,
            secrets=self.secrets,
            actions=resource.endpoint.response_actions if resource else (),
            exact_decimals=exact,
            body_bytes_max=body_bytes_max,
        )


class _SharedToken(OAuth2ClientCredentials):
    """Client credentials whose token several threads use; it is fetched once, before it runs out."""

    _lock = threading.Lock()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        with self._lock:
            return super().__call__(request)

    def renew(self, request: PreparedRequest) -> None:
        """Fetches another token for a request that was refused with this one: it was revoked before its time."""
        with self._lock:
            if request.headers.get("Authorization") == f"Bearer {self.access_token}":
                self.access_token = None
            super().__call__(request)


def without_parameter(url: str, name: str | None) -> str:
    """The address without a key that the API repeats in its links."""
    parts = urlsplit(url)
    if name is None or f"{name}=" not in parts.query:
        return url
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != name]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _next(answers: Iterator[Any], resource: Resource) -> Any:
    try:
        return next(answers, None)
    except (ValueError, TypeError, KeyError, AttributeError):
        # The paginators' own errors quote the answer.
        raise SourceRejected(
            "the paginator does not find in the answer what it needs",
            table=resource.name,
            remedy="Compare paginator with an answer of the API: total_path, has_more_path, cursor_path.",
        ) from None


def _check_answer(resource: Resource, response: Response, rows: list[Any]) -> None:
    """Raises SourceRejected: what should be a list of rows is none, or is an error that came as a good answer."""
    endpoint = resource.endpoint
    if len(rows) == 1 and isinstance(rows[0], dict) and rows[0] is response.json():
        key = {column.path[0] for column in resource.columns if column.name in resource.primary_key}
        if _FAILED & set(rows[0]) and resource.primary_key and not (key | set(resource.primary_key)) & set(rows[0]):
            raise SourceRejected(
                "the API answered with an error inside a good answer",
                table=resource.name,
                found=sorted(map(str, rows[0]))[:10],
                remedy="See its own pages for what it says; if this is a row, correct primary_key.",
            )
    if endpoint.data_selector is None or endpoint.empty_when_absent:
        return
    if not values_at(endpoint.data_selector, response.json()) and "*" not in endpoint.data_selector:
        body = response.json()
        keys = sorted(map(str, body))[:10] if isinstance(body, dict) else [type(body).__name__]
        failed = _FAILED & set(keys)
        raise SourceRejected(
            "the API answered with an error inside a good answer"
            if failed
            else "the answer has no rows where expected",
            table=resource.name,
            data_selector=endpoint.data_selector,
            found=keys,
            remedy="Correct data_selector; if the API leaves it out for no rows, say empty_when_absent: true.",
        )


def _paginator(said: Paginator) -> BasePaginator | None:
    if said.type == "auto":
        return None
    options: dict[str, Any] = {"total_path": None} if said.type in ("page_number", "offset") else {}
    options |= said.options()
    for name in _PATHS:
        if isinstance(options.get(name), str):
            options[name] = compiled(options[name])
    return _TYPES[said.type](**options)


def _detected(response: Response, data: list[Any] | None) -> BasePaginator:
    """What dlt makes of an answer. Never "no more pages" by guess: that would import one page of many."""
    found, score = PaginatorFactory().create_paginator(response)
    if score < 1 and len(data or ()) > 1:
        raise ConfigError(
            "the paginator could not be told from the first answer",
            score=score,
            remedy="Declare paginator: single_page if there is one page only, else how the next is asked for.",
        )
    return found


def _auth(auth: Auth, session: HttpSession) -> AuthBase:
    """The declaration made sure that what a type needs is there."""
    if auth.type == "bearer":
        return BearerTokenAuth(token=str(auth.token))
    if auth.type == "http_basic":
        return HttpBasicAuth(username=str(auth.username), password=auth.password)
    if auth.type == "api_key":
        return APIKeyAuth(name=auth.name, api_key=str(auth.api_key), location=auth.location)
    session.allow(str(auth.access_token_url))
    return _SharedToken(
        access_token_url=str(auth.access_token_url),
        client_id=str(auth.client_id),
        client_secret=str(auth.client_secret),
        access_token_request_data=dict(auth.access_token_request_data),
        default_token_expiration=auth.default_token_expiration,
        session=session,
    )


def _secret_values(api: RestApi) -> Iterator[str]:
    auth, client = api.client.auth, api.client
    if auth is not None:
        yield from (v for v in (auth.token, auth.password, auth.api_key, auth.client_id, auth.client_secret) if v)
        yield from (str(value) for value in auth.access_token_request_data.values() if len(str(value)) > 3)
    yield from (value for value in client.headers.values() if len(value) > 7)

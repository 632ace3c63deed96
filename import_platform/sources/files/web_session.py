"""Requests for files: each with time limits, tried again when that helps, its credentials for one host only."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import requests
from requests import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict

from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.files.web_words import Http, origin
from import_platform.sources.http.waiting import Patience, asked_seconds, backoff_seconds

CONNECT_SECONDS = 10.0
REDIRECTS_MAX = 10
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})


class WebSession(requests.Session):
    """One thread's. What it raises holds neither a URL nor a header, because both may hold secrets.

    Raises:
        ConfigError: the file of authorities is not there, or holds none.
    """

    def __init__(self, http: Http, url: str) -> None:
        super().__init__()
        settings = self.merge_environment_settings(url, {}, None, None, None)
        # The environment names proxies and certificates; a ~/.netrc would add credentials that nobody declared.
        self.proxies, self.verify, self.trust_env = settings["proxies"], http.ca or settings["verify"], False
        if isinstance(self.verify, str):
            _check_authorities(self.verify)
        self.http = http
        self.patience = Patience()
        self.max_redirects = REDIRECTS_MAX
        self._own = http.own_headers
        plain = {"User-Agent": "import-platform", "Accept": "*/*"}
        # Sizes and ranges count bytes as they are stored.
        self.headers = CaseInsensitiveDict({**plain, **self._own, "Accept-Encoding": "identity"})

    def ask(self, name: str, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Response:
        """The answer, its body not read yet; of any status that asking again would not change.

        Raises:
            SourceUnavailable: no answer, or that of a busy server, to the last try.
            SourceRejected: the certificate is not trusted, or the address leads nowhere.
        """
        for tries in count():
            response, said = self._once(name, method, url, headers or {})
            if response is not None and response.status_code not in _BUSY:
                if method == "HEAD":
                    response.raw.drain_conn()  # there is no body: the connection is used again
                return response
            asked = None
            if response is not None:
                asked = asked_seconds(response.headers, datetime.now(UTC))
                response.close()
            if tries >= self.http.retries or (asked is not None and asked > self.http.retry_after_max):
                wait = {} if asked is None else {"retry_after_seconds": round(asked)}
                raise SourceUnavailable(
                    "the server of a file did not answer", path=name, said=said, **wait, remedy="Run the sync again."
                )
            self.pause(tries, asked)
        raise AssertionError("the last try returns or raises")

    def pause(self, tries: int, asked: float | None = None) -> None:
        """Raises Interrupted: the source was closed."""
        self.patience.wait(backoff_seconds(tries) if asked is None else asked + backoff_seconds(0) / 5)

    def close(self) -> None:
        self.patience.end()
        super().close()

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """A redirect to another host gets nothing that was declared."""
        super().rebuild_auth(prepared_request, response)
        before, after = origin(str(response.request.url)), origin(str(prepared_request.url))
        is_upgrade = before[1] == after[1] and (before[0], before[2], after[0], after[2]) == ("http", 80, "https", 443)
        if before != after and not is_upgrade:
            for name in (*self._own, "Authorization"):
                prepared_request.headers.pop(name, None)

    def _once(self, name: str, method: str, url: str, headers: Mapping[str, str]) -> tuple[Response | None, str]:
        seconds = self.http.timeout
        limits: Any = (min(CONNECT_SECONDS, seconds), seconds)
        try:
            response = self.request(method, url, headers=dict(headers), timeout=limits, stream=True)
        except requests.exceptions.SSLError as error:
            if (said := _distrust(error)) is None:  # broken off while both sides greeted each other
                return None, type(error).__name__
            raise SourceRejected(
                "the certificate of a server is not trusted", path=name, said=said, remedy=_TRUST
            ) from None
        except (ValueError, requests.TooManyRedirects):  # what no URL, or no header, can be
            remedy = "Correct the address and the words under http, or write the address that this one leads to."
            raise SourceRejected("the address of a file leads nowhere", path=name, remedy=remedy) from None
        except requests.RequestException as error:
            return None, type(error).__name__
        return response, f"status {response.status_code}"


_TRUST = "Check the host and its certificate; ca under http, or REQUESTS_CA_BUNDLE, names a file of other authorities."


def _check_authorities(path: str) -> None:
    is_folder = Path(path).is_dir()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cafile=None if is_folder else path, capath=path if is_folder else None
        )
    except OSError as error:  # an SSLError is one
        said = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        remedy = "Correct ca under http, or REQUESTS_CA_BUNDLE: a file of certificates as PEM."
        message = "the file of certificate authorities cannot be used"
        raise ConfigError(message, path=path, said=said, remedy=remedy) from None


def _distrust(error: BaseException) -> str | None:
    """Why a certificate is not trusted; None where something else went wrong."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    inner = [getattr(error, "reason", None), error.__cause__, error.__context__, *error.args]
    found = (_distrust(one) for one in inner if isinstance(one, BaseException))
    return next((said for said in found if said is not None), None)

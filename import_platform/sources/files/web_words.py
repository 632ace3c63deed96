"""Files behind http:// and https://: the addresses of a table, what they are called, and the words under `http:`."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from import_platform.errors import ConfigError
from import_platform.sources.http.words import Auth, AuthWords, Words

_WEB = re.compile(r"https?://", re.IGNORECASE)
_WILD = re.compile(r"[*\[\]]")
_LATER = "{{"  # only a run knows what stands there
_PORTS = {"http": 80, "https": 443}


class Http(Words):
    """How the files are asked for. Credentials go to the host of the addresses and to no other."""

    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    auth: AuthWords | None = None
    ca: str | None = Field(None, description="file of the authorities that the server's certificate is checked with")
    timeout: float = Field(60, gt=0, description="seconds without a byte before a request is tried again")
    retries: int = Field(6, ge=0, le=20)
    retry_after_max: float = Field(900, ge=0, description="seconds that one Retry-After may ask for")

    @field_validator("auth")
    @classmethod
    def _in_a_header(cls, auth: Auth | None) -> Auth | None:
        if auth is not None and (auth.type == "oauth2_client_credentials" or auth.location != "header"):
            raise ValueError("auth of files is bearer, http_basic, or an api_key in a header")
        return auth

    @property
    def own_headers(self) -> dict[str, str]:
        """What was declared, with the credentials. Files of secrets end in a line end that is none of theirs."""
        auth, declared = self.auth, {name: value.strip() for name, value in self.headers.items()}
        if auth is None:
            return declared
        if auth.type == "api_key":
            return {**declared, auth.name: str(auth.api_key).strip()}
        pair = f"{auth.username}:{auth.password}".strip().encode()
        said = f"Bearer {str(auth.token).strip()}" if auth.type == "bearer" else f"Basic {b64encode(pair).decode()}"
        return {**declared, "Authorization": said}


@dataclass(frozen=True, eq=False)
class Web:
    """The files of a table by name, which is what errors, state and lake hold: never the query of an address."""

    urls: Mapping[str, str] = field(repr=False)
    http: Http


def origin(url: str) -> tuple[str, str, int]:
    """Raises ValueError: the text is no URL."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme, 0)


def addresses(said: Mapping[str, Any], table: str) -> tuple[str, Web | None]:
    """The pattern of a table, and its addresses where it is made of such.

    Raises:
        ConfigError: an address has a wildcard or a password, or is none; two files have one name; credentials would go
            to two hosts.
    """
    pattern = said["pattern"]
    if isinstance(pattern, str) and not _WEB.match(pattern):
        if "http" in said and _LATER not in pattern:
            raise _wrong("only files behind http:// and https:// have this", table, "http", "Leave http out.")
        return pattern, None
    entries = [pattern] if isinstance(pattern, str) else pattern
    urls: dict[str, str] = {}
    for entry in entries:
        name, url = _entry(entry, table)
        if name in urls:
            raise _wrong("two files have one name", table, name, "Write {url: .., name: ..} for each of them.")
        urls[name] = url
    web = Web(urls, _http(said.get("http", {}), table))
    hosts = {origin(url) for url in urls.values() if _LATER not in url}
    if web.http.own_headers and len(hosts) > 1:
        raise _wrong("credentials would go to several hosts", table, "http", "Declare a table for each host.")
    return "\n".join(urls), web


def _entry(entry: Any, table: str) -> tuple[str, str]:
    words = {"url": entry} if isinstance(entry, str) else entry
    if not isinstance(words, Mapping) or set(words) - {"url", "name"} or not isinstance(words.get("url"), str):
        raise _wrong("an entry of the list is neither a URL nor {url, name}", table, "pattern", _LISTED)
    url = words["url"].strip()
    if _LATER in url:
        return str(words.get("name") or url), url
    if not _WEB.match(url):
        raise _wrong("a list of files holds something else than http(s) URLs", table, "pattern", _LISTED)
    try:
        parts, (scheme, host, port) = urlsplit(url), origin(url)
    except ValueError:
        raise _wrong("an address is no URL", table, "pattern", _LISTED) from None
    if "@" in parts.netloc:
        raise _wrong("an address holds a user", table, host, "Write it as auth: {type: http_basic, ..} under http.")
    host = f"[{host}]" if ":" in host else host
    at = host if port == _PORTS[scheme] else f"{host}:{port}"
    name = str(words.get("name") or f"{scheme}://{at}{parts.path}")
    if not parts.hostname:
        raise _wrong("an address has no host", table, "pattern", _LISTED)
    if _WILD.search(parts.path):
        raise _wrong("a web server does not list its files, so a URL has no wildcards", table, name, _LISTED)
    return name, url


def _http(said: Mapping[str, Any], table: str) -> Http:
    try:
        return Http.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        word = ".".join(map(str, ("http", *first["loc"])))
        message = first["msg"].removeprefix("Value error, ")
        remedy = "See docs/files.md."
        raise ConfigError("a word under http is wrong", table=table, word=word, said=message, remedy=remedy) from None


def _wrong(message: str, table: str, word: str, remedy: str) -> ConfigError:
    return ConfigError(message, table=table, word=word, remedy=remedy)


def path_ending(pattern: str | Sequence[Any]) -> str:
    """The last part of the first path, in which a format shows."""
    first = pattern if isinstance(pattern, str) else next(iter(pattern), "")
    text = str(first.get("name") or first.get("url", "")) if isinstance(first, Mapping) else str(first)
    path = urlsplit(text).path if _WEB.match(text) else text
    return path.lower().rsplit("/", 1)[-1]


_LISTED = "List each file: pattern: [https://example.com/a.csv, https://example.com/b.csv]."

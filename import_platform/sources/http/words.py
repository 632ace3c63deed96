"""The words under `client:`, and those that an endpoint shares with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

_ENV = re.compile(r"\{\{.*?\}\}")


class Words(BaseModel):
    # Input is hidden because pydantic would otherwise quote what may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Auth(Words):
    """How requests prove who asks. `{token: ...}` alone is a bearer token."""

    type: Literal["bearer", "http_basic", "api_key", "oauth2_client_credentials"] = "bearer"
    token: str | None = Field(None, repr=False)
    username: str | None = None
    password: str = Field("", repr=False)
    api_key: str | None = Field(None, repr=False)
    name: str = "Authorization"
    location: Literal["header", "query", "param"] = "header"
    access_token_url: str | None = None
    client_id: str | None = Field(None, repr=False)
    client_secret: str | None = Field(None, repr=False)
    access_token_request_data: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    default_token_expiration: int = 3600

    @model_validator(mode="after")
    def _complete(self) -> Auth:
        needs = {
            "bearer": ("token",),
            "http_basic": ("username",),
            "api_key": ("api_key",),
            "oauth2_client_credentials": ("access_token_url", "client_id", "client_secret"),
        }[self.type]
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise ValueError(f"auth of type {self.type} needs {' and '.join(missing)}")
        return self


class Paginator(Words):
    """How the next page is asked for. Keys that a type does not know are refused when the source is loaded."""

    type: Literal[
        "auto", "single_page", "page_number", "offset", "cursor", "header_cursor", "header_link", "json_link"
    ] = "auto"
    base_page: int = 0
    page: int | None = None
    page_param: str | None = None
    page_body_path: str | None = None
    maximum_page: int | None = None
    limit: int | None = None
    offset: int = 0
    offset_param: str | None = None
    offset_body_path: str | None = None
    limit_param: str | None = None
    limit_body_path: str | None = None
    maximum_offset: int | None = None
    total_path: str | None = None
    stop_after_empty_page: bool | None = None
    has_more_path: str | None = None
    cursor_path: str | None = None
    cursor_param: str | None = None
    cursor_body_path: str | None = None
    cursor_key: str | None = None
    links_next_key: str | None = None
    next_url_path: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Paginator:
        allowed = PAGINATOR_KEYS[self.type]
        foreign = sorted(self.model_fields_set - {"type", *allowed})
        if foreign:
            raise ValueError(
                f"paginator {self.type} does not know {foreign[0]}; it knows {', '.join(allowed) or 'none'}"
            )
        if self.type == "offset" and self.limit is None:
            raise ValueError("paginator offset needs limit, the rows of a page")
        return self

    def options(self) -> dict[str, Any]:
        """What was said, for dlt's paginator of this type."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"type"}}


_RANGE_KEYS = ("total_path", "stop_after_empty_page", "has_more_path")
PAGINATOR_KEYS: Mapping[str, tuple[str, ...]] = {
    "auto": (),
    "single_page": (),
    "page_number": ("base_page", "page", "page_param", "page_body_path", "maximum_page", *_RANGE_KEYS),
    "offset": (
        *("limit", "offset", "offset_param", "offset_body_path", "limit_param", "limit_body_path", "maximum_offset"),
        *_RANGE_KEYS,
    ),
    "cursor": ("cursor_path", "cursor_param", "cursor_body_path", "stop_after_empty_page", "has_more_path"),
    "header_cursor": ("cursor_key", "cursor_param"),
    "header_link": ("links_next_key",),
    "json_link": ("next_url_path",),
}


class ResponseAction(Words):
    """What an answer means. The first that matches decides; without `status_code` any 2xx answer is looked at too.

    ignore: the table ends here without an error. retry: as a busy server. reject: the owner has to act.
    expired: the page token is no longer known.
    """

    status_code: int | str | None = None
    content: str | None = None
    json_path: str | None = None
    action: Literal["ignore", "retry", "reject", "expired"]
    message: str = ""

    @model_validator(mode="after")
    def _something(self) -> ResponseAction:
        if self.status_code is None and self.content is None and self.json_path is None:
            raise ValueError("a response action needs status_code, content or json_path")
        return self


class RateLimit(Words):
    """At most `requests` in `per_seconds`, shared by all tables of the API on this machine; `burst` at once."""

    requests: float = Field(gt=0)
    per_seconds: float = Field(1.0, gt=0)
    burst: float | None = Field(None, ge=1)


def _typed(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


AuthWords = Annotated[Auth, BeforeValidator(_typed)]
PaginatorWords = Annotated[Paginator, BeforeValidator(_typed)]


class Client(Words):
    """How the API is reached, for all of its tables."""

    base_url: str
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    auth: AuthWords | None = None
    paginator: PaginatorWords | None = None
    response_actions: tuple[ResponseAction, ...] = ()
    rate_limit: RateLimit | None = None
    timeout: float = Field(60, gt=0, description="seconds without a byte before a request is tried again")
    retries: int = Field(6, ge=0, le=20)
    retry_after_max: float = Field(900, ge=0, description="seconds that one Retry-After may ask for")
    parallel: int = Field(8, ge=1, le=64, description="requests at a time for children of a parent")
    allowed_hosts: tuple[str, ...] = ()

    @field_validator("base_url")
    @classmethod
    def _url(cls, text: str) -> str:
        if not _ENV.search(text) and not re.match(r"https?://[^/]", text):
            raise ValueError("base_url must begin with https:// or http://")
        return text

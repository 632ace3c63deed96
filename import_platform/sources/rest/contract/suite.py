"""The contract of one declared table, tried on this machine: what the API answered when it failed, then every check."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from import_platform.errors import ConfigError, ImportPlatformError
from import_platform.sources.http.answers import BUSY
from import_platform.sources.http.evidence import BODY_CHARACTERS_MAX, HIDDEN
from import_platform.sources.http.words import Paginator
from import_platform.sources.protocol import ColumnsGrew
from import_platform.sources.rest.contract.checks import (
    CHECKS,
    TOKEN_PATH,
    Api,
    Check,
    ContractBroken,
    NotApplicable,
    request_for,
)
from import_platform.sources.rest.contract.local_api import LocalApi, RowMaker, rows_of
from import_platform.sources.rest.contract.server import Answer, Asked
from import_platform.sources.rest.declaration import PLACEHOLDER, Resource, parse, whole_resources
from import_platform.sources.rest.shipped import expand

REPLAY = "the_recorded_answer_is_read"
KINDS = ("rest", "stripe", "github")
_TIMEOUT_SECONDS, _RETRIES = 10, 3


@dataclass(frozen=True)
class Outcome:
    """`passed` None: it could not be tried, `sentence` says why."""

    check: str
    passed: bool | None
    sentence: str = ""


@dataclass(frozen=True)
class Recorded:
    """A request and its answer as an incident keeps them."""

    method: str
    path: str
    params: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    body: str

    @classmethod
    def of(cls, exchange: Mapping[str, Any] | None) -> Recorded | None:
        if not exchange or not exchange.get("status"):
            return None
        parts = urlsplit(str(exchange["url"]))
        kept = {
            n: v for n, v in exchange["answer_headers"].items() if n.lower() in ("content-type", "retry-after", "link")
        }
        return cls(
            str(exchange["method"]),
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            int(exchange["status"]),
            kept,
            str(exchange["answer"]),
        )

    def is_asked_by(self, asked: Asked) -> bool:
        """A good answer is good for the whole list, a refusal for the very request."""
        if (asked.method, asked.path) != (self.method, self.path):
            return False
        told = {name: value for name, value in self.params.items() if HIDDEN not in value}
        return self.status < 400 or all(asked.params.get(name) == value for name, value in told.items())

    @property
    def answer(self) -> Answer:
        return self.status, dict(self.headers), self.body.encode("utf-8", "backslashreplace")


def run_contract(
    connection: Mapping[str, Any],
    table: str,
    *,
    exchange: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Outcome]:
    """Every check on a declaration whose variables are filled in. Asks nothing but servers of this machine.

    Args:
        exchange: what was asked and answered when the table failed, as incidents keep it.
        columns: names and types that the lake has, for rows like the API's.
    """
    recorded = Recorded.of(exchange)
    try:
        said = expand(connection) if connection.get("kind") != "rest" else dict(connection)
        plain = _plain(said, table, recorded)
    except ConfigError as error:
        yield Outcome("the_declaration_loads", False, str(error))
        return
    if recorded is not None:
        yield _tried(REPLAY, lambda api: _replay(api, recorded), plain, recorded, columns or {})
    for name, check in CHECKS.items():
        yield _tried(name, check, plain, recorded, columns or {})


def _tried(
    name: str, check: Check, plain: Mapping[str, Any], recorded: Recorded | None, columns: Mapping[str, str]
) -> Outcome:
    resource = parse(plain).resources[0]
    try:
        with _server(plain, resource) as server:
            api = _api(server, plain, resource, recorded, columns)
            check(api)
    except NotApplicable as reason:
        return Outcome(name, None, str(reason))
    except (ContractBroken, ImportPlatformError) as error:
        return Outcome(name, False, str(error))
    return Outcome(name, True)


def _server(plain: Mapping[str, Any], resource: Resource) -> LocalApi:
    api = parse(plain)
    return LocalApi(resource=resource, paginator=resource.endpoint.paginator or api.client.paginator or Paginator())


def _api(
    server: LocalApi,
    plain: Mapping[str, Any],
    resource: Resource,
    recorded: Recorded | None,
    columns: Mapping[str, str],
) -> Api:
    seen = rows_of(recorded.answer[2], resource.endpoint.data_selector) if recorded and recorded.status < 300 else []
    maker = RowMaker(resource, server.paginator, like=seen[0] if seen else None, columns=columns)

    def give(rows: list[dict[str, Any]]) -> None:
        server.rows = rows[::-1] if maker.newest_first else rows

    def repeat() -> None:
        server.repeats = True

    give([maker.row(n) for n in range(3 * server.per_page)])
    client = {**plain["client"], "base_url": server.url + urlsplit(str(plain["client"]["base_url"])).path}
    if isinstance(client.get("auth"), Mapping) and client["auth"].get("access_token_url"):
        client["auth"] = {**client["auth"], "access_token_url": server.url + TOKEN_PATH}
    return Api(
        server,
        {**plain, "client": client},
        resource.name,
        give,
        maker.row,
        rows_per_page=server.per_page,
        repeat=None if server.paginator.type == "single_page" else repeat,
        key=maker.key,
    )


def _replay(api: Api, recorded: Recorded) -> None:
    """The recorded answer comes where it came before: a busy one twice, as a patient client must bear it."""
    times = [0]
    if recorded.status < 300 and len(recorded.body) >= BODY_CHARACTERS_MAX:
        raise NotApplicable("the recorded answer was cut because it is long")

    def again(asked: Asked) -> Answer | None:
        if not recorded.is_asked_by(asked) or (recorded.status in BUSY and times[0] >= 2):
            return None
        times[0] += 1
        return recorded.answer

    api.server.refuse = again
    source = api.open()
    request = request_for(source, api.table)
    with suppress(ColumnsGrew):
        next(source.read(request), None)
    if not times[0]:
        asked = next((each for each in api.server.asked if each.path != TOKEN_PATH), None)
        names = f"?{'&'.join(asked.params)}" if asked is not None and asked.params else ""
        now = source.secrets.hidden(f"{asked.method} {asked.path}{names}") if asked else "nothing"
        raise NotApplicable(f"the declaration now asks {now}: only the API can say whether that is right")


def _plain(said: Mapping[str, Any], table: str, recorded: Recorded | None) -> dict[str, Any]:
    """The declaration of one table alone, its list the list of one parent where it has a parent.

    Raises:
        ConfigError: it does not load, or has no such resource.
    """
    parse(said)
    resource = next((each for each in whole_resources(said) if each.get("name") == table), None)
    if resource is None:
        raise ConfigError("the declaration has no such resource", table=table, remedy="Declare it under resources.")
    endpoint = dict(resource["endpoint"])
    prefix = urlsplit(str(said["client"].get("base_url", ""))).path
    endpoint["path"] = _of_one_parent(str(endpoint["path"]), prefix, recorded)
    endpoint["params"] = {name: _param(value) for name, value in (endpoint.get("params") or {}).items()}
    kept = {name: value for name, value in resource.items() if name != "include_from_parent"}
    client = {name: value for name, value in said["client"].items() if name not in ("rate_limit", "allowed_hosts")}
    client |= {"timeout": _TIMEOUT_SECONDS, "retries": _RETRIES}
    return {"kind": "rest", "client": client, "resources": [{**kept, "endpoint": endpoint}]}


def _of_one_parent(path: str, prefix: str, recorded: Recorded | None) -> str:
    """The path with a parent's values: those of the recorded request, else any."""
    values: list[str] = []
    if recorded is not None:
        pattern = "([^/]+)".join(re.escape(part) for part in PLACEHOLDER.sub("\0", path).split("\0"))
        match = re.fullmatch(f"{re.escape(prefix.rstrip('/'))}/?{pattern}", recorded.path)
        values = list(match.groups()) if match else []
    left = iter(values)
    return PLACEHOLDER.sub(lambda _: next(left, "1"), path)


def _param(value: Any) -> Any:
    if isinstance(value, Mapping) and value.get("type") == "resolve":
        return "1"
    return PLACEHOLDER.sub("1", value) if isinstance(value, str) else value

"""A local server that gives one list as a declaration says that its API does: its pages, its tokens, its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa

from import_platform.sources.http.words import Paginator
from import_platform.sources.json.columns import INSTANT
from import_platform.sources.json.paths import compiled, values_at
from import_platform.sources.rest.contract.checks import TOKEN_PATH, NotApplicable
from import_platform.sources.rest.contract.server import Answer, Asked, LocalServer, ok, status
from import_platform.sources.rest.declaration import Incremental, Resource

Row = dict[str, Any]
START = datetime(2025, 1, 1, tzinfo=UTC)
PER_PAGE = 10
_LINK_PARAM = "_page"


@dataclass
class LocalApi(LocalServer):
    """`rows` are the whole list in the order of the API; `repeats` gives the first page whatever is asked."""

    resource: Resource | None = None
    paginator: Paginator = field(default_factory=Paginator)
    rows: list[Row] = field(default_factory=list)
    repeats: bool = False

    @property
    def per_page(self) -> int:
        return self.paginator.limit or PER_PAGE

    def page(self, asked: Asked) -> Answer:
        if asked.path == TOKEN_PATH:
            return ok({"access_token": "contract", "token_type": "bearer", "expires_in": 3600})
        said = self.paginator
        start = 0 if self.repeats else self._start(asked)
        if start is None:
            return status(400, {}, '{"error": "no such place in the list"}')
        end = len(self.rows) if said.type == "single_page" else start + self.per_page
        more = self.repeats or end < len(self.rows)
        body = self._body(self.rows[start:end])
        headers: dict[str, str] = {}
        if said.total_path:
            pages = -(-len(self.rows) // self.per_page)
            body = _set(body, said.total_path, pages if said.type == "page_number" else len(self.rows))
        if said.has_more_path:
            body = _set(body, said.has_more_path, more)
        if more:
            body, headers = self._told(body, asked, end)
        return ok(body, headers)

    def _told(self, body: Any, asked: Asked, end: int) -> tuple[Any, dict[str, str]]:
        """How the next page is to be asked for, where the answer says it."""
        said = self.paginator
        if said.type == "cursor" and not self._by_row:
            return _set(body, said.cursor_path or "cursors.next", f"c{end}"), {}
        if said.type == "header_cursor":
            return body, {said.cursor_key or "next": f"c{end}"}
        link = f"{self.url}{asked.path}?{urlencode({**asked.params, _LINK_PARAM: end})}"
        if said.type == "json_link":
            return _set(body, said.next_url_path or "next", link), {}
        if said.type in ("header_link", "auto"):
            return body, {"Link": f'<{link}>; rel="{said.links_next_key or "next"}"'}
        return body, {}

    def _start(self, asked: Asked) -> int | None:
        """Where the page that is asked for begins; None for a token that was never given."""
        said = self.paginator
        match said.type:
            case "page_number":
                first = said.base_page if said.page is None else said.page
                number = _number(_asked(asked, said.page_body_path, said.page_param or "page"), first)
                return (number - first) * self.per_page
            case "offset":
                value = _asked(asked, said.offset_body_path, said.offset_param or "offset")
                return _number(value, said.offset) - said.offset
            case "cursor":
                return self._after(_asked(asked, said.cursor_body_path, said.cursor_param or "cursor"))
            case "header_cursor":
                return self._after(asked.params.get(said.cursor_param or "cursor"))
            case "header_link" | "json_link" | "auto":
                return int(asked.params.get(_LINK_PARAM, 0))
        return 0

    def _after(self, token: Any) -> int | None:
        if token in (None, ""):
            return 0
        if not self._by_row:
            return _number(str(token).removeprefix("c"), 0)
        for position, row in enumerate(self.rows):
            if str(self._token_of(row)) == str(token):
                return position + 1
        incremental = self.resource.endpoint.incremental if self.resource is not None else None
        return 0 if incremental is not None and incremental.start_param == self.paginator.cursor_param else None

    @property
    def _by_row(self) -> bool:
        """Whether the token is a value of the last row, as `data[-1].id` says."""
        return self.paginator.type == "cursor" and self._token_of({"_probe": 1}, probing=True) is not None

    def _token_of(self, row: Row, *, probing: bool = False) -> Any:
        path = str(self.paginator.cursor_path or "")
        if "[-1]" not in path:
            return None
        inside = path.partition("[-1]")[2].lstrip(".")
        if probing:
            return inside or None
        found = values_at(inside, row) if inside else []
        return found[0] if found else None

    def _body(self, rows: list[Row]) -> Any:
        selector = self.resource.endpoint.data_selector if self.resource is not None else None
        if selector in (None, "$", "$[*]", "[*]", "@"):
            needs_object = any(
                path and "[-1]" not in path
                for path in (
                    self.paginator.total_path,
                    self.paginator.has_more_path,
                    self.paginator.next_url_path,
                    self.paginator.cursor_path,
                )
            )
            return {"data": rows} if needs_object and selector is None else rows
        head, star, tail = str(selector).partition("[*]")
        inside = tail.lstrip(".")
        if "*" in head + tail or ".." in head + tail or "?" in head + tail:
            raise NotApplicable("the local server cannot make answers for such a data_selector")
        items = [_set({}, inside, row) for row in rows] if star and inside else rows
        return _set({}, head, items)


def _asked(asked: Asked, body_path: str | None, param: str) -> Any:
    if not body_path:
        return asked.params.get(param)
    value: Any = asked.body
    for name in body_path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _number(value: Any, otherwise: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise


def _set(body: Any, path: str, value: Any) -> Any:
    if not isinstance(body, dict):
        raise NotApplicable("the declaration looks for values beside a list that has nothing beside it")
    return compiled(path).update_or_create(body, value)


class RowMaker:
    """Rows of one table by number: like a row that the API once gave, or of the columns that the lake has."""

    def __init__(
        self, resource: Resource, paginator: Paginator, *, like: Mapping[str, Any] | None, columns: Mapping[str, str]
    ) -> None:
        self._resource = resource
        self._paginator = paginator
        self._like = dict(like or {})
        self._columns = {n: t for n, t in columns.items() if not n.startswith("_")} if not like else {}
        self._types = {column.name: column for column in resource.columns}

    @property
    def key(self) -> str:
        return self._resource.primary_key[0] if self._resource.primary_key else "id"

    @property
    def newest_first(self) -> bool:
        incremental = self._resource.endpoint.incremental
        return incremental is not None and incremental.row_order == "desc"

    def row(self, n: int) -> Row:
        made = {**{name: _value(text, n) for name, text in self._columns.items()}, **self._like}
        for column in self._resource.columns:
            if column.name not in made and len(column.path) == 1:
                made[column.path[0]] = _value(str(column.type), n)
        for name in self._resource.primary_key or (self.key,):
            made[name] = self._key(name, made.get(name), n)
        token = str(self._paginator.cursor_path or "").partition("[-1]")[2].lstrip(".")
        if token and token not in self._resource.primary_key:
            made = _set(made, token, f"t{n:08d}")
        return made if self._resource.endpoint.incremental is None else self._ordered(made, n)

    def _key(self, name: str, seen: Any, n: int) -> Any:
        declared = self._types.get(name)
        number = isinstance(seen, int) or (declared is not None and not pa.types.is_string(declared.type))
        if declared is not None and pa.types.is_string(declared.type):
            number = False
        return n + 1 if number else f"k{n:08d}"

    def _ordered(self, made: Row, n: int) -> Row:
        incremental = self._resource.endpoint.incremental
        assert incremental is not None
        if incremental.column in self._resource.primary_key:
            return made
        made[incremental.column] = _instant(incremental, self._types.get(incremental.column), made, n)
        return made


def _instant(incremental: Incremental, declared: Any, made: Row, n: int) -> Any:
    """The cursor value of row `n`: each a step later than the one before."""
    at = START + timedelta(seconds=n)
    if incremental.format in ("epoch", "epoch_ms"):
        return int(at.timestamp()) * (1000 if incremental.format == "epoch_ms" else 1)
    if incremental.format == "date":
        return (START + timedelta(days=n)).date().isoformat()
    if declared is not None and declared.type == INSTANT and declared.unit == "ms":
        return int(at.timestamp() * 1000)
    seen = made.get(incremental.column)
    if isinstance(seen, int) or (declared is not None and pa.types.is_integer(declared.type)):
        return n
    return at.isoformat().replace("+00:00", "Z")


def _value(type_name: str, n: int) -> Any:
    """A value such as JSON has it for a column of the lake."""
    if type_name.startswith(("int", "uint")):
        return n
    if type_name in ("double", "float"):
        return n / 4
    if type_name == "bool":
        return n % 2 == 0
    if type_name.startswith("timestamp"):
        return (START + timedelta(seconds=n)).isoformat().replace("+00:00", "Z")
    if type_name.startswith("date"):
        return START.date().isoformat()
    return str(n) if type_name.startswith("decimal") else f"text {n}"


def rows_of(body: bytes, selector: str | None) -> list[Row]:
    """Rows in a recorded answer, as far as it is whole JSON."""
    try:
        found = json.loads(body)
    except ValueError:
        return []
    items = values_at(selector, found) if selector else [found]
    flat = [row for item in items for row in (item if isinstance(item, list) else [item])]
    return [row for row in flat if isinstance(row, dict) and not {"error", "errors"} & set(row)]
